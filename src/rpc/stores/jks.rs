//! Java key stores (JKS), read and written. No maintained crate does it, and the format is small:
//!
//! ```text
//! file    = fe ed fe ed, version (2; 1 is read too), count, entry*, check
//! entry   = 1, alias, date, length, sealed key, count, certificate*
//!         | 2, alias, date, certificate
//! alias   = length in 2 bytes, text            certificate = type (text, version 2), length, DER
//! check   = SHA-1 of (password, "Mighty Aphrodite", all bytes before)
//! sealed  = DER of { algorithm 1.3.6.1.4.1.42.2.17.1.1, OCTET STRING of salt, cipher, digest }
//! ```
//!
//! Numbers have 4 bytes, dates 8, the higher first; passwords are UTF-16, the higher byte first.
//! A key is sealed by exclusive or with SHA-1(password, salt), SHA-1(password, that), and so on;
//! its digest is SHA-1(password, key). That protects little: access to the file is what counts.

use super::{CHAIN_MAX, ENTRIES_MAX, Key, only_one};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const WHITENER: &[u8] = b"Mighty Aphrodite";
const DIGEST: usize = 20;
const KEY_TAG: u32 = 1;
const CERTIFICATE_TAG: u32 = 2;

/// `AlgorithmIdentifier` of the sealing, with its absent parameters, as DER.
const SEALING: [u8; 16] = [
    0x30, 0x0e, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01, 0x05, 0x00,
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A private key, sealed, with its chain, leaf first.
    Key {
        /// DER of the key as it is sealed.
        sealed: Vec<u8>,
        /// DER of its certificates.
        chain: Vec<Vec<u8>>,
    },
    /// The certificate of an authority.
    Authority(Vec<u8>),
}

/// The private key and its chain. `key_password` opens the key where it is another one.
///
/// # Errors
///
/// What is wrong: a password, the file, the number of keys.
pub fn key(content: &[u8], password: &str, key_password: Option<&str>) -> Result<Key, String> {
    let entries = read(content, Some(password))?;
    let keys = entries.into_iter().filter_map(|entry| match entry {
        Entry::Key { sealed, chain } => Some((sealed, chain)),
        Entry::Authority(_) => None,
    });
    let (sealed, chain) = only_one(keys.collect())?;
    let opened = unseal(&sealed, key_password.unwrap_or(password))?;
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    Ok((PrivatePkcs8KeyDer::from(opened).into(), chain))
}

/// The certificates of authorities. Without a password the check at the end is passed over, as
/// Java does it.
///
/// # Errors
///
/// What is wrong: the password or the file.
pub fn authorities(
    content: &[u8],
    password: Option<&str>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let entries = read(content, password)?;
    let found = entries.into_iter().filter_map(|entry| match entry {
        Entry::Authority(certificate) => Some(CertificateDer::from(certificate)),
        Entry::Key { .. } => None,
    });
    Ok(found.collect())
}

/// The entries of a file.
///
/// # Errors
///
/// That it is cut off or damaged, or that the password is wrong.
pub fn read(content: &[u8], password: Option<&str>) -> Result<Vec<Entry>, String> {
    let body = content.len().saturating_sub(DIGEST);
    let (body, digest) = content.split_at(body);
    if let Some(password) = password
        && check(body, password)[..] != *digest
    {
        return Err("the password is wrong, or the file is damaged".to_owned());
    }
    let mut rest = Bytes(body);
    let damaged = || "is a Java key store that is damaged".to_owned();
    if rest.take(MAGIC.len()) != Some(&MAGIC[..]) {
        return Err("is not a Java key store".to_owned());
    }
    let version = rest.number().ok_or_else(damaged)?;
    if !(1..=2).contains(&version) {
        return Err(format!(
            "is a Java key store of the unknown version {version}"
        ));
    }
    let count = rest.number().ok_or_else(damaged)?;
    if count as usize > ENTRIES_MAX {
        return Err(format!("holds more than {ENTRIES_MAX} entries"));
    }
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        entries.push(rest.entry(version).ok_or_else(damaged)?);
    }
    if rest.0.is_empty() {
        Ok(entries)
    } else {
        Err(damaged())
    }
}

/// A file with these entries. `made` is their date, in milliseconds since the Unix epoch.
pub fn write(entries: &[(&str, Entry)], password: &str, made: u64) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    push_number(&mut file, 2);
    push_number(&mut file, entries.len());
    for (alias, entry) in entries {
        let tag = match entry {
            Entry::Key { .. } => KEY_TAG,
            Entry::Authority(_) => CERTIFICATE_TAG,
        };
        push_number(&mut file, tag as usize);
        push_text(&mut file, alias);
        file.extend_from_slice(&made.to_be_bytes());
        match entry {
            Entry::Authority(certificate) => push_certificate(&mut file, certificate),
            Entry::Key { sealed, chain } => {
                push_number(&mut file, sealed.len());
                file.extend_from_slice(sealed);
                push_number(&mut file, chain.len());
                for certificate in chain {
                    push_certificate(&mut file, certificate);
                }
            }
        }
    }
    let digest = check(&file, password);
    file.extend_from_slice(&digest);
    file
}

/// Seals a private key (PKCS#8) under a password. The salt must be new for each key.
pub fn seal(key: &[u8], password: &str, salt: [u8; DIGEST]) -> Vec<u8> {
    let mut sealed = salt.to_vec();
    sealed.extend(veil(key, password, &salt));
    sealed.extend(digest_of(&[&wide(password), key]));
    let octets = der(0x04, &sealed);
    let mut both = SEALING.to_vec();
    both.extend(octets);
    der(0x30, &both)
}

