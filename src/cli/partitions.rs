//! `partitions`: who holds which partition, as a picture.

use super::colour::{Tone, paint};
use super::connection::Connection;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Output};
use crate::client::messages::partition_table_response::{Cache, Partition};
use crate::client::messages::{Node, PartitionTableResponse};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Partitions in one row of the picture.
const ROW: usize = 64;

/// How wide a bar is that stands for all partitions of a cache.
const BAR: usize = 20;

/// The marks of nodes; whoever comes behind them shares the last one.
const MARKS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+";

/// Show which node holds which partition of a cache, as a picture
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  embergrid partitions sessions\n  \
                        embergrid partitions service-tickets --node node-2\n  \
                        embergrid partitions --output json")]
pub struct Arguments {
    /// The cache [default: all of them]
    #[arg(default_value = "", hide_default_value = true)]
    cache: String,
    /// What this node holds, instead of who is the primary
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let table = client.partition_table(&arguments.cache).await?;
    let node = match &arguments.node {
        None => None,
        Some(name) => Some(place(&table.nodes, name)?),
    };
    match arguments.connection.output {
        Output::Json => output::json(&as_json(&table)),
        Output::Table if table.caches.is_empty() => output::line("no caches"),
        Output::Table => {
            for (number, cache) in table.caches.iter().enumerate() {
                if number > 0 {
                    output::line("");
                }
                output::line(picture(cache, &table.nodes, node).trim_end());
            }
        }
    }
    Ok(Answer::Yes)
}

fn place(nodes: &[Node], name: &str) -> Result<u32, Failure> {
    let found = (0u32..)
        .zip(nodes)
        .find(|(_, node)| node.consistent_id == name);
    found.map(|(place, _)| place).ok_or_else(|| {
        let known: Vec<&str> = nodes
            .iter()
            .map(|node| node.consistent_id.as_str())
            .collect();
        Failure::usage(format!(
            "there is no node {name:?}; the view has {}",
            known.join(", ")
        ))
    })
}

/// A cache as people see it: its nodes, and a mark for each partition.
fn picture(cache: &Cache, nodes: &[Node], node: Option<u32>) -> String {
    let mut text = format!(
        "cache {}: {} partitions, {} copies in place, {} loading, {} lost\n",
        cache.name,
        cache.partitions.len(),
        cache.copies_owned,
        cache.copies_loading,
        count(cache, |partition| partition.lost),
    );
    if cache.partitions.is_empty() {
        text.push_str("a LOCAL cache: it lies on the node that is asked\n");
        return text;
    }
    text.push('\n');
    let width = nodes
        .iter()
        .map(|node| node.consistent_id.chars().count())
        .max()
        .unwrap_or_default();
    for (place, info) in (0u32..).zip(nodes) {
        if node.is_none_or(|node| node == place) {
            add_node(&mut text, cache, place, &info.consistent_id, width);
        }
    }
    for (row, partitions) in cache.partitions.chunks(ROW).enumerate() {
        let _ = write!(text, "\n{:>6}  ", row * ROW);
        for partition in partitions {
            let (mark, tone) = match node {
                None => primary_mark(partition),
                Some(node) => copy_mark(partition, node),
            };
            match tone {
                Some(tone) => text.push_str(&paint(mark, tone)),
                None => text.push(mark),
            }
        }
    }
    text.push_str("\n\n");
    text.push_str(match node {
        None => "the letter is the primary's; small: a copy of it still loads; ~ merging; ! lost\n",
        Some(_) => "P primary, b backup, l loading, · not here, ! lost\n",
    });
    text
}

/// One node with bars for what it holds.
fn add_node(text: &mut String, cache: &Cache, place: u32, name: &str, width: usize) {
    let primary = count(cache, |partition| partition.primary == Some(place));
    let backup = count(cache, |partition| partition.backups.contains(&place));
    let loading = count(cache, |partition| partition.loading.contains(&place));
    let bar = |number: usize| {
        let filled = (number * BAR).div_ceil(cache.partitions.len().max(1));
        format!(
            "{}{}",
            "█".repeat(filled),
            "░".repeat(BAR - filled.min(BAR))
        )
    };
    let tone = Tone::Number(place as usize);
    let _ = writeln!(
        text,
        "  {}  {name:<width$}  primary {} {primary:>5}  backup {} {backup:>5}  loading {loading:>5}",
        paint(mark(place), tone),
        paint(bar(primary), tone),
        bar(backup),
    );
}

