//! `topology`: the nodes of the cluster, and how its caches lie on them.

use super::connection::Connection;
use super::get::point;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::messages::node::State;
use crate::client::messages::partition_table_response::Cache;
use crate::client::messages::{Node, NodeRole, TopologyResponse};
use clap::Args;
use serde_json::{Value, json};

/// Show the nodes and the caches of the cluster, as one node knows them
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid topology --address 127.0.0.1:47500..47502 \
                        --key client.key.pem --trust authority.pem --output json"
)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let topology = client.topology().await?;
    let caches = client.partition_table("").await?.caches;
    match arguments.connection.output {
        Output::Json => output::json(&as_json(&topology, &caches)),
        Output::Table => print_tables(&topology, &caches),
    }
    Ok(Answer::Yes)
}

fn print_tables(topology: &TopologyResponse, caches: &[Cache]) {
    let number = topology
        .version
        .as_ref()
        .map_or(0, |version| version.number);
    output::line(format_args!(
        "cluster {}, topology version {number}, coordinator {}, asked {}",
        topology.cluster_name, topology.coordinator, topology.self_
    ));
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
            node.consistent_id.clone(),
            node.address.clone(),
            role(node).to_owned(),
            state(node).to_owned(),
            point(node.started_at.as_ref()).unwrap_or_default(),
            node.version.clone(),
            days_left(node),
        ]);
    }
    output::line(nodes);
    if !caches.is_empty() {
        let mut table = output::table(&["cache", "partitions", "copies", "loading", "lost"]);
        for cache in caches {
            table.add_row([
                cache.name.clone(),
                cache.partitions.len().to_string(),
                cache.copies_owned.to_string(),
                cache.copies_loading.to_string(),
                lost(cache).to_string(),
            ]);
        }
        output::line(table);
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
fn lost(cache: &Cache) -> usize {
    cache
        .partitions
        .iter()
        .filter(|partition| partition.lost)
        .count()
}

fn role(node: &Node) -> &'static str {
    match node.role() {
        NodeRole::Server => "server",
        NodeRole::Client => "client",
        NodeRole::Unspecified => "unknown",
    }
}

fn state(node: &Node) -> &'static str {
    match node.state() {
        State::Alive => "alive",
        State::Loading => "loading",
        State::Suspected => "suspected",
        State::Leaving => "leaving",
        State::Unspecified => "unknown",
    }
}
