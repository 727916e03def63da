//! Properties of every codec and parser under seeded random input: what is encoded decodes to
//! itself, and what is damaged decodes to something or to a clear error, never to a panic.
//!
//! `EMBERGRID_FUZZ` sets how many inputs each test makes (2,000 without it), `EMBERGRID_SEED` the
//! seed of the first one. An input that fails is named by its seed.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod comparing;
mod config;
mod damage;
mod messages;
mod parsers;
mod partitions;
mod public;
mod random;
mod round_trip;
mod stores;
mod transactions;
mod values;
