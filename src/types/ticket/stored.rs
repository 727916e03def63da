//! A ticket as it stands in the bytes that are stored, read in place: to look at it nothing is copied.

use super::super::blob::Blob;
use super::super::cache::CacheId;
use super::super::entry::Entry;
use super::super::time::{ClusterTime, Micros};
use super::record::{Link, TicketRecord};

/// What the value of a ticket begins with; another layout gets another last byte.
pub(super) const MARK: &[u8; 8] = b"\0ticket\x01";

/// The most bytes of a number of uses.
const NUMBER_MAX: usize = 5;

/// Whether a value is a ticket.
pub fn is_ticket(value: &Blob) -> bool {
    value.begins_with(MARK)
}

/// Another ticket, in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StoredLink<'a> {
    pub cache: CacheId,
    pub key: &'a [u8],
    pub name: &'a [u8],
}

impl From<StoredLink<'_>> for Link {
    fn from(stored: StoredLink<'_>) -> Self {
        Self {
            cache: stored.cache,
            key: Blob::from(stored.key),
            name: Blob::from(stored.name),
        }
    }
}

/// A ticket in place; what its fields mean is said at those of [`TicketRecord`].
pub struct Stored<'a> {
    pub kind: &'a [u8],
    pub principal: &'a [u8],
    pub service: &'a [u8],
    pub name: &'a [u8],
    /// How many, and they themselves.
    attributes: &'a [u8],
    pub parent: Option<StoredLink<'a>>,
    pub root: Option<StoredLink<'a>>,
    pub anchor: Option<StoredLink<'a>>,
    pub granted_by: Vec<StoredLink<'a>>,
    pub time_to_live: Option<Micros>,
    pub time_to_idle: Option<Micros>,
    pub max_uses: Option<u32>,
    pub hard_end: Option<i64>,
    pub created: i64,
    pub horizon: Option<i64>,
    pub sure_until: Option<i64>,
    pub uses: u32,
    /// What stands in front of the number of uses, and behind it.
    around_uses: (&'a [u8], &'a [u8]),
    pub incarnation: u64,
    pub ending: bool,
    pub payload: &'a [u8],
}

impl<'a> Stored<'a> {
    /// The ticket in an entry that lives, if it is one.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        Self::read(&entry.live.as_ref()?.value)
    }

    /// The ticket in stored bytes. Nothing else is one.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader(bytes.strip_prefix(MARK)?);
        let [kind, principal, service, name] =
            [from.bytes()?, from.bytes()?, from.bytes()?, from.bytes()?];
        let attributes = from.0;
        for _ in 0..from.number()? {
            from.bytes()?;
            from.skip_list()?;
        }
        let attributes = attributes.get(..attributes.len() - from.0.len())?;
        let (parent, root, anchor) = (from.link()?, from.link()?, from.link()?);
        let (time_to_live, time_to_idle) = (from.optional()?, from.optional()?);
        let max_uses = match from.optional()? {
            Some(uses) => Some(u32::try_from(uses).ok()?),
            None => None,
        };
        let hard_end = from.optional()?.map(unzigzag);
        let created = unzigzag(from.number()?);
        let horizon = from.optional()?.map(unzigzag);
        let sure_until = from.optional()?.map(unzigzag);
        let before_uses = bytes.get(..bytes.len() - from.0.len())?;
        let uses = u32::try_from(from.number()?).ok()?;
        let around_uses = (before_uses, from.0);
        let incarnation = from.number()?;
        let marks = from.number()?;
        let mut granted_by = Vec::new();
        if marks & 2 == 2 {
            for _ in 0..from.number()? {
                granted_by.push(from.some_link()?);
            }
        }
        let payload = from.bytes()?;
        (from.0.is_empty() && marks < 4).then_some(Self {
            kind,
            principal,
            service,
            name,
            attributes,
            parent,
            root,
            anchor,
            granted_by,
            time_to_live,
            time_to_idle,
            max_uses,
            hard_end,
            created,
            horizon,
            sure_until,
            uses,
            around_uses,
            incarnation,
            ending: marks & 1 == 1,
            payload,
        })
    }

    /// The names of the attributes, each with its values.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a [u8], Values<'a>)> + use<'a> {
        let mut from = Reader(self.attributes);
        let count = from.number().unwrap_or_default();
        (0..count).map_while(move |_| {
            let name = from.bytes()?;
            let values = Values::of(from);
            from.skip_list()?;
            Some((name, values))
        })
    }

    /// Whether both are found by the same terms.
    pub fn has_terms_of(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.principal == other.principal
            && self.service == other.service
            && self.attributes == other.attributes
    }

    /// Whether what it descends from may have been idle for too long at a point.
    pub fn is_unsure(&self, entry_created_at: ClusterTime, now: ClusterTime) -> bool {
        let sure = self.sure_until.map(|at| entry_created_at.shifted(at));
        sure.is_some_and(|sure| now > sure)
    }

    /// Whether its uses are limited.
    pub fn limited(&self) -> bool {
        self.max_uses.is_some()
    }

    /// What its children are granted by besides it: where its uses are limited, its ancestors up to
    /// the anchor.
    pub fn grantors(&self) -> Vec<Link> {
        if !self.limited() {
            return Vec::new();
        }
        let parent = self.parent.iter().filter(|_| self.parent != self.anchor);
        parent
            .chain(&self.granted_by)
            .map(|at| Link::from(*at))
            .collect()
    }

    /// The bytes of the same ticket after so many uses.
    pub fn with_uses(&self, uses: u32) -> Blob {
        let (before, behind) = self.around_uses;
        let mut out = Writer(Vec::with_capacity(before.len() + NUMBER_MAX + behind.len()));
        out.0.extend_from_slice(before);
        out.number(u64::from(uses));
        out.0.extend_from_slice(behind);
        Blob::from(out.0)
    }
}

