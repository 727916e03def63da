//! PEM: keys as PKCS#8 (encrypted or not), SEC1 or PKCS#1, and certificates, in one text.

use super::{Key, several_keys};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The most rounds that a password is stretched by: some seconds of work. openssl makes 2,048.
const ROUNDS_MAX: u32 = 10_000_000;

/// The most memory that stretching a password by scrypt takes, in bytes.
const SCRYPT_BYTES_MAX: u64 = 1 << 28;

/// All certificates in their order.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(text)
        .map(|certificate| certificate.map_err(|error| format!("is damaged: {error}")))
        .collect()
}

/// The private key and the certificates behind it.
pub(super) fn key(text: &[u8], password: Option<&str>) -> Result<Key, String> {
    // First: what reads certificates would stumble over it.
    if contains(text, b"Proc-Type: 4,ENCRYPTED") {
        let what = "the private key is encrypted in the old form of openssl; convert it with \
                    openssl pkcs8 -topk8";
        return Err(what.to_owned());
    }
    let keys = keys(text);
    if keys > 1 {
        return Err(several_keys(keys));
    }
    let chain = certificates(text)?;
    if let Some(sealed) = encrypted(text) {
        let Some(password) = password else {
            return Err("the private key is encrypted; give key-store-password".to_owned());
        };
        return Ok((decrypt(&sealed, password)?, chain));
    }
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        "holds no private key that can be read (PKCS#8, SEC1 or PKCS#1 in PEM)".to_owned()
    })?;
    Ok((key, chain))
}

/// How many private keys of any kind there are.
fn keys(text: &[u8]) -> usize {
    let text = String::from_utf8_lossy(text);
    let begins =
        |line: &&str| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----");
    text.lines().map(str::trim_end).filter(begins).count()
}

/// The content of an encrypted private key, which no reader of keys knows as one.
fn encrypted(text: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    // As another section that the reader does know, so that it does the decoding.
    let known = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----\n");
    let read = <(SectionKind, Vec<u8>)>::from_pem_slice(known.as_bytes());
    Some(read.map(|(_, der)| der).unwrap_or_default())
}

fn decrypt(sealed: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, String> {
    let unknown = || "the private key is encrypted in a way that is not known".to_owned();
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed).map_err(|_| unknown())?;
    let EncryptionScheme::Pbes2(how) = &sealed.encryption_algorithm else {
        return Err(unknown());
    };
    let bearable = match &how.kdf {
        Kdf::Pbkdf2(kdf) => kdf.iteration_count <= ROUNDS_MAX,
        Kdf::Scrypt(kdf) => {
            let bytes = kdf.cost_parameter.saturating_mul(128);
            let bytes = bytes.saturating_mul(u64::from(kdf.block_size));
            bytes <= SCRYPT_BYTES_MAX && kdf.parallelization <= 16
        }
        _ => false,
    };
    if !bearable {
        return Err("opening the private key would take too long".to_owned());
    }
    let opened = sealed.decrypt(password.as_bytes());
    let opened = opened.map_err(|_| "the password of the private key is wrong".to_owned())?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
