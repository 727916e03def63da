//! What is asked of the load generator.

use crate::cli::outcome::Failure;
use crate::client::Options;
use crate::config::duration::parse;
use crate::types::cache::KEY_BYTES_MAX;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds, so that a slip of the finger does not take the machine down.
const KEYS_MAX: u64 = 100_000_000;
const CALLERS_MAX: u32 = 65_536;
const RATE_MAX: u32 = 100_000_000;
const VALUE_BYTES_MAX: usize = 16 << 20;
const KEY_BYTES_MIN: usize = 8;

/// The load.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Load")]
pub struct Plan {
    /// Cache that is used; created (ATOMIC, REPLICATED unless --partitioned) where there is none.
    /// For transactions there is one beside it, of the same name with -transactional behind it
    #[arg(long, default_value = "bench")]
    pub cache: String,
    /// Create the cache as PARTITIONED with so many backups
    #[arg(long, value_name = "BACKUPS")]
    pub partitioned: Option<u32>,
    /// Reads among a hundred calls; the others are puts
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub reads: u8,
    /// Keys that are used, each as likely as any other
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// Bytes of a key, 8 or more
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_size: usize,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub value_size: usize,
    /// Callers at a time, each with one call under way
    #[arg(long, default_value_t = 32)]
    pub callers: u32,
    /// Connections to each node
    #[arg(long, default_value_t = 2)]
    pub connections: usize,
    /// Let calls that come together share a stream
    #[arg(long)]
    pub pipelining: bool,
    /// Open loop: so many calls a second in all, due whether others have been answered or not.
    /// Without it each caller calls again as soon as it is answered
    #[arg(long, value_name = "CALLS")]
    pub rate: Option<u32>,
    /// How long to measure in all, such as 10s
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse(text)
}

impl Plan {
    /// Refuses what cannot be meant.
    pub fn check(&self) -> Result<(), Failure> {
        let bounds = [
            (
                (1..=KEYS_MAX).contains(&self.keys),
                format!("--keys is 1 to {KEYS_MAX}"),
            ),
            (
                (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&self.key_size),
                format!("--key-size is {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes"),
            ),
            (
                self.value_size <= VALUE_BYTES_MAX,
                format!("--value-size is at most {VALUE_BYTES_MAX} bytes"),
            ),
            (
                (1..=CALLERS_MAX).contains(&self.callers),
                format!("--callers is 1 to {CALLERS_MAX}"),
            ),
            (
                self.rate.is_none_or(|rate| (1..=RATE_MAX).contains(&rate)),
                format!("--rate is 1 to {RATE_MAX}; leave it out for a closed loop"),
            ),
            (
                self.duration >= Duration::from_millis(10),
                "--duration is at least 10ms".to_owned(),
            ),
        ];
        let broken: Vec<String> = bounds
            .into_iter()
            .filter_map(|(holds, text)| (!holds).then_some(text))
            .collect();
        if broken.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(broken.join("; ")))
    }

    /// The same load in the TRANSACTIONAL cache.
    pub fn transactional(&self) -> Self {
        Self {
            cache: format!("{}-transactional", self.cache),
            ..self.clone()
        }
    }

    /// The same load, one by one.
    pub fn unary(&self) -> Self {
        Self {
            pipelining: false,
            ..self.clone()
        }
    }

    /// The client's side of the plan.
    pub fn options(&self, routing: bool) -> Options {
        Options {
            routing,
            connections_per_node: self.connections,
            pipelining: self.pipelining,
            ..Options::default()
        }
    }

    /// The key of a number: its digits, filled up in front.
    pub fn key(&self, number: u64) -> bytes::Bytes {
        format!("{number:0width$}", width = self.key_size).into()
    }

    /// The value that is put.
    pub fn value(&self) -> bytes::Bytes {
        vec![b'v'; self.value_size].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    #[test]
    fn keys_have_the_size_that_was_asked_for() {
        let plan = Line::parse_from(["bench", "--key-size", "20"]).plan;
        assert_eq!(plan.key(7), "00000000000000000007");
        assert!(plan.check().is_ok());
    }

    #[test]
    fn all_that_cannot_be_meant_is_refused_at_once() {
        let arguments = ["bench", "--keys", "0", "--callers", "0", "--rate", "0"];
        let failure = Line::parse_from(arguments)
            .plan
            .check()
            .expect_err("three mistakes");
        for part in ["--keys", "--callers", "--rate"] {
            assert!(failure.message.contains(part), "{failure}");
        }
    }
}
