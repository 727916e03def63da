//! Bytes that are stored: shared between the store and the messages in flight. What is stored, and
//! what waits, never pins the network buffer that it came in; only what is looked at for the first
//! time does ([`Blob::lent`]).

use bytes::Bytes;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, RangeInclusive};
use std::sync::Arc;

/// So many bytes stand in place: as many as a shared one takes anyway.
const INLINE_MAX: usize = 22;
/// Shorter ones are copied at once, as there is nothing to win; longer ones, since that takes its time
/// and whoever stores them keeps others out for as long.
const LENT: RangeInclusive<usize> = 512..=65_536;
/// So many first bytes of a shared one stand in place as well, where there is room anyway.
const HEAD: usize = 7;

/// An immutable, cheaply cloned byte string. Short ones, as most keys are, stand in place: they
/// cost no memory of their own, and whoever compares them need not go and fetch it.
#[derive(Clone)]
pub struct Blob(Held);

#[derive(Clone)]
enum Held {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Shared { head: [u8; HEAD], bytes: Arc<[u8]> },
    Lent(Arc<Bytes>),
}

impl Blob {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Held::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Held::Shared { bytes, .. } => bytes,
            Held::Lent(bytes) => bytes,
        }
    }

    /// Bytes that stay where they came in until they are stored, or wait: what is refused is never
    /// copied.
    pub fn lent(bytes: Bytes) -> Self {
        if !LENT.contains(&bytes.len()) {
            return Self::from(&bytes[..]);
        }
        Self(Held::Lent(Arc::new(bytes)))
    }

    pub(crate) fn is_lent(&self) -> bool {
        matches!(self.0, Held::Lent(_))
    }

    /// Gives lent bytes memory of their own: that of `before`, which they replace, where it has as
    /// many and nobody else reads them. To ask for other memory and to give this one back would
    /// fetch both.
    pub(crate) fn own(&mut self, before: Option<Self>) {
        let Held::Lent(lent) = &self.0 else { return };
        let place = match before {
            Some(Self(Held::Shared { bytes, .. })) if bytes.len() == lent.len() => Some(bytes),
            _ => None,
        };
        let place = place.and_then(|mut place| {
            Arc::get_mut(&mut place)?.copy_from_slice(lent);
            Some(place)
        });
        *self = match place {
            Some(bytes) => Self::shared(bytes, lent),
            None => Self::from(&lent[..]),
        };
    }

    /// Looks at the place of the bytes, so that it is at hand when they are let go.
    pub(crate) fn reach(&self) -> usize {
        match &self.0 {
            Held::Inline { len, .. } => usize::from(*len),
            Held::Shared { bytes, .. } => Arc::strong_count(bytes),
            Held::Lent(bytes) => bytes.len(),
        }
    }

    /// Whether it begins so. What begins otherwise is mostly known without going for its bytes.
    pub fn begins_with(&self, prefix: &[u8]) -> bool {
        if let Held::Shared { head, .. } = &self.0 {
            let known = prefix.len().min(HEAD);
            if head.get(..known) != prefix.get(..known) {
                return false;
            }
        }
        self.as_slice().starts_with(prefix)
    }

    /// What was copied from `from`, where its head is read: what was just written is not at hand yet.
    fn shared(bytes: Arc<[u8]>, from: &[u8]) -> Self {
        let mut head = [0; HEAD];
        if let Some(first) = from.first_chunk() {
            head = *first;
        }
        Self(Held::Shared { head, bytes })
    }

    /// Short bytes in place; none where they are too many.
    fn inline(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        let len = from.len() as u8;
        Some(Self(Held::Inline { len, bytes }))
    }
}

impl Default for Blob {
    fn default() -> Self {
        let bytes = [0; INLINE_MAX];
        Self(Held::Inline { len: 0, bytes })
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Blob {}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Blob {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// As of the bytes, so that a table can be asked with bytes.
impl Hash for Blob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::borrow::Borrow<[u8]> for Blob {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self::inline(bytes).unwrap_or_else(|| Self::shared(Arc::from(bytes), bytes))
    }
}

impl From<&str> for Blob {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self) {
            Ok(text) if text.len() <= 40 && !text.contains(char::is_control) => {
                write!(f, "{text:?}")
            }
            _ => write!(f, "<{} bytes>", self.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn it_is_its_bytes_wherever_they_stand() {
        assert_eq!(size_of::<Blob>(), INLINE_MAX + 2);
        assert_eq!(size_of::<Option<Blob>>(), size_of::<Blob>());
        let mut before = Blob::default();
        let mut all = HashSet::new();
        for len in 0..=2 * INLINE_MAX {
            let bytes = vec![7; len];
            let blob = Blob::from(bytes.as_slice());
            assert_eq!(blob.as_slice(), bytes);
            assert_eq!(blob, Blob::from(bytes.clone()));
            assert_eq!(blob.clone(), blob);
            assert_eq!(blob > before, len > 0, "ordered as bytes are");
            assert!(all.insert(blob.clone()));
            assert!(all.contains(bytes.as_slice()), "found by its bytes");
            before = blob;
        }
    }

    #[test]
    fn what_is_lent_takes_the_memory_of_what_it_replaces() {
        let place = |blob: &Blob| blob.as_slice().as_ptr() as usize;
        let value = |byte, len| Bytes::from(vec![byte; len]);
        let lent = |byte, len| {
            let bytes = value(byte, len);
            let blob = Blob::lent(bytes.clone());
            assert_eq!(blob, Blob::from(&bytes[..]));
            let stays = place(&blob) == bytes.as_ptr() as usize;
            assert_eq!(
                (stays, blob.is_lent()),
                (LENT.contains(&len), stays),
                "{len}"
            );
            blob
        };
        let (least, most) = (*LENT.start(), *LENT.end());
        for len in [
            1,
            INLINE_MAX,
            INLINE_MAX + 1,
            least - 1,
            least,
            most,
            most + 1,
        ] {
            let mut new = lent(2, len);
            let copied = new.clone();
            new.own(None);
            assert!(!new.is_lent());
            assert_eq!((&new, new.begins_with(&[2])), (&copied, true));

            let old = Blob::from(&value(1, len)[..]);
            let before = place(&old);
            let mut new = lent(2, len);
            new.own(Some(old));
            assert_eq!((&new, new.begins_with(&[2])), (&copied, true));
            assert_eq!(place(&new) == before, LENT.contains(&len), "{len}");
        }
        // Somebody reads it still; it is shorter; it is lent itself.
        let read = Blob::from(&value(1, 4096)[..]);
        for old in [read.clone(), Blob::from(&value(1, 4095)[..]), lent(1, 4096)] {
            let before = place(&old);
            let mut new = lent(2, 4096);
            new.own(Some(old));
            assert!(place(&new) != before && new == lent(2, 4096));
        }
        assert_eq!(read, lent(1, 4096));
    }

    #[test]
    fn it_begins_as_its_bytes_do() {
        for len in 0..=2 * INLINE_MAX {
            let bytes: Vec<u8> = (1..).take(len).collect();
            let blob = Blob::from(bytes.as_slice());
            for prefix in 0..=2 * HEAD {
                let mut prefix: Vec<u8> = (1..).take(prefix).collect();
                assert_eq!(blob.begins_with(&prefix), bytes.starts_with(&prefix));
                if let Some(last) = prefix.last_mut() {
                    *last = 0;
                    assert!(!blob.begins_with(&prefix), "{len}: {prefix:?}");
                }
            }
        }
    }
}
