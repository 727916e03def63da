//! A ticket as it is stored: in the value of its entry, in bytes of our own that begin with a mark.
//! Points in time are kept relative to the creation of the entry, so that nothing in the value
//! changes when the cluster's clock becomes another one.

use super::super::blob::Blob;
use super::super::cache::CacheId;
use super::super::entry::Entry;
use super::super::time::{ClusterTime, Micros};
use std::collections::BTreeMap;

/// What the value of a ticket begins with; another layout gets another last byte.
const MARK: &[u8; 8] = b"\0ticket\x01";

/// The most tickets with limited uses that descend from each other, the first and the last not counted.
pub const GRANTED_BY_MAX: usize = 6;

/// Another ticket: where it is, and its name at the edge (empty: the key itself).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub cache: CacheId,
    pub key: Blob,
    pub name: Blob,
}

/// A ticket as the registry stores it. Principal, service and attributes are the terms of the
/// indexes; where tickets are encrypted they are digests, and the payload carries the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketRecord {
    pub kind: Blob,
    pub principal: Blob,
    pub service: Blob,
    pub attributes: BTreeMap<Blob, Vec<Blob>>,
    pub payload: Blob,
    /// The id as it is shown; empty: the key itself.
    pub name: Blob,
    pub parent: Option<Link>,
    pub root: Option<Link>,
    /// The nearest ancestor without a limit of uses: the children of a ticket that is spent go
    /// on as its children. Absent: there is none.
    pub anchor: Option<Link>,
    /// The ancestors between the parent and the anchor, the nearest first, at most `GRANTED_BY_MAX`:
    /// what ends one of them ends this too, also where those in between are spent. Mostly there are none.
    pub granted_by: Vec<Link>,
    pub time_to_live: Option<Micros>,
    pub time_to_idle: Option<Micros>,
    pub max_uses: Option<u32>,
    /// Points relative to the creation of the entry, in microseconds.
    pub hard_end: Option<i64>,
    /// When the ticket was created, where that was not when it was stored.
    pub created: i64,
    /// No update moves the end beyond this.
    pub horizon: Option<i64>,
    /// Until then what it descends from lives for certain, if nobody deletes it. Past that it may
    /// have been idle for too long, and whoever wants the ticket asks there. Absent: always.
    pub sure_until: Option<i64>,
    pub uses: u32,
    /// Which life of the id.
    pub incarnation: u64,
    /// It is being deleted with its descendants: it lives for nobody, and takes no child.
    pub ending: bool,
}

/// Whether a value is a ticket.
pub fn is_ticket(value: &Blob) -> bool {
    value.begins_with(MARK)
}

/// The distance between two points.
pub fn between(from: ClusterTime, to: ClusterTime) -> i64 {
    i64::try_from(i128::from(to.0) - i128::from(from.0)).unwrap_or(i64::MAX)
}

impl TicketRecord {
    /// The ticket in an entry that lives, if it is one.
    pub fn of(entry: &Entry) -> Option<Self> {
        Self::decode(&entry.live.as_ref()?.value)
    }

