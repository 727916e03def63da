//! What is driven: a cluster that the user names, one that is started for the measurement, or the
//! floor.

use super::plan::Plan;
use super::report::About;
use super::usage::Usage;
use crate::cli::connection::Connection;
use crate::cli::demo::{LocalCluster, wait_for_view};
use crate::cli::outcome::Failure;
use crate::client::Client;
use crate::client::messages::{AtomicityMode, CacheMode, CacheSettings, PutRequest};
use crate::error::ErrorKind;
use indicatif::ProgressBar;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a node may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Callers that fill the cache before it is measured.
const FILLERS: u64 = 32;

/// The pause between two looks at a condition that is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Something to be driven.
pub struct Place {
    client: Client,
    /// A second one that calls one by one, where that is measured beside a pipeline.
    unary: Option<Client>,
    processes: Vec<u32>,
    name: String,
    /// Ends with this value, where it was started for it.
    _cluster: Option<LocalCluster>,
}

/// What was used by everybody who took part.
#[derive(Clone, Debug)]
pub struct Usages {
    /// This process.
    pub client: Usage,
    /// The nodes whose processes are known.
    pub nodes: Vec<Usage>,
}

impl Place {
    /// A cluster that the user names.
    pub async fn driven(
        connection: &Connection,
        plan: &Plan,
        unary: Option<&Plan>,
        processes: &[u32],
    ) -> Result<Self, Failure> {
        let connect = async |plan: &Plan| connection.client_with(plan.options(true)).await;
        Ok(Self {
            client: connect(plan).await?,
            unary: match unary {
                Some(plan) => Some(connect(plan).await?),
                None => None,
            },
            processes: processes.to_vec(),
            name: "a running cluster".to_owned(),
            _cluster: None,
        })
    }

    /// A cluster of its own.
    pub async fn started(nodes: u16, plan: &Plan, unary: Option<&Plan>) -> Result<Self, Failure> {
        let mut cluster = LocalCluster::prepare(&this_program()?, nodes, false)?;
        let all: Vec<usize> = (0..cluster.size()).collect();
        for &index in &all {
            cluster.start(index)?;
        }
        for &index in &all {
            let node = cluster.reach(index, START_LIMIT).await?;
            wait_for_view(&node, START_LIMIT, |view| view.nodes.len() == all.len()).await?;
        }
        let connect = async |plan: &Plan| cluster.routing_client(&all, plan.options(true)).await;
        Ok(Self {
            client: connect(plan).await?,
            unary: match unary {
                Some(plan) => Some(connect(plan).await?),
                None => None,
            },
            processes: cluster.process_ids(),
            name: format!("{nodes} nodes on this machine, mutual TLS"),
            _cluster: Some(cluster),
        })
    }

    /// The floor.
    pub async fn floor(plan: &Plan) -> Result<Self, Failure> {
        let mut cluster = LocalCluster::prepare(&this_program()?, 1, false)?;
        cluster.start_floor(0, plan.value_size)?;
        let give_up = Instant::now() + START_LIMIT;
        let client = loop {
            match cluster.routing_client(&[0], plan.options(false)).await {
                Ok(client) => break client,
                Err(failure) if Instant::now() >= give_up => {
                    let words = cluster.last_words(0);
                    let text = format!("the floor cannot be reached: {failure}\n{words}");
                    return Err(Failure::failed(text));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        };
        Ok(Self {
            client,
            unary: None,
            processes: cluster.process_ids(),
            name: "the floor".to_owned(),
            _cluster: Some(cluster),
        })
    }

    /// Its client for such a load.
    pub fn client(&self, plan: &Plan) -> &Client {
        match &self.unary {
            Some(unary) if !plan.pipelining => unary,
            _ => &self.client,
        }
    }

    /// What it is, for the report.
    pub fn about(&self) -> About {
        About {
            what: self.name.clone(),
            nodes_measured: self.processes.len(),
        }
    }

    /// What has been used so far.
    pub fn usage(&self) -> Usages {
        Usages {
            client: Usage::of_this(),
            nodes: self.processes.iter().map(|&id| Usage::of(id)).collect(),
        }
    }

    /// Creates the plan's cache where there is none.
    pub async fn prepare(&self, plan: &Plan, atomicity: AtomicityMode) -> Result<(), Failure> {
        let mode = match plan.partitioned {
            Some(_) => CacheMode::Partitioned,
            None => CacheMode::Replicated,
        };
        let settings = CacheSettings {
            name: plan.cache.clone(),
            mode: mode.into(),
            backups: plan.partitioned,
            atomicity_mode: atomicity.into(),
            entry_bytes_max: plan.value_size.max(1 << 20) as u64,
            ..CacheSettings::default()
        };
        match self.client.create_cache(settings).await {
            Ok(_) => self.wait_for_balance(&plan.cache).await,
            // One that exists with other settings is used as it is.
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait_for_balance(&self, cache: &str) -> Result<(), Failure> {
        let give_up = Instant::now() + START_LIMIT;
        loop {
            let table = self.client.partition_table(cache).await?;
            if table.caches.iter().all(|cache| cache.copies_loading == 0) {
                return Ok(());
            }
            if Instant::now() >= give_up {
                let text = format!("cache {cache:?} still loads after {START_LIMIT:?}");
                return Err(Failure::failed(text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Puts every key once, so that reads find something.
    pub async fn fill(&self, plan: &Plan, live: &ProgressBar) -> Result<(), Failure> {
        let done = Arc::new(AtomicU64::new(0));
        let mut fillers = tokio::task::JoinSet::new();
        for _ in 0..FILLERS {
            let (client, plan, done) = (self.client.clone(), plan.clone(), Arc::clone(&done));
            let live = live.clone();
            fillers.spawn(async move {
                loop {
                    let number = done.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.keys {
                        return Ok(());
                    }
                    if number.is_multiple_of(1_000) {
                        live.set_message(format!("filling: {number} of {} keys", plan.keys));
                    }
                    let request = PutRequest {
                        cache: plan.cache.clone(),
                        key: plan.key(number),
                        value: plan.value(),
                        ..PutRequest::default()
                    };
                    client.put(request).await?;
                }
            });
        }
        while let Some(ended) = fillers.join_next().await {
            let filled: Result<(), Failure> =
                ended.map_err(|error| Failure::failed(format!("a caller: {error}")))?;
            filled?;
        }
        Ok(())
    }
}

fn this_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed(format!("where this program is: {error}")))
}
