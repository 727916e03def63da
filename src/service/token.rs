//! Opaque bytes that callers bring back: cursors of scans and resume tokens of watches. Both end
//! with a checksum over themselves and what they belong to, so that damage and mix-ups are
//! noticed. Nothing in them is secret.

use crate::error::{Error, ErrorKind, Result};
use crate::types::message::WatchPosition;
use crate::types::{Blob, CacheId, ClusterTime, Incarnation, Member, NodeId, TopologyVersion};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// The first byte of a cursor; another layout gets another one.
const CURSOR: u8 = 1;
/// The first byte of a resume token.
const RESUME: u8 = 2;
/// The bytes of the checksum.
const CHECKSUM: usize = 8;

/// What a cursor belongs to. One that is brought to another scan is refused.
#[derive(Clone, Copy, Debug)]
pub struct ScanIdentity<'a> {
    pub cache: CacheId,
    pub prefix: &'a [u8],
    /// The one partition that was asked for, if it was one.
    pub partition: Option<u32>,
}

/// The place behind which a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPlace {
    pub partition: u32,
    pub after: Blob,
}

impl ScanIdentity<'_> {
    fn checksum(&self, body: &[u8]) -> u64 {
        let mut bytes = Vec::with_capacity(body.len() + self.prefix.len() + 16);
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&self.cache.0.to_le_bytes());
        bytes.extend_from_slice(&self.partition.map_or(u64::MAX, u64::from).to_le_bytes());
        bytes.extend_from_slice(self.prefix);
        xxh3_64(&bytes)
    }

    /// The cursor of an entry.
    pub fn cursor(&self, partition: u32, key: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(key.len() + 16);
        bytes.push(CURSOR);
        bytes.extend_from_slice(&partition.to_le_bytes());
        bytes.extend_from_slice(key);
        let checksum = self.checksum(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The place that a cursor stands for.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for anything that is not a cursor of this scan.
    pub fn place(&self, cursor: &[u8]) -> Result<ScanPlace> {
        let place = || {
            let (body, checksum) = split_checksum(cursor)?;
            if self.checksum(body) != checksum {
                return None;
            }
            let (&CURSOR, rest) = body.split_first()? else {
                return None;
            };
            let (partition, key) = rest.split_first_chunk()?;
            Some(ScanPlace {
                partition: u32::from_le_bytes(*partition),
                after: Blob::from(key),
            })
        };
        place().ok_or_else(|| {
            Error::invalid(
                "the cursor is not one of a scan with this cache, key_prefix and partition",
            )
            .because("BAD_CURSOR")
        })
    }
}

/// Where a watch goes on: one position for each partition of one life of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    pub cache: CacheId,
    /// A cache that was dropped and created again has another one.
    pub created_at: ClusterTime,
    pub positions: Vec<WatchPosition>,
}