impl From<&Stored<'_>> for TicketRecord {
    fn from(stored: &Stored<'_>) -> Self {
        let attributes = stored
            .attributes()
            .map(|(name, values)| (Blob::from(name), values.map(Blob::from).collect()));
        let link = |link: Option<StoredLink<'_>>| link.map(Link::from);
        Self {
            kind: Blob::from(stored.kind),
            principal: Blob::from(stored.principal),
            service: Blob::from(stored.service),
            attributes: attributes.collect(),
            payload: Blob::from(stored.payload),
            name: Blob::from(stored.name),
            parent: link(stored.parent),
            root: link(stored.root),
            anchor: link(stored.anchor),
            granted_by: stored.granted_by.iter().map(|at| Link::from(*at)).collect(),
            time_to_live: stored.time_to_live,
            time_to_idle: stored.time_to_idle,
            max_uses: stored.max_uses,
            hard_end: stored.hard_end,
            created: stored.created,
            horizon: stored.horizon,
            sure_until: stored.sure_until,
            uses: stored.uses,
            incarnation: stored.incarnation,
            ending: stored.ending,
        }
    }
}

/// The values of an attribute.
#[derive(Clone)]
pub struct Values<'a> {
    from: Reader<'a>,
    left: u64,
}

impl<'a> Values<'a> {
    fn of(mut from: Reader<'a>) -> Self {
        let left = from.number().unwrap_or_default();
        Self { from, left }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.from.bytes()
    }
}

pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Writes what a [`Reader`] reads.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn optional(&mut self, number: Option<u64>) {
        self.number(u64::from(number.is_some()));
        if let Some(number) = number {
            self.number(number);
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn link(&mut self, link: &Link) {
        self.0.extend_from_slice(&link.cache.0.to_le_bytes());
        self.bytes(&link.key);
        self.bytes(&link.name);
    }
}

/// Reads from the front; each loop over what it returns ends with the bytes.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn skip_list(&mut self) -> Option<()> {
        for _ in 0..self.number()? {
            self.bytes()?;
        }
        Some(())
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

    fn link(&mut self) -> Option<Option<StoredLink<'a>>> {
        match self.number()? {
            0 => Some(None),
            1 => Some(Some(self.some_link()?)),
            _ => None,
        }
    }

    fn some_link(&mut self) -> Option<StoredLink<'a>> {
        let (cache, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(StoredLink {
            cache: CacheId(i32::from_le_bytes(*cache)),
            key: self.bytes()?,
            name: self.bytes()?,
        })
    }
}
