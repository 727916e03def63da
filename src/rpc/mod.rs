//! Speaking: TLS, certificates, the protobuf forms of messages and errors, links between nodes.
//! No state machines and no decisions.

pub mod certificates;
pub mod codec;
pub mod proto;
pub mod status;