/// The private key (PKCS#8) that was sealed.
///
/// # Errors
///
/// That the password is wrong, or that it was sealed in another way.
pub fn unseal(sealed: &[u8], password: &str) -> Result<Vec<u8>, String> {
    let unknown = || "its private key is protected in a way that is not known".to_owned();
    let (body, after) = der_content(sealed, 0x30).ok_or_else(unknown)?;
    let (algorithm, rest) = der_content(body, 0x30).ok_or_else(unknown)?;
    // Old writers leave the absent parameters out.
    let known = [&SEALING[2..], &SEALING[2..SEALING.len() - 2]];
    let (octets, end) = der_content(rest, 0x04).ok_or_else(unknown)?;
    let whole = after.is_empty() && end.is_empty() && octets.len() >= 2 * DIGEST;
    if !known.contains(&algorithm) || !whole {
        return Err(unknown());
    }
    let (salt, rest) = octets.split_at(DIGEST);
    let (cipher, digest) = rest.split_at(rest.len() - DIGEST);
    let key = veil(cipher, password, salt);
    if digest_of(&[&wide(password), &key])[..] == *digest {
        Ok(key)
    } else {
        Err("the password of the private key is wrong; give key-password where it differs from that of the store".to_owned())
    }
}

/// Covers and uncovers.
fn veil(text: &[u8], password: &str, salt: &[u8]) -> Vec<u8> {
    let password = wide(password);
    let mut pad = salt.to_vec();
    let mut veiled = Vec::with_capacity(text.len());
    for block in text.chunks(DIGEST) {
        pad = digest_of(&[&password, &pad]).to_vec();
        veiled.extend(block.iter().zip(&pad).map(|(one, other)| one ^ other));
    }
    veiled
}

fn check(body: &[u8], password: &str) -> [u8; DIGEST] {
    digest_of(&[&wide(password), WHITENER, body])
}

fn digest_of(parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut digest = Sha1::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

fn wide(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// What is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.take(2)?.try_into().ok()?;
        self.take(usize::from(u16::from_be_bytes(length)))
    }

    fn certificate(&mut self, version: u32) -> Option<Vec<u8>> {
        if version == 2 && self.text()? != b"X.509" {
            return None;
        }
        Some(self.long()?.to_vec())
    }

    fn entry(&mut self, version: u32) -> Option<Entry> {
        let tag = self.number()?;
        let _alias = self.text()?;
        let _made = self.take(8)?;
        if tag == CERTIFICATE_TAG {
            return Some(Entry::Authority(self.certificate(version)?));
        }
        if tag != KEY_TAG {
            return None;
        }
        let sealed = self.long()?.to_vec();
        let count = usize::try_from(self.number()?).ok()?;
        if count > CHAIN_MAX {
            return None;
        }
        let mut chain = Vec::with_capacity(count);
        for _ in 0..count {
            chain.push(self.certificate(version)?);
        }
        Some(Entry::Key { sealed, chain })
    }
}

fn push_number(file: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    file.extend_from_slice(&number.to_be_bytes());
}

fn push_text(file: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    file.extend_from_slice(&length.to_be_bytes());
    file.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn push_certificate(file: &mut Vec<u8>, certificate: &[u8]) {
    push_text(file, "X.509");
    push_number(file, certificate.len());
    file.extend_from_slice(certificate);
}

/// A value of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    let length = content.len();
    if length < 0x80 {
        value.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
        value.push(0x80 | (bytes.len() - skipped) as u8);
        value.extend_from_slice(&bytes[skipped..]);
    }
    value.extend_from_slice(content);
    value
}

/// The content of the value of DER that comes first, and what comes behind it.
fn der_content(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        let length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        (length, rest)
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let sealed = seal(
            b"a private key of more than twenty bytes",
            "inner",
            [7; DIGEST],
        );
        let entries = [
            (
                "node",
                Entry::Key {
                    sealed,
                    chain: vec![vec![1; 300], vec![2]],
                },
            ),
            ("authority", Entry::Authority(vec![3; 40])),
        ];
        let file = write(&entries, "outer", 5);
        let read = read(&file, Some("outer")).expect("its own file");
        assert_eq!(read, entries.map(|(_, entry)| entry));
        let (key, chain) = key(&file, "outer", Some("inner")).expect("its own key");
        assert_eq!(key.secret_der(), b"a private key of more than twenty bytes");
        assert_eq!(chain.len(), 2);
        assert_eq!(
            authorities(&file, None)
                .expect("no password is needed")
                .len(),
            1
        );
    }

    #[test]
    fn wrong_passwords_and_damage_are_told() {
        let sealed = seal(b"key", "inner", [7; DIGEST]);
        let file = write(
            &[(
                "a",
                Entry::Key {
                    sealed,
                    chain: vec![],
                },
            )],
            "outer",
            5,
        );
        let told = |content: &[u8], store: &str, inner: Option<&str>| {
            key(content, store, inner).expect_err("it is refused")
        };
        assert!(told(&file, "wrong", None).contains("the password is wrong"));
        assert!(told(&file, "outer", None).contains("give key-password"));
        assert!(told(&file[..file.len() - 1], "outer", None).contains("wrong, or"));
        let mut other = file.clone();
        other[5] = 9;
        assert!(read(&other, None).expect_err("refused").contains("version"));
        for length in 0..file.len() {
            assert!(read(&file[..length], Some("outer")).is_err());
        }
        let none = write(&[], "outer", 5);
        assert!(told(&none, "outer", None).contains("no private key"));
    }
}
