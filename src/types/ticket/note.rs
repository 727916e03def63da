//! Keys of the notes that the registry keeps beside tickets. No id, and no key of a caller, may
//! begin as they do.
//!
//! * A *link* stands in the partition of the parent and names a child: (parent, the child's cache,
//!   child). It has the life of the child, and no value.
//! * An *ended principal* stands in any partition: all its tickets that were created at or before
//!   the note was are gone. The version of the write that made it is a part of the key, so that the
//!   notes of two halves of a split stand beside each other.
//!
//! And of what nobody but the primary writes besides:
//!
//! * A *lock* stands in the partition of its name. Its value is the token of who holds it.

use super::super::blob::Blob;
use super::super::cache::CacheId;
use super::super::time::{Micros, SECOND};
use super::super::version::EntryVersion;

/// What the keys of all notes begin with.
pub const PREFIX: &[u8; 8] = b"\0\0\0ember";
const LINK: u8 = 1;
const PRINCIPAL: u8 = 2;
const LOCK: u8 = 3;

/// How long after its link a child may be stored at the latest. A tombstone stays longer than this
/// (it outlives two looks at the floor), and so do young links.
pub const ADOPTION: Micros = 4 * SECOND;
/// Links as young as this survive a range tombstone: their children may be on their way.
pub const YOUNG: Micros = 5 * SECOND;

/// Whether a key is that of a note.
pub fn is_note(key: &[u8]) -> bool {
    key.starts_with(PREFIX)
}

/// Whether a key is that of a link.
pub fn is_link(key: &[u8]) -> bool {
    is_note(key) && key.get(PREFIX.len()) == Some(&LINK)
}

/// Whether a key is that of an ended principal.
pub fn is_ended(key: &[u8]) -> bool {
    is_note(key) && key.get(PREFIX.len()) == Some(&PRINCIPAL)
}

/// A link from a parent to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildLink {
    pub parent: Blob,
    pub cache: CacheId,
    pub child: Blob,
}

fn begin(tag: u8, first: &[u8], more: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX.len() + 3 + first.len() + more);
    key.extend_from_slice(PREFIX);
    key.push(tag);
    let length = u16::try_from(first.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(first);
    key
}

/// The first part of a note's key, and what follows it.
fn split(tag: u8, key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (own, rest) = key.strip_prefix(PREFIX)?.split_first()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    (*own == tag)
        .then(|| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))))
        .flatten()
}

/// The key of a link. Both ids are bounded by [`super::ID_BYTES_MAX`].
pub fn link(parent: &[u8], cache: CacheId, child: &[u8]) -> Blob {
    let mut key = begin(LINK, parent, 4 + child.len());
    key.extend_from_slice(&cache.0.to_be_bytes());
    key.extend_from_slice(child);
    Blob::from(key)
}

/// What the links of a parent begin with.
pub fn links_of(parent: &[u8]) -> Blob {
    Blob::from(begin(LINK, parent, 0))
}

/// What a link says.
pub fn read_link(key: &[u8]) -> Option<ChildLink> {
    let (parent, rest) = split(LINK, key)?;
    let (cache, child) = rest.split_first_chunk::<4>()?;
    Some(ChildLink {
        parent: Blob::from(parent),
        cache: CacheId(i32::from_be_bytes(*cache)),
        child: Blob::from(child),
    })
}

/// The key of an ended principal.
pub fn ended(principal: &[u8], version: EntryVersion) -> Blob {
    let mut key = begin(PRINCIPAL, principal, 8);
    key.extend_from_slice(&version.digest().to_be_bytes());
    Blob::from(key)
}

/// The key of a lock. Its name is bounded by [`NAME_BYTES_MAX`](crate::types::lock::NAME_BYTES_MAX).
pub fn lock(name: &[u8]) -> Blob {
    let mut key = Vec::with_capacity(PREFIX.len() + 1 + name.len());
    key.extend_from_slice(PREFIX);
    key.push(LOCK);
    key.extend_from_slice(name);
    Blob::from(key)
}

/// The principal that ended.
pub fn read_ended(key: &[u8]) -> Option<&[u8]> {
    let (principal, version) = split(PRINCIPAL, key)?;
    (version.len() == 8).then_some(principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_what_they_were_made_of() {
        let made = link(b"TGT-1", CacheId(-7), b"ST-1");
        assert!(is_note(&made) && is_link(&made) && read_ended(&made).is_none());
        let read = read_link(&made).expect("a link");
        assert_eq!((&*read.parent, &*read.child), (&b"TGT-1"[..], &b"ST-1"[..]));
        assert_eq!(read.cache, CacheId(-7));
        let made = ended(b"alice", EntryVersion::default());
        assert!(is_note(&made) && !is_link(&made) && read_link(&made).is_none());
        let held = lock(b"alice");
        assert!(is_note(&held) && !is_link(&held) && !is_ended(&held));
        assert_eq!(read_ended(&made), Some(&b"alice"[..]));
        for cut in 0..made.len() {
            let _ = (read_link(&made[..cut]), read_ended(&made[..cut]));
        }
    }
}
