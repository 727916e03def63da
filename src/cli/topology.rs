//! `topology`: the nodes of the cluster, and how its caches lie on them.

use super::colour::{Tone, cell};
use super::connection::Connection;
use super::get::point;
use super::live;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::Client;
use crate::client::messages::node::State;
use crate::client::messages::partition_table_response::Cache;
use crate::client::messages::{Node, NodeRole, TopologyResponse};
use clap::Args;
use comfy_table::Cell;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::IsTerminal;

/// Show the nodes and the caches of the cluster, as one node knows them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid topology --address 127.0.0.1:47500..47502 \
                        --key client.key.pem --trust authority.pem --output json\n  \
                        embergrid topology --watch"
)]
pub struct Arguments {
    /// Show it again whenever it changes: a live view on a terminal, else one after another
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let output = arguments.connection.output;
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !arguments.watch {
        let topology = client.topology().await?;
        let caches = client.partition_table("").await?.caches;
        match output {
            Output::Json => output::json(&as_json(&topology, &caches)),
            Output::Table => output::line(as_tables(&topology, &caches)),
        }
        Ok(Answer::Yes)
    } else if terminal && output == Output::Table {
        live::show(&client).await
    } else {
        follow(&client, output).await
    }
}

/// Prints every view as it comes, until the reader goes away.
async fn follow(client: &Client, output: Output) -> Outcome {
    let mut views = client.watch_topology();
    loop {
        let topology = views.next().await?;
        let caches = client.partition_table("").await?.caches;
        let read_on = match output {
            Output::Json => output::json_line(&as_json(&topology, &caches)),
            Output::Table => output::try_line(as_tables(&topology, &caches)),
        };
        if !read_on {
            return Ok(Answer::Yes);
        }
    }
}

fn as_tables(topology: &TopologyResponse, caches: &[Cache]) -> String {
    let number = topology
        .version
        .as_ref()
        .map_or(0, |version| version.number);
    let mut text = format!(
        "cluster {}, topology version {number}{}, coordinator {}, asked {}\n",
        topology.cluster_name,
        primary(topology),
        topology.coordinator,
        topology.self_
    );
    let mut nodes = output::table(&[
        "node",
        "address",
        "role",
        "state",
        "since",
        "version",
        "certificate days",
    ]);
    for node in &topology.nodes {
        nodes.add_row([
            Cell::new(&node.consistent_id),
            Cell::new(&node.address),
            Cell::new(role(node)),
            cell(state(node), Some(state_tone(node))),
            Cell::new(point(node.started_at.as_ref()).unwrap_or_default()),
            Cell::new(&node.version),
            Cell::new(days_left(node)),
        ]);
    }
    let _ = write!(text, "{nodes}");
    if !caches.is_empty() {
        let mut table = output::table(&["cache", "partitions", "copies", "loading", "lost"]);
        for cache in caches {
            table.add_row([
                Cell::new(&cache.name),
                Cell::new(cache.partitions.len()),
                Cell::new(cache.copies_owned),
                cell(
                    cache.copies_loading,
                    tone(cache.copies_loading, Tone::Passing),
                ),
                cell(lost(cache), tone(lost(cache), Tone::Bad)),
            ]);
        }
        let _ = write!(text, "\n{table}");
    }
    text
}

/// A word where caches that stop in a minority have stopped.
pub(super) fn primary(topology: &TopologyResponse) -> &'static str {
    if topology.primary {
        ""
    } else {
        " (not primary: caches that stop in a minority have stopped)"
    }
}

fn as_json(topology: &TopologyResponse, caches: &[Cache]) -> Value {
    let nodes: Vec<Value> = topology.nodes.iter().map(node_as_json).collect();
    let caches: Vec<Value> = caches
        .iter()
        .map(|cache| {
            json!({
                "name": cache.name,
                "partitions": cache.partitions.len(),
                "copies-owned": cache.copies_owned,
                "copies-loading": cache.copies_loading,
                "lost": lost(cache),
            })
        })
        .collect();
    json!({
        "cluster": topology.cluster_name,
        "topology-version": topology.version.as_ref().map_or(0, |version| version.number),
        "coordinator": topology.coordinator,
        "primary": topology.primary,
        "asked": topology.self_,
        "nodes": nodes,
        "caches": caches,
    })
}

fn node_as_json(node: &Node) -> Value {
    json!({
        "id": format!("{:016x}", node.id),
        "consistent-id": node.consistent_id,
        "address": node.address,
        "role": role(node),
        "state": state(node),
        "attributes": node.attributes,
        "incarnation": node.incarnation.to_string(),
        "version": node.version,
        "started-at": point(node.started_at.as_ref()),
        "certificate-expires-at": point(node.certificate_expires_at.as_ref()),
        "certificate-days-left": node.certificate_days_left,
    })
}

/// How long its certificate is still good; empty without TLS.
fn days_left(node: &Node) -> String {
    let days = node.certificate_days_left;
    days.map_or_else(String::new, |days| days.to_string())
}

/// Partitions all of whose owners are gone.
pub(super) fn lost(cache: &Cache) -> u64 {
    let lost = cache.partitions.iter().filter(|partition| partition.lost);
    lost.count() as u64
}

/// A count that should be zero.
fn tone(count: u64, otherwise: Tone) -> Option<Tone> {
    (count > 0).then_some(otherwise)
}

pub(super) fn state_tone(node: &Node) -> Tone {
    match node.state() {
        State::Alive => Tone::Good,
        State::Loading | State::Leaving => Tone::Passing,
        State::Suspected | State::Unspecified => Tone::Bad,
    }
}

pub(super) fn role(node: &Node) -> &'static str {
    match node.role() {
        NodeRole::Server => "server",
        NodeRole::Client => "client",
        NodeRole::Unspecified => "unknown",
    }
}

pub(super) fn state(node: &Node) -> &'static str {
    match node.state() {
        State::Alive => "alive",
        State::Loading => "loading",
        State::Suspected => "suspected",
        State::Leaving => "leaving",
        State::Unspecified => "unknown",
    }
}
