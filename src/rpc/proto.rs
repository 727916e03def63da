//! The code that is generated from `proto/`, and its descriptor set for reflection.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

tonic::include_proto!("embergrid.v1");

/// The encoded `FileDescriptorSet` of all files under `proto/`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use super::frame::DataFrame;
