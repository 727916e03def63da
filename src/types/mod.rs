//! The vocabulary of embergrid: nodes, versions, caches, entries, operations and the messages
//! that nodes exchange. Plain data; no input or output, no clocks, no decisions.

pub mod blob;
pub mod cache;
pub mod comparing;
pub mod entry;
pub mod hello;
pub mod lock;
pub mod message;
pub mod node;
pub mod operation;
pub mod protocol;
pub mod ticket;
pub mod time;
pub mod transaction;
pub mod version;
pub mod view;

pub use blob::Blob;
pub use cache::{
    AtomicityMode, CacheId, CacheMode, CacheSettings, Copies, PartitionLoss, ReadFrom, WhenSplit,
    WriteSynchronizationMode,
};
pub use entry::{Entry, Live};
pub use lock::LockOperation;
pub use node::{Incarnation, Member, NodeId, NodeInfo, Role};
pub use operation::{
    Change, Condition, EntryView, Expiry, KeyOperation, Operation, Reply, Request, RequestId,
};
pub use time::{ClusterTime, Micros, Monotonic, Now};
pub use transaction::{Decision, Execute, KeyPlace, PartitionId, Step, StepReply, TransactionId};
pub use version::{EntryVersion, TopologyVersion};
pub use view::{PartitionOwners, Primaries, PrimaryView, Table, View};
