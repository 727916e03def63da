//! The public services of a node, over mutual TLS: every call, and every bad one with its status.

pub mod alone;
mod bad_input;
mod batches;
mod cluster_calls;
mod effects;
mod keys;
mod local_part;
mod pipeline;
mod scans;
mod several;
mod transactions;
mod watches;