fn mark(place: u32) -> char {
    let place = (place as usize).min(MARKS.len() - 1);
    char::from(MARKS[place])
}

fn primary_mark(partition: &Partition) -> (char, Option<Tone>) {
    let Some(primary) = partition.primary.filter(|_| !partition.lost) else {
        return ('!', Some(Tone::Bad));
    };
    if partition.merging {
        return ('~', Some(Tone::Passing));
    }
    let mark = mark(primary);
    let tone = Some(Tone::Number(primary as usize));
    if partition.loading.is_empty() {
        (mark, tone)
    } else {
        (mark.to_ascii_lowercase(), tone)
    }
}

fn copy_mark(partition: &Partition, node: u32) -> (char, Option<Tone>) {
    if partition.lost {
        ('!', Some(Tone::Bad))
    } else if partition.primary == Some(node) {
        ('P', Some(Tone::Good))
    } else if partition.loading.contains(&node) {
        ('l', Some(Tone::Passing))
    } else if partition.backups.contains(&node) {
        ('b', Some(Tone::Number(2)))
    } else {
        ('·', None)
    }
}

fn count(cache: &Cache, holds: impl Fn(&Partition) -> bool) -> usize {
    cache
        .partitions
        .iter()
        .filter(|partition| holds(partition))
        .count()
}

fn as_json(table: &PartitionTableResponse) -> Value {
    let name = |place: &u32| {
        table
            .nodes
            .get(*place as usize)
            .map(|node| &node.consistent_id)
    };
    let names = |places: &[u32]| json!(places.iter().map(name).collect::<Vec<_>>());
    let partition = |partition: &Partition| {
        json!({
            "primary": partition.primary.as_ref().and_then(name),
            "backups": names(&partition.backups),
            "loading": names(&partition.loading),
            "merging": partition.merging,
            "lost": partition.lost,
        })
    };
    let cache = |cache: &Cache| {
        json!({
            "name": cache.name,
            "copies-owned": cache.copies_owned,
            "copies-loading": cache.copies_loading,
            "partitions": cache.partitions.iter().map(partition).collect::<Vec<_>>(),
        })
    };
    json!({
        "topology-version": table.version.as_ref().map_or(0, |version| version.number),
        "nodes": table.nodes.iter().map(|node| &node.consistent_id).collect::<Vec<_>>(),
        "caches": table.caches.iter().map(cache).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> PartitionTableResponse {
        let node = |name: &str| Node {
            consistent_id: name.to_owned(),
            ..Node::default()
        };
        let partition = |primary, backups: &[u32], loading: &[u32]| Partition {
            primary,
            backups: backups.to_vec(),
            loading: loading.to_vec(),
            lost: primary.is_none(),
            ..Partition::default()
        };
        let cache = Cache {
            name: "c".to_owned(),
            partitions: vec![
                partition(Some(0), &[1], &[]),
                partition(Some(1), &[], &[0]),
                partition(None, &[], &[]),
            ],
            copies_owned: 3,
            copies_loading: 1,
            ..Cache::default()
        };
        PartitionTableResponse {
            nodes: vec![node("node-1"), node("node-2")],
            caches: vec![cache],
            ..PartitionTableResponse::default()
        }
    }

    #[test]
    fn the_picture_shows_primaries() {
        let table = table();
        let text = picture(&table.caches[0], &table.nodes, None);
        assert!(text.contains("\n     0  Ab!\n"), "{text}");
        assert!(text.contains("A  node-1  primary"), "{text}");
        assert!(text.contains("1 lost"), "{text}");
    }

    #[test]
    fn the_picture_of_a_node_shows_its_copies() {
        let table = table();
        let text = picture(&table.caches[0], &table.nodes, Some(0));
        assert!(text.contains("\n     0  Pl!\n"), "{text}");
        assert!(!text.contains("node-2"), "{text}");
        let text = picture(&table.caches[0], &table.nodes, Some(1));
        assert!(text.contains("\n     0  bP!\n"), "{text}");
    }

    #[test]
    fn a_node_that_is_not_there_is_refused_with_those_that_are() {
        let refused = place(&table().nodes, "node-9").expect_err("not there");
        assert!(refused.message.contains("node-1, node-2"), "{refused}");
    }

    #[test]
    fn nodes_are_named_in_json() {
        let said = as_json(&table());
        let partitions = &said["caches"][0]["partitions"];
        assert_eq!(partitions[0]["primary"], "node-1");
        assert_eq!(partitions[0]["backups"][0], "node-2");
        assert_eq!(partitions[2]["primary"], Value::Null);
    }
}