impl ResumePoint {
    /// The token. Topologies that many partitions share are written once.
    pub fn encode(&self) -> Vec<u8> {
        let mut topologies = BTreeMap::new();
        for position in &self.positions {
            topologies.entry(position.topology).or_insert(0u64);
        }
        let mut bytes = Vec::with_capacity(64 + self.positions.len() * 4);
        bytes.push(RESUME);
        bytes.extend_from_slice(&self.cache.0.to_le_bytes());
        bytes.extend_from_slice(&self.created_at.0.to_le_bytes());
        put_number(&mut bytes, topologies.len() as u64);
        for (place, (topology, index)) in (0u64..).zip(topologies.iter_mut()) {
            *index = place;
            bytes.extend_from_slice(&topology.number.to_le_bytes());
            bytes.extend_from_slice(&topology.coordinator.id.0.to_le_bytes());
            bytes.extend_from_slice(&topology.coordinator.incarnation.0.to_le_bytes());
        }
        put_number(&mut bytes, self.positions.len() as u64);
        for position in &self.positions {
            put_number(
                &mut bytes,
                topologies.get(&position.topology).copied().unwrap_or(0),
            );
            put_number(&mut bytes, position.counter);
        }
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a token for a cache that was created at `created_at` with so many partitions.
    ///
    /// # Errors
    ///
    /// `OutOfRange`: begin anew with current entries.
    pub fn decode(
        token: &[u8],
        cache: CacheId,
        created_at: ClusterTime,
        partitions: u32,
    ) -> Result<Self> {
        let refuse = |why: &'static str| Error::new(ErrorKind::OutOfRange, why);
        let point = Self::read(token)
            .ok_or_else(|| refuse("the resume token is not one that this cluster gave out"))?;
        if point.cache != cache {
            return Err(refuse("the resume token belongs to another cache"));
        }
        if point.created_at != created_at || point.positions.len() != partitions as usize {
            return Err(refuse(
                "the cache was created anew since the resume token was given out",
            ));
        }
        Ok(point)
    }

    fn read(token: &[u8]) -> Option<Self> {
        let (body, checksum) = split_checksum(token)?;
        if xxh3_64(body) != checksum {
            return None;
        }
        let mut reader = Reader(body);
        if reader.take::<1>()? != [RESUME] {
            return None;
        }
        let cache = CacheId(i32::from_le_bytes(reader.take()?));
        let created_at = ClusterTime(reader.fixed()?);
        let mut topologies = Vec::new();
        for _ in 0..reader.number()? {
            topologies.push(TopologyVersion {
                number: reader.fixed()?,
                coordinator: Member {
                    id: NodeId(reader.fixed()?),
                    incarnation: Incarnation(reader.fixed()?),
                },
            });
        }
        let mut positions = Vec::new();
        for _ in 0..reader.number()? {
            let topology = *topologies.get(usize::try_from(reader.number()?).ok()?)?;
            positions.push(WatchPosition {
                counter: reader.number()?,
                topology,
            });
        }
        reader.0.is_empty().then_some(Self {
            cache,
            created_at,
            positions,
        })
    }
}

fn split_checksum(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    Some((body, u64::from_le_bytes(*checksum)))
}

/// Seven bits a byte, the lowest first.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads from the front; each loop over what it returns ends with the bytes, so that no length in
/// a token makes it allocate more than the token is long.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn fixed(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take::<1>()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDENTITY: ScanIdentity<'static> = ScanIdentity {
        cache: CacheId(7),
        prefix: b"a",
        partition: None,
    };

    fn point() -> ResumePoint {
        let topology = |number| TopologyVersion {
            number,
            ..TopologyVersion::default()
        };
        ResumePoint {
            cache: CacheId(-3),
            created_at: ClusterTime(1_700_000_000_000_000),
            positions: (0..5)
                .map(|n| WatchPosition {
                    counter: u64::MAX >> (n * 9),
                    topology: topology(n / 2),
                })
                .collect(),
        }
    }

    fn decode(token: &[u8]) -> Result<ResumePoint> {
        ResumePoint::decode(token, point().cache, point().created_at, 5)
    }

    #[test]
    fn a_cursor_is_good_for_its_own_scan_only() {
        let cursor = IDENTITY.cursor(9, b"abc");
        let place = ScanPlace {
            partition: 9,
            after: Blob::from("abc"),
        };
        assert_eq!(IDENTITY.place(&cursor), Ok(place));
        for other in [
            ScanIdentity {
                cache: CacheId(8),
                ..IDENTITY
            },
            ScanIdentity {
                prefix: b"b",
                ..IDENTITY
            },
            ScanIdentity {
                partition: Some(9),
                ..IDENTITY
            },
        ] {
            let error = other.place(&cursor).expect_err("another scan");
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
        }
        assert!(IDENTITY.place(&cursor[..cursor.len() - 1]).is_err());
        assert!(IDENTITY.cursor(9, &vec![0; 65_535]).len() <= 65_600);
    }

    #[test]
    fn a_resume_token_comes_back_as_it_went() {
        assert_eq!(decode(&point().encode()), Ok(point()));
    }

    #[test]
    fn a_resume_token_of_another_life_of_the_cache_is_stale() {
        let token = point().encode();
        let stale = |cache, at, partitions| {
            ResumePoint::decode(&token, cache, at, partitions)
                .expect_err("stale")
                .kind
        };
        let (cache, at) = (point().cache, point().created_at);
        assert_eq!(stale(CacheId(4), at, 5), ErrorKind::OutOfRange);
        assert_eq!(stale(cache, ClusterTime(1), 5), ErrorKind::OutOfRange);
        assert_eq!(stale(cache, at, 6), ErrorKind::OutOfRange);
    }

    #[test]
    fn a_token_of_a_large_cache_stays_small() {
        let positions = vec![point().positions[0]; 65_536];
        assert!(
            ResumePoint {
                positions,
                ..point()
            }
            .encode()
            .len()
                < 1 << 20
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = IDENTITY.place(&bytes);
            prop_assert!(decode(&bytes).is_err());
            let mut sealed = bytes;
            let checksum = xxh3_64(&sealed);
            sealed.extend_from_slice(&checksum.to_le_bytes());
            let _ = decode(&sealed);
        }

        #[test]
        fn a_flipped_bit_is_noticed(bit in 0usize..200) {
            let mut token = point().encode();
            let bit = bit % (token.len() * 8);
            token[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&token).is_err());
        }
    }
}
