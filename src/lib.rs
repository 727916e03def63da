//! embergrid: a peer-to-peer distributed cache cluster.

pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod error;
pub mod node;
pub mod rpc;
pub mod service;
pub mod types;
