//! PKCS #12, as openssl and keytool write it: with PBES2 (AES) or the older schemes (RC2, Triple
//! DES). One password opens all of it.

use super::{ENTRIES_MAX, Key, chain_from, only_one};
use p12_keystore::{
    Certificate, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey, PrivateKeyChain, error::Error,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The private key and its chain.
///
/// # Errors
///
/// What is wrong: the password, the file, the number of keys.
pub fn key(content: &[u8], password: &str) -> Result<Key, String> {
    let archive = open(content, password)?;
    let key = only_one(archive.keys)?;
    let ours = |id: &Option<Vec<u8>>| match (id, &key.local_key_id) {
        (Some(one), Some(other)) => *one == other.0,
        _ => false,
    };
    let marked = archive.certs.iter().find(|one| ours(&one.local_key_id));
    let leaf = marked.or_else(|| archive.certs.iter().find(|one| is_leaf(&one.cert)));
    let Some(leaf) = leaf else {
        return Ok((private(&key.key), Vec::new()));
    };
    let others: Vec<_> = archive.certs.iter().map(|one| der(&one.cert)).collect();
    Ok((private(&key.key), chain_from(der(&leaf.cert), &others)))
}

/// The certificates of authorities: those that Java marked as trusted, and where none is marked,
/// as openssl leaves it, all that belong to no key.
///
/// # Errors
///
/// What is wrong: the password or the file.
pub fn authorities(content: &[u8], password: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let archive = open(content, password)?;
    let marked = archive.certs.iter().any(|one| one.trusted);
    let found = archive.certs.iter().filter(|one| {
        if marked {
            one.trusted
        } else {
            archive.keys.is_empty() && one.local_key_id.is_none()
        }
    });
    Ok(found.map(|one| der(&one.cert)).collect())
}

/// A file with a private key (PKCS#8) and its chain, leaf first.
///
/// # Errors
///
/// That a key or a certificate is of no use.
pub fn write_key(
    alias: &str,
    key: &[u8],
    chain: &[&[u8]],
    password: &str,
) -> Result<Vec<u8>, String> {
    let unusable = |error: Error| error.to_string();
    let certificates = chain.iter().map(|one| Certificate::from_der(one));
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unusable)?;
    let key = PrivateKey::from_der(key).map_err(unusable)?;
    let chain = PrivateKeyChain::new(alias, key, certificates);
    write(alias, KeyStoreEntry::PrivateKeyChain(chain), password)
}

/// A file with the certificate of an authority, marked for Java as trusted.
///
/// # Errors
///
/// That the certificate is of no use.
pub fn write_authority(alias: &str, certificate: &[u8], password: &str) -> Result<Vec<u8>, String> {
    let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    write(alias, KeyStoreEntry::Certificate(certificate), password)
}

fn write(alias: &str, entry: KeyStoreEntry, password: &str) -> Result<Vec<u8>, String> {
    let mut store = KeyStore::new();
    store.add_entry(alias, entry);
    let written = store.writer(password).write();
    written.map_err(|error| error.to_string())
}

fn open(content: &[u8], password: &str) -> Result<Pkcs12Archive, String> {
    let archive = Pkcs12Archive::from_pkcs12(content, password).map_err(|error| match error {
        Error::MacError(_) => wrong_password(password),
        // Without a checksum, a wrong password shows in what it leaves behind.
        Error::Pkcs5Error(_) | Error::UnpadError => wrong_password(password),
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            "is PKCS#12 with an encryption that is not known; write it anew with AES-256 and \
             HMAC-SHA256"
                .to_owned()
        }
        Error::InvalidParameters => "is PKCS#12 that would take too long to open".to_owned(),
        error => format!("is damaged, or not PKCS#12: {error}"),
    })?;
    if archive.keys.len().max(archive.certs.len()) > ENTRIES_MAX {
        return Err(format!("holds more than {ENTRIES_MAX} entries"));
    }
    Ok(archive)
}

fn wrong_password(password: &str) -> String {
    if password.is_empty() {
        "is PKCS#12 with a password; give its password setting".to_owned()
    } else {
        "the password is wrong".to_owned()
    }
}

fn private(key: &PrivateKey) -> rustls_pki_types::PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.as_der().to_vec()).into()
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.as_der().to_vec())
}

fn is_leaf(certificate: &Certificate) -> bool {
    X509Certificate::from_der(certificate.as_der()).is_ok_and(|(_, parsed)| !parsed.is_ca())
}
