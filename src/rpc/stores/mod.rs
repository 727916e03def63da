//! Reads keys, chains and authorities from files in three forms, and says clearly what is wrong
//! with one. The file is believed, not what the settings call it. What is made of the contents
//! stands in `tls`.

pub mod jks;
mod pem;
pub mod pkcs12;

use crate::config::stores::{read_file, unknown_form};
use crate::config::{Password, Store, StoreType};
use crate::error::{Error, ErrorKind, Result};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The most authorities that one file may name, and the most entries of any kind.
pub const ENTRIES_MAX: usize = 1_000;

/// The longest chain of certificates.
pub const CHAIN_MAX: usize = 16;

/// The reason of an error about a certificate that is not valid now.
pub const EXPIRED: &str = "TLS_CERTIFICATE_EXPIRED";

/// A private key with its chain, leaf first.
#[derive(Debug)]
pub struct KeyAndChain {
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// The certificate of the key, then those of its issuers.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the first certificate of the chain ends, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// A key with its chain, as one of the forms has it.
type Key = (PrivateKeyDer<'static>, Vec<CertificateDer<'static>>);

/// What opens a store, and the key in it.
struct Opening {
    store: Option<SecretString>,
    key: Option<SecretString>,
}

/// An error about one file.
pub fn file_error(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{}: {what}", path.display()),
    )
    .because("TLS_SETTINGS")
}

/// Reads a key store: the private key and its chain. `wall` is the time in seconds since the
/// Unix epoch.
///
/// # Errors
///
/// `InvalidArgument` naming the file: unreadable, of no known form, another password, without
/// key or certificate, with several keys, expired or not yet valid.
pub fn read_key_store(store: &Store, wall: u64) -> Result<KeyAndChain> {
    let path = &store.path;
    let wrong = |what| file_error(path, what);
    let (content, form) = open(store).map_err(wrong)?;
    let opening = Opening::of(store).map_err(wrong)?;
    let (key, chain) = key_of(&content, form, &opening).map_err(wrong)?;
    let Some(leaf) = chain.first() else {
        return Err(file_error(
            path,
            "holds a private key and no certificate; put the chain behind it, leaf first",
        ));
    };
    check_dates(leaf, wall).map_err(|what| file_error(path, what).because(EXPIRED))?;
    let ends = chain.iter().filter_map(|one| expires_at(one));
    Ok(KeyAndChain {
        key,
        expires_at: ends.min().unwrap_or(0),
        chain,
    })
}

/// Reads a trust store: the certificates of authorities.
///
/// # Errors
///
/// `InvalidArgument` naming the file: unreadable, of no known form, another password, without a
/// certificate, or with one that cannot be an authority.
pub fn read_trust_store(store: &Store) -> Result<RootCertStore> {
    let path = &store.path;
    let wrong = |what| file_error(path, what);
    let (content, form) = open(store).map_err(wrong)?;
    let opening = Opening::of(store).map_err(wrong)?;
    let password = opening.store.as_ref().map(ExposeSecret::expose_secret);
    let authorities = match form {
        StoreType::Pem => pem::certificates(&content),
        StoreType::Pkcs12 => pkcs12::authorities(&content, password.unwrap_or_default()),
        StoreType::Jks => jks::authorities(&content, password),
    };
    let authorities = authorities.map_err(wrong)?;
    if authorities.is_empty() {
        return Err(file_error(
            path,
            "holds no certificate of an authority; a trust store names the authorities to trust",
        ));
    }
    if authorities.len() > ENTRIES_MAX {
        return Err(file_error(
            path,
            format!("holds more than {ENTRIES_MAX} certificates"),
        ));
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| {
            file_error(
                path,
                format!("holds a certificate that cannot be an authority: {error}"),
            )
        })?;
    }
    Ok(roots)
}

/// The DNS names that a certificate was given for.
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for name in &names.value.general_names {
        if let x509_parser::extensions::GeneralName::DNSName(name) = name {
            found.push((*name).to_owned());
        }
    }
    found
}

/// When a certificate ends, in seconds since the Unix epoch.
pub fn expires_at(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// The content of the key of a store in one of the forms.
fn key_of(content: &[u8], form: StoreType, opening: &Opening) -> Result<Key, String> {
    let store = opening.store.as_ref().map(ExposeSecret::expose_secret);
    let key = opening.key.as_ref().map(ExposeSecret::expose_secret);
    match form {
        StoreType::Pem => pem::key(content, key.or(store)),
        StoreType::Pkcs12 => pkcs12::key(content, store.unwrap_or_default()),
        StoreType::Jks => {
            let Some(store) = store else {
                return Err("is a Java key store and needs key-store-password".to_owned());
            };
            jks::key(content, store, key)
        }
    }
}

fn open(store: &Store) -> Result<(Vec<u8>, StoreType), String> {
    let content = read_file(&store.path)?;
    let form = StoreType::of(&content).ok_or_else(|| format!("is {}", unknown_form()))?;
    Ok((content, form))
}

impl Opening {
    fn of(store: &Store) -> Result<Self, String> {
        let read = |password: &Option<Password>| {
            let text = password.as_ref().map(Password::read).transpose();
            text.map_err(|what| format!("its password cannot be had: {what}"))
        };
        Ok(Self {
            store: read(&store.password)?,
            key: read(&store.key_password)?,
        })
    }
}

/// The one key among several entries, or a word about their number.
fn only_one<T>(mut keys: Vec<T>) -> Result<T, String> {
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (None, _) => Err("holds no private key".to_owned()),
        (Some(_), others) => Err(several_keys(others + 1)),
    }
}

fn several_keys(number: usize) -> String {
    format!("holds {number} private keys; keep the one of this node")
}

/// The certificates that lead from a leaf to its root, as far as they are there.
fn chain_from(
    leaf: CertificateDer<'static>,
    others: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![leaf];
    while let Some(last) = chain.last() {
        let next = others.iter().find(|one| issued(one, last));
        match next {
            Some(next) if !chain.contains(next) && chain.len() < CHAIN_MAX => {
                chain.push(next.clone());
            }
            _ => break,
        }
    }
    chain
}

/// Whether the names say that one certificate signed another.
fn issued(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let issuer = X509Certificate::from_der(issuer);
    let certificate = X509Certificate::from_der(certificate);
    match (issuer, certificate) {
        (Ok((_, issuer)), Ok((_, certificate))) => {
            issuer.subject().as_raw() == certificate.issuer().as_raw()
        }
        _ => false,
    }
}

fn check_dates(leaf: &CertificateDer<'_>, wall: u64) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
    let validity = parsed.validity();
    let wall = i64::try_from(wall).unwrap_or(i64::MAX);
    if validity.not_after.timestamp() < wall {
        return Err(format!("the certificate expired at {}", validity.not_after));
    }
    if validity.not_before.timestamp() > wall {
        return Err(format!(
            "the certificate is not valid before {}",
            validity.not_before
        ));
    }
    Ok(())
}
