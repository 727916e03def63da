//! `stats`: what nodes count of themselves.

use super::connection::Connection;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::messages::NodeStatsResponse;
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Show the counters of nodes
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid stats\n  embergrid stats node-1 --output json\n\n\
                        A counter begins at 0 when its node starts and only rises; one whose name \
                        ends in _now is a value of this moment."
)]
pub struct Arguments {
    /// Nodes by name [default: all of the view]
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let mut nodes = arguments.nodes;
    if nodes.is_empty() {
        let view = client.topology().await?;
        nodes.extend(view.nodes.into_iter().map(|node| node.consistent_id));
    }
    let mut stats = Vec::with_capacity(nodes.len());
    let mut failed = None;
    for node in &nodes {
        match client.node_stats(node).await {
            Ok(said) => stats.push(said),
            // The others are worth seeing all the same.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match arguments.connection.output {
        _ if stats.is_empty() => {}
        Output::Json => output::json(&Value::Array(stats.iter().map(as_json).collect())),
        Output::Table => output::line(as_table(&stats)),
    }
    match failed {
        None => Ok(Answer::Yes),
        Some(error) => Err(error.into()),
    }
}

/// A column for each node.
fn as_table(stats: &[NodeStatsResponse]) -> comfy_table::Table {
    let mut headings = vec!["counter"];
    headings.extend(stats.iter().map(|node| node.node.as_str()));
    let mut table = output::table(&headings);
    let mut row = |name: &str, value: &dyn Fn(&NodeStatsResponse) -> String| {
        let values = stats.iter().map(value);
        table.add_row(std::iter::once(name.to_owned()).chain(values));
    };
    row("serving", &|node| {
        if node.serving { "yes" } else { "no" }.to_owned()
    });
    row("uptime", &uptime);
    let names: BTreeSet<&String> = stats.iter().flat_map(|node| node.counters.keys()).collect();
    for name in names {
        row(name, &|node| {
            let count = node.counters.get(name);
            count.map_or_else(|| "–".to_owned(), u64::to_string)
        });
    }
    table
}

/// In whole seconds.
fn uptime(node: &NodeStatsResponse) -> String {
    let length = node.uptime.map(Duration::try_from);
    let Some(Ok(length)) = length else {
        return "–".to_owned();
    };
    crate::config::duration::show(Duration::from_secs(length.as_secs()))
}

fn as_json(node: &NodeStatsResponse) -> Value {
    let uptime = node
        .uptime
        .and_then(|length| Duration::try_from(length).ok());
    let counters: BTreeMap<_, _> = node.counters.iter().collect();
    json!({
        "node": node.node,
        "serving": node.serving,
        "uptime-seconds": uptime.map(|length| length.as_secs_f64()),
        "counters": counters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_side_by_side() {
        let node = |name: &str, counter: &str| NodeStatsResponse {
            node: name.to_owned(),
            serving: true,
            uptime: Some(prost_types::Duration {
                seconds: 60,
                nanos: 5,
            }),
            counters: [(counter.to_owned(), 7)].into(),
        };
        let table = as_table(&[node("node-1", "views"), node("node-2", "links_now")]).to_string();
        assert!(
            table.contains("node-1") && table.contains("node-2"),
            "{table}"
        );
        assert!(
            table.contains("links_now") && table.contains("1m"),
            "{table}"
        );
        assert_eq!(as_json(&node("node-1", "views"))["counters"]["views"], 7);
    }
}
