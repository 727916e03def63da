//! A ticket as it is stored: in the value of its entry, in bytes of our own that begin with a mark
//! (`stored.rs` reads them). Points in time are kept relative to the creation of the entry, so that
//! nothing in the value changes when the cluster's clock becomes another one.

use super::super::blob::Blob;
use super::super::cache::CacheId;
use super::super::entry::Entry;
use super::super::time::{ClusterTime, Micros};
use super::stored::{MARK, Stored, Writer, zigzag};
use std::collections::BTreeMap;

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

    /// The ticket with which it ends at the latest: its nearest ancestor without a limit of uses.
    pub fn above(&self) -> Option<&Link> {
        self.anchor.as_ref().or(self.parent.as_ref())
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

    /// The ticket in stored bytes. Nothing else is one.
    pub fn decode(value: &[u8]) -> Option<Self> {
        Stored::read(value).as_ref().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::is_ticket;
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
        let root = Stored::read(&bytes).and_then(|stored| stored.root);
        assert_eq!(root.map(Link::from), sample().root);
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
    fn another_number_of_uses_changes_nothing_else() {
        let bytes = sample().encode();
        let stored = Stored::read(&bytes).expect("a ticket");
        for uses in [0, 4, 127, 128, u32::MAX] {
            let used = TicketRecord { uses, ..sample() };
            assert_eq!(stored.with_uses(uses), used.encode());
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
            prop_assert_eq!(TicketRecord::decode(&bytes), None);
        }
    }
}
