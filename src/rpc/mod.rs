//! Speaking: TLS, certificates, the protobuf forms of messages and errors, links between nodes.
//! No state machines and no decisions.

pub mod acceptor;
pub mod admitted;
pub mod certificate_files;
pub mod certificates;
pub mod codec;
pub mod connection;
pub mod connector;
pub mod frame;
pub mod gather;
pub mod lane;
pub mod link;
pub mod names;

pub mod proto;
pub mod refusals;
pub mod renewal;
pub mod status;
pub mod stores;
pub mod tls;
pub mod weight;
