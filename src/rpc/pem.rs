//! Reads keys, chains and authorities from PEM files, and says clearly what is wrong with one.
//! What is made of them stands in `tls`.

use crate::config::{Store, StoreType};
use crate::error::{Error, ErrorKind, Result};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest file with keys or certificates that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The most authorities that one file may name.
const AUTHORITIES_MAX: usize = 1_000;

/// A private key with its chain, leaf first.
#[derive(Debug)]
pub struct KeyAndChain {
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// The certificate of the key, then those of its issuers.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the certificate ends, in seconds since the Unix epoch.
    pub expires_at: u64,
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
/// `InvalidArgument` naming the file: unreadable, of another form, without key or certificate,
/// with an encrypted key, expired or not yet valid.
pub fn read_key_store(store: &Store, wall: u64) -> Result<KeyAndChain> {
    let text = read(store)?;
    let path = &store.path;
    let chain = certificates(path, &text)?;
    if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") {
        return Err(file_error(
            path,
            "the private key is encrypted; decrypt it, for example with openssl pkey",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        file_error(
            path,
            "holds no private key that can be read (PKCS#8, SEC1 or PKCS#1 in PEM)",
        )
    })?;
    let Some(leaf) = chain.first() else {
        return Err(file_error(
            path,
            "holds a private key and no certificate; put the chain behind it, leaf first",
        ));
    };
    let expires_at = check_dates(path, leaf, wall)?;
    Ok(KeyAndChain {
        key,
        chain,
        expires_at,
    })
}

/// Reads a trust store: the certificates of authorities.
///
/// # Errors
///
/// `InvalidArgument` naming the file: unreadable, of another form, without a certificate, or
/// with one that cannot be an authority.
pub fn read_trust_store(store: &Store) -> Result<RootCertStore> {
    let text = read(store)?;
    let path = &store.path;
    let mut roots = RootCertStore::empty();
    let authorities = certificates(path, &text)?;
    if authorities.is_empty() {
        return Err(file_error(
            path,
            "holds no certificate; a trust store names the authorities to trust",
        ));
    }
    if authorities.len() > AUTHORITIES_MAX {
        return Err(file_error(
            path,
            format!("holds more than {AUTHORITIES_MAX} certificates"),
        ));
    }
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

fn read(store: &Store) -> Result<Vec<u8>> {
    let path = &store.path;
    if store.form != StoreType::Pem {
        let what = "only PEM is understood in this version; convert it, for example with openssl pkcs12 -nodes";
        return Err(Error::new(
            ErrorKind::Unimplemented,
            format!("{}: {what}", path.display()),
        ));
    }
    let unreadable = |error: std::io::Error| file_error(path, format!("cannot be read: {error}"));
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(file_error(
            path,
            format!("is larger than {FILE_BYTES_MAX} bytes"),
        ));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    if text.is_empty() {
        return Err(file_error(path, "is empty"));
    }
    if !contains(&text, b"-----BEGIN ") {
        return Err(file_error(
            path,
            format!("is {}, not PEM as the settings say", form_of(&text)),
        ));
    }
    Ok(text)
}

/// What a file looks like, by its first bytes.
fn form_of(text: &[u8]) -> &'static str {
    match text {
        [0xfe, 0xed, 0xfe, 0xed, ..] => "a Java key store (JKS)",
        [0xce, 0xce, 0xce, 0xce, ..] => "a Java key store (JCEKS)",
        [0x30, 0x80..=0x84, ..] => "DER or PKCS#12",
        _ => "of an unknown form",
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        found.push(certificate.map_err(|error| file_error(path, format!("is damaged: {error}")))?);
    }
    Ok(found)
}

fn check_dates(path: &Path, leaf: &CertificateDer<'_>, wall: u64) -> Result<u64> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| {
        file_error(
            path,
            format!("holds a certificate that cannot be read: {error}"),
        )
    })?;
    let validity = parsed.validity();
    let wall = i64::try_from(wall).unwrap_or(i64::MAX);
    if validity.not_after.timestamp() < wall {
        return Err(file_error(
            path,
            format!("the certificate expired at {}", validity.not_after),
        ));
    }
    if validity.not_before.timestamp() > wall {
        return Err(file_error(
            path,
            format!(
                "the certificate is not valid before {}",
                validity.not_before
            ),
        ));
    }
    Ok(u64::try_from(validity.not_after.timestamp()).unwrap_or(0))
}