    /// The point past which it is gone, whatever happens, where the entry was created then.
    pub fn end(&self, entry_created_at: ClusterTime) -> Option<ClusterTime> {
        let at = |distance: i64| entry_created_at.shifted(distance);
        let live = self.time_to_live.map(|ttl| at(self.created).after(ttl));
        [live, self.hard_end.map(at), self.horizon.map(at)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether what it descends from may have been idle for too long at a point.
    pub fn is_unsure(&self, entry_created_at: ClusterTime, now: ClusterTime) -> bool {
        let sure = self.sure_until.map(|at| entry_created_at.shifted(at));
        sure.is_some_and(|sure| now > sure)
    }

    /// The ticket with which it ends at the latest: its nearest ancestor without a limit of uses.
    pub fn above(&self) -> Option<&Link> {
        self.anchor.as_ref().or(self.parent.as_ref())
    }

    /// What its children are granted by besides it: where its uses are limited, its ancestors up to
    /// the anchor.
    pub fn grantors(&self) -> Vec<Link> {
        if !self.limited() {
            return Vec::new();
        }
        let parent = self.parent.iter().filter(|_| self.parent != self.anchor);
        parent.chain(&self.granted_by).cloned().collect()
    }

    /// Whether its uses are limited.
    pub fn limited(&self) -> bool {
        self.max_uses.is_some()
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Blob {
        let mut out = Writer(Vec::with_capacity(96 + self.payload.len()));
        out.0.extend_from_slice(MARK);
        for bytes in [&self.kind, &self.principal, &self.service, &self.name] {
            out.bytes(bytes);
        }
        out.number(self.attributes.len() as u64);
        for (name, values) in &self.attributes {
            out.bytes(name);
            out.number(values.len() as u64);
            values.iter().for_each(|value| out.bytes(value));
        }
        for link in [&self.parent, &self.root, &self.anchor] {
            out.number(u64::from(link.is_some()));
            link.iter().for_each(|link| out.link(link));
        }
        out.optional(self.time_to_live);
        out.optional(self.time_to_idle);
        out.optional(self.max_uses.map(u64::from));
        out.optional(self.hard_end.map(zigzag));
        out.number(zigzag(self.created));
        out.optional(self.horizon.map(zigzag));
        out.optional(self.sure_until.map(zigzag));
        out.number(u64::from(self.uses));
        out.number(self.incarnation);
        let granted = !self.granted_by.is_empty();
        out.number(u64::from(self.ending) | u64::from(granted) << 1);
        if granted {
            out.number(self.granted_by.len() as u64);
            self.granted_by.iter().for_each(|link| out.link(link));
        }
        out.bytes(&self.payload);
        Blob::from(out.0)
    }

    /// The same without its payload, which costs less.
    pub fn head(entry: &Entry) -> Option<Self> {
        Self::read(&entry.live.as_ref()?.value, false)
    }

    /// The ticket in stored bytes. Nothing else is one.
    pub fn decode(value: &[u8]) -> Option<Self> {
        Self::read(value, true)
    }

    /// The session at the root of the ticket in stored bytes, and nothing else of it, which costs
    /// less yet.
    pub fn root_in(value: &[u8]) -> Option<Link> {
        let mut from = Reader(value.strip_prefix(MARK)?);
        for _ in 0..4 {
            from.bytes()?;
        }
        for _ in 0..from.number()? {
            from.bytes()?;
            for _ in 0..from.number()? {
                from.bytes()?;
            }
        }
        from.link()?;
        from.link()?
    }

    fn read(value: &[u8], with_payload: bool) -> Option<Self> {
        let mut from = Reader(value.strip_prefix(MARK)?);
        let [kind, principal, service, name] =
            [from.blob()?, from.blob()?, from.blob()?, from.blob()?];
        let mut attributes = BTreeMap::new();
        for _ in 0..from.number()? {
            let attribute = from.blob()?;
            let mut values = Vec::new();
            for _ in 0..from.number()? {
                values.push(from.blob()?);
            }
            attributes.insert(attribute, values);
        }
        let mut record = Self {
            kind,
            principal,
            service,
            name,
            attributes,
            parent: from.link()?,
            root: from.link()?,
            anchor: from.link()?,
            granted_by: Vec::new(),
            time_to_live: from.optional()?,
            time_to_idle: from.optional()?,
            max_uses: match from.optional()? {
                Some(uses) => Some(u32::try_from(uses).ok()?),
                None => None,
            },
            hard_end: from.optional()?.map(unzigzag),
            created: unzigzag(from.number()?),
            horizon: from.optional()?.map(unzigzag),
            sure_until: from.optional()?.map(unzigzag),
            uses: u32::try_from(from.number()?).ok()?,
            incarnation: from.number()?,
            ending: false,
            payload: Blob::default(),
        };
        let marks = from.number()?;
        record.ending = marks & 1 == 1;
        if marks & 2 == 2 {
            for _ in 0..from.number()? {
                record.granted_by.push(from.some_link()?);
            }
        }
        let payload = from.bytes()?;
        if with_payload {
            record.payload = Blob::from(payload);
        }
        (from.0.is_empty() && marks < 4).then_some(record)
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn optional(&mut self, number: Option<u64>) {
        self.number(u64::from(number.is_some()));
        if let Some(number) = number {
            self.number(number);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn link(&mut self, link: &Link) {
        self.0.extend_from_slice(&link.cache.0.to_le_bytes());
        self.bytes(&link.key);
        self.bytes(&link.name);
    }
}

/// Reads from the front; each loop over what it returns ends with the bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
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

    fn optional(&mut self) -> Option<Option<u64>> {
        match self.number()? {
            0 => Some(None),
            1 => Some(Some(self.number()?)),
            _ => None,
        }
    }

    fn blob(&mut self) -> Option<Blob> {
        self.bytes().map(Blob::from)
    }

    fn link(&mut self) -> Option<Option<Link>> {
        match self.number()? {
            0 => Some(None),
            1 => Some(Some(self.some_link()?)),
            _ => None,
        }
    }

    fn some_link(&mut self) -> Option<Link> {
        let (cache, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(Link {
            cache: CacheId(i32::from_le_bytes(*cache)),
            key: self.blob()?,
            name: self.blob()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> TicketRecord {
        let link = |key: &str| Link {
            cache: CacheId(-5),
            key: Blob::from(key),
            name: Blob::default(),
        };
        TicketRecord {
            kind: "ST".into(),
            principal: "alice".into(),
            attributes: [("mail".into(), vec!["a@b".into(), Blob::default()])].into(),
            payload: vec![7u8; 300].into(),
            parent: Some(link("TGT-1")),
            root: Some(link("TGT-1")),
            time_to_live: Some(10_000_000),
            max_uses: Some(1),
            hard_end: Some(-3),
            created: -9_000_000_000,
            horizon: Some(i64::MAX),
            sure_until: Some(77),
            uses: 3,
            incarnation: u64::MAX,
            ending: true,
            ..TicketRecord::default()
        }
    }

    #[test]
    fn a_record_comes_back_as_it_went_and_nothing_shorter_does() {
        let bytes = sample().encode();
        assert!(is_ticket(&bytes));
        assert_eq!(TicketRecord::decode(&bytes), Some(sample()));
        assert_eq!(TicketRecord::root_in(&bytes), sample().root);
        for cut in 0..bytes.len() {
            assert_eq!(TicketRecord::decode(&bytes[..cut]), None, "{cut}");
        }
        let mut granted = sample();
        granted.granted_by.extend(granted.parent.clone());
        let bytes = granted.encode();
        assert_eq!(TicketRecord::decode(&bytes), Some(granted));
        for cut in 0..bytes.len() {
            assert_eq!(TicketRecord::decode(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn the_earliest_end_counts() {
        let at = ClusterTime(50_000_000);
        let mut record = TicketRecord {
            time_to_live: Some(10),
            ..TicketRecord::default()
        };
        assert_eq!(record.end(at), Some(ClusterTime(50_000_010)));
        record.created = -7;
        assert_eq!(record.end(at), Some(ClusterTime(50_000_003)));
        record.hard_end = Some(-20);
        assert_eq!(record.end(at), Some(ClusterTime(49_999_980)));
        record = TicketRecord::default();
        assert_eq!(record.end(at), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = TicketRecord::decode(&[&MARK[..], &bytes].concat());
            let _ = TicketRecord::root_in(&[&MARK[..], &bytes].concat());
            prop_assert_eq!(TicketRecord::decode(&bytes), None);
        }
    }
}
