//! What keeps tickets secret at rest and between nodes: AES-256 in GCM, with keys that may be
//! changed node by node, and digests that stand for ids and index terms.
//!
//! Sealed bytes say by which key they were sealed: (4 bytes of the key's name, 12 of a random
//! nonce, ciphertext and tag). They are bound to the ticket that they belong to, so that none can
//! stand in the place of another one. Keys are made from the texts of the settings, which must be
//! long and random. A key should not seal more than 2^32 texts: change it before.

use crate::config::TicketSettings;
use crate::config::stores::Password;
use crate::config::tickets::KEY_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Blob;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use secrecy::{ExposeSecret, SecretString};

/// How many bytes of sealed text say by which key.
const NAME_LEN: usize = 4;

/// The keys of one node.
pub struct Sealing {
    /// The first one seals.
    keys: Vec<SealingKey>,
    digest: hmac::Key,
    digest_name: u64,
}

struct SealingKey {
    name: u64,
    key: LessSafeKey,
}

/// What is digested; each has digests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    Id = 1,
    Principal = 2,
    Service = 3,
    AttributeName = 4,
    AttributeValue = 5,
}

fn derived(secret: &SecretString, purpose: &str) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    hmac::sign(&key, purpose.as_bytes())
}

/// What a key may be known by: says nothing of the key.
fn name(secret: &SecretString) -> u64 {
    let tag = derived(secret, "embergrid tickets: name of the key");
    let first = tag.as_ref().first_chunk::<8>();
    u64::from_be_bytes(first.copied().unwrap_or_default())
}

fn read(password: &Password) -> Result<SecretString> {
    let secret = password.read().map_err(Error::invalid)?;
    if KEY_BYTES.contains(&secret.expose_secret().len()) {
        return Ok(secret);
    }
    Err(Error::invalid(format!(
        "a key for tickets has {} to {} bytes",
        KEY_BYTES.start(),
        KEY_BYTES.end()
    )))
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "the cipher refused to work")
}

impl Sealing {
    /// The keys of the settings; none where tickets are stored as they come.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where a file with a key cannot be read or has none.
    pub fn start(settings: &TicketSettings) -> Result<Option<Self>> {
        let Some(digest) = &settings.digest_key else {
            return Ok(None);
        };
        let digest = read(digest)?;
        let keys = settings.encryption_keys.iter().map(|password| {
            let secret = read(password)?;
            let bytes = derived(&secret, "embergrid tickets: AES-256-GCM");
            let key = UnboundKey::new(&AES_256_GCM, bytes.as_ref()).map_err(|_| broken())?;
            Ok(SealingKey {
                name: name(&secret),
                key: LessSafeKey::new(key),
            })
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Ok(None);
        }
        let bytes = derived(&digest, "embergrid tickets: digests");
        Ok(Some(Self {
            keys,
            digest: hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref()),
            digest_name: name(&digest),
        }))
    }

    /// What the keys that open are known by.
    pub fn names(&self) -> Vec<u64> {
        self.keys.iter().map(|key| key.name).collect()
    }

    /// What the key of the digests is known by.
    pub fn digest_name(&self) -> u64 {
        self.digest_name
    }

    /// What stands for a text; nothing for none.
    pub fn digest(&self, term: Term, bytes: &[u8]) -> Blob {
        if bytes.is_empty() && term != Term::AttributeValue {
            return Blob::default();
        }
        let mut context = hmac::Context::with_key(&self.digest);
        context.update(&[term as u8]);
        context.update(bytes);
        Blob::from(context.sign().as_ref())
    }

    /// Seals what belongs to the ticket under `key`.
    ///
    /// # Errors
    ///
    /// `Internal` where the system gives no random bytes.
    pub fn seal(&self, bytes: &[u8], key: &[u8]) -> Result<Blob> {
        let first = self.keys.first().ok_or_else(broken)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| broken())?;
        let mut text = bytes.to_vec();
        let about = Aad::from(key);
        let sealed = first.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            about,
            &mut text,
        );
        sealed.map_err(|_| broken())?;
        let name = first.name.to_be_bytes();
        Ok(Blob::from([&name[..NAME_LEN], &nonce, &text].concat()))
    }

    /// Opens what belongs to the ticket under `key`.
    ///
    /// # Errors
    ///
    /// `DataLoss` where no key of this node opens it, or it belongs to another ticket.
    pub fn open(&self, sealed: &[u8], key: &[u8]) -> Result<Vec<u8>> {
        let lost = |why: &'static str| Error::new(ErrorKind::DataLoss, why);
        let parts = sealed
            .split_first_chunk::<NAME_LEN>()
            .and_then(|(name, rest)| Some((name, rest.split_first_chunk::<NONCE_LEN>()?)));
        let (name, (nonce, text)) =
            parts.ok_or_else(|| lost("the ticket is not encrypted as it should be"))?;
        let mine = self
            .keys
            .iter()
            .filter(|own| own.name.to_be_bytes().starts_with(name));
        for own in mine {
            let mut text = text.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = own.key.open_in_place(nonce, Aad::from(key), &mut text);
            if let Ok(length) = opened.map(|opened| opened.len()) {
                text.truncate(length);
                return Ok(text);
            }
        }
        Err(lost(
            "no encryption-key of this node opens the ticket, or it was changed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old key that has more than thirty-two characters";
    const NEW: &str = "a new key that has more than thirty-two characters";

    fn sealing(keys: &[&str]) -> Sealing {
        let settings = TicketSettings {
            encryption_keys: keys.iter().map(|key| Password::given(*key)).collect(),
            digest_key: Some(Password::given("0123456789abcdef0123456789abcdef")),
            ..TicketSettings::default()
        };
        let sealing = Sealing::start(&settings).expect("keys");
        sealing.expect("tickets are encrypted")
    }

    #[test]
    fn what_one_key_seals_every_node_opens_that_has_it() {
        let (old, both, new) = (sealing(&[OLD]), sealing(&[NEW, OLD]), sealing(&[NEW]));
        let sealed = old.seal(b"secret", b"key").expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(both.open(&sealed, b"key").expect("opened"), b"secret");
        let error = new.open(&sealed, b"key").expect_err("another key");
        assert_eq!(error.kind, ErrorKind::DataLoss);
        let sealed = both.seal(b"secret", b"key").expect("sealed");
        assert_eq!(new.open(&sealed, b"key").expect("opened"), b"secret");
        assert!(new.open(&sealed, b"other").is_err());
        let again = both.seal(b"secret", b"key").expect("sealed");
        assert_ne!(again, sealed, "the same text looks another way each time");
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let sealing = sealing(&[OLD]);
        let sealed = sealing.seal(b"secret", b"key").expect("sealed");
        for place in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[place] ^= 1;
            assert!(sealing.open(&changed, b"key").is_err(), "{place}");
            assert!(sealing.open(&sealed[..place], b"key").is_err(), "{place}");
        }
    }

    #[test]
    fn terms_have_digests_of_their_own() {
        let sealing = sealing(&[OLD]);
        let alice = sealing.digest(Term::Principal, b"alice");
        assert_eq!(alice, sealing.digest(Term::Principal, b"alice"));
        assert_ne!(alice, sealing.digest(Term::Id, b"alice"));
        assert_ne!(alice, sealing.digest(Term::Principal, b"bob"));
        assert!(sealing.digest(Term::Principal, b"").is_empty());
    }
}
