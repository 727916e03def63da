//! A cluster of processes with one cache, and the command line pointed at it.

use crate::commands::{LIMIT, flags, with_flags};
use crate::local::{atomic, started};
use crate::process::{Ended, embergrid};
use embergrid::cli::demo::LocalCluster;
use embergrid::client::Client;
use embergrid::client::messages::{CacheMode, CacheSettings, PutRequest};
use embergrid::types::cache::partition_of;
use serde_json::Value;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// The cache: ATOMIC, PARTITIONED with a backup, with few partitions.
pub const CACHE: &str = "sessions";

/// Its partitions.
pub const PARTITIONS: u32 = 16;

/// A key of the last partition, and so the last one that is told where all are told.
pub fn last_told(begin: &str, partitions: u32) -> String {
    let mut keys = (0..).map(|number| format!("{begin}-{number}"));
    let last = keys.find(|key| partition_of(key.as_bytes(), partitions) == partitions - 1);
    last.expect("there is one")
}

/// Nodes in one view, and how commands reach them.
pub struct Console {
    pub cluster: LocalCluster,
    /// A client of all nodes.
    pub client: Client,
    pub flags: Vec<String>,
}

impl Console {
    /// Starts so many nodes.
    pub async fn start(nodes: u16) -> Self {
        let (cluster, _) = started(nodes).await;
        let all: Vec<usize> = (0..cluster.size()).collect();
        let client = cluster.client(&all).await.expect("a client");
        let settings = CacheSettings {
            partitions: PARTITIONS,
            ..atomic(CACHE, CacheMode::Partitioned)
        };
        client.create_cache(settings).await.expect("a cache");
        let flags = flags(&cluster);
        Self {
            cluster,
            client,
            flags,
        }
    }

    /// Stores a key.
    pub async fn put(&self, key: &str, value: &str) {
        let request = PutRequest {
            cache: CACHE.to_owned(),
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        };
        self.client.put(request).await.expect("a write");
    }

    /// Waits until every copy is in place.
    pub async fn wait_until_loaded(&self) {
        let deadline = Instant::now() + LIMIT;
        let wanted = u64::from(PARTITIONS) * self.cluster.size().min(2) as u64;
        loop {
            let table = self.client.partition_table(CACHE).await.expect("a table");
            let cache = &table.caches[0];
            if cache.copies_loading == 0 && cache.copies_owned == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "still loading: {cache:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        embergrid(&with_flags(arguments, &self.flags), LIMIT)
    }

    /// Runs a command that ends with this exit code and prints this.
    pub fn expect(&self, arguments: &[&str], code: i32, word: &str) {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.output.contains(word), "{arguments:?}: {ended:?}");
        assert_eq!(ended.errors, "", "{arguments:?}: {ended:?}");
        assert!(
            !ended.output.contains('\x1b'),
            "colours in a pipe: {ended:?}"
        );
    }

    fn run_for_json(&self, arguments: &[&str], code: i32) -> Ended {
        let arguments = [arguments, &["--output", "json"]].concat();
        let ended = self.run(&arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        ended
    }

    /// The JSON document that a command prints.
    pub fn json(&self, arguments: &[&str], code: i32) -> Value {
        let ended = self.run_for_json(arguments, code);
        serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// The JSON documents that a command prints, one on each line.
    pub fn json_lines(&self, arguments: &[&str], code: i32) -> Vec<Value> {
        let ended = self.run_for_json(arguments, code);
        ended
            .output
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}
