//! What owners say to each other, and to who asked, when they compare their copies of a partition.
//! All of it speaks of one place of one stream: at the same place, equal copies are equal.

use super::blob::Blob;
use super::entry::Entry;
use super::node::Member;
use super::version::TopologyVersion;

/// A place in a stream, and how closely its contents are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparedAt {
    pub stream: TopologyVersion,
    /// The counter of the last update that counts.
    pub counter: u64,
    /// Whether the bytes of values are looked at too, and not their versions only.
    pub values: bool,
}

/// Primary → owner: the sum over all that the primary holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compare {
    pub at: ComparedAt,
    pub sum: u64,
    /// Whether an owner whose sum is equal says so. Otherwise it is silent.
    pub answer: bool,
}

/// Owner → primary: the sums over the parts of what it holds; none: the copies are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub at: ComparedAt,
    pub sums: Vec<u64>,
}

/// Primary → owner: what the primary holds of some parts, each state by its sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    pub at: ComparedAt,
    /// How many parts there are.
    pub parts: u32,
    pub picked: Vec<u32>,
    pub states: Vec<(Blob, u64)>,
    /// Whether values are left out of the answer.
    pub bare: bool,
}

/// Owner → primary: what is otherwise in these parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differs {
    pub at: ComparedAt,
    /// The owner's states that differ, or that the primary lacks, with their sums.
    pub entries: Vec<(Blob, u64, Entry)>,
    /// Keys that the owner lacks.
    pub missing: Vec<Blob>,
    /// Whether more differs than fits into one message.
    pub more: bool,
}

/// What one owner has of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing, and no memory of it.
    Nothing,
    /// A tombstone of this version.
    Tombstone { version: u64 },
    /// A value of this version, whose whole state has this sum.
    Value { version: u64, sum: u64 },
}

/// A key whose copies differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: Blob,
    /// What the primary has, and every owner that has something else.
    pub held: Vec<(Member, Held)>,
}

/// What came of comparing all copies of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many copies there are.
    pub copies: u32,
    /// Keys whose copies differed.
    pub keys: u64,
    /// Those of them whose copies are equal now.
    pub repaired: u64,
    /// Some of them.
    pub some: Vec<Difference>,
}
