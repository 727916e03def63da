//! The event log of a run: always a hash, on request every line. Two runs of one seed must hash
//! alike.

use crate::clock::Time;
use std::fmt::{Arguments, Write};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How much goes into the hash and on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Which event at which time.
    Terse,
    /// Every byte of every message too.
    Full,
    /// As `Full`, and print it.
    Print,
}

pub struct Log {
    detail: Detail,
    hash: u64,
    pub events: u64,
    line: String,
}

impl Log {
    pub fn new(detail: Detail) -> Self {
        Self {
            detail,
            hash: 0,
            events: 0,
            line: String::new(),
        }
    }

    /// A thing that happened: cheap numbers for the hash, words for full detail.
    pub fn note(&mut self, now: Time, node: usize, mark: u64, words: Arguments<'_>) {
        self.events += 1;
        let mut bytes = [0u8; 24];
        bytes[..8].copy_from_slice(&now.to_le_bytes());
        bytes[8..16].copy_from_slice(&(node as u64).to_le_bytes());
        bytes[16..].copy_from_slice(&mark.to_le_bytes());
        self.hash = xxh3_64_with_seed(&bytes, self.hash);
        if self.detail == Detail::Terse {
            return;
        }
        self.line.clear();
        let _ = self.line.write_fmt(words);
        self.hash = xxh3_64_with_seed(self.line.as_bytes(), self.hash);
        if self.detail == Detail::Print {
            println!("{:>12.6} n{node} {}", now as f64 / 1e6, self.line);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}
