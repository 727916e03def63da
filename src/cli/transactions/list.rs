//! `transactions`: those of all nodes, the oldest first.

use super::super::connection::Connection;
use super::super::outcome::{Answer, Outcome};
use super::super::output::{self, Output};
use crate::client::messages::list_transactions_response::Transaction;
use crate::client::messages::{TransactionConcurrency, TransactionIsolation};
use crate::config::duration::show;
use clap::Args;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::time::Duration;

/// How many characters of a label a table shows.
const LABEL_SHOWN_MAX: usize = 40;

/// What is listed.
#[derive(Debug, Args)]
pub struct Wanted {
    /// Only those that this node keeps, by name; repeatable [default: all of the view]
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
    /// At most so many of each node
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

/// One that is open, and the node that keeps it.
struct Open {
    node: String,
    transaction: Transaction,
}

pub(super) async fn run(arguments: Wanted) -> Outcome {
    let client = arguments.connection.client().await?;
    let mut nodes = arguments.nodes;
    if nodes.is_empty() {
        let view = client.topology().await?;
        nodes.extend(view.nodes.into_iter().map(|node| node.consistent_id));
    }
    let (mut open, mut total, mut answered, mut failed) = (Vec::new(), 0, false, None);
    for node in &nodes {
        match client.list_transactions(node, arguments.limit).await {
            Ok(said) => {
                answered = true;
                total += said.total;
                open.extend(said.transactions.into_iter().map(|transaction| Open {
                    node: said.node.clone(),
                    transaction,
                }));
            }
            // Those of the others are worth seeing all the same.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    open.sort_by_key(|one| Reverse(one.age()));
    match arguments.connection.output {
        _ if !answered => {}
        Output::Json => output::json(&Value::Array(open.iter().map(as_json).collect())),
        Output::Table if open.is_empty() => output::line("no open transactions"),
        Output::Table => output::line(as_table(&open)),
    }
    let left_out = total.saturating_sub(open.len() as u64);
    if left_out > 0 {
        output::aside(format_args!("{left_out} more are open"));
    }
    match failed {
        None => Ok(Answer::Yes),
        Some(error) => Err(error.into()),
    }
}

impl Open {
    fn age(&self) -> Duration {
        length(self.transaction.age)
    }

    fn timeout(&self) -> Duration {
        length(self.transaction.timeout)
    }

    /// When locks are taken, and what it is kept from seeing.
    fn mode(&self) -> (&'static str, &'static str) {
        let concurrency = match self.transaction.concurrency() {
            TransactionConcurrency::Optimistic => "OPTIMISTIC",
            _ => "PESSIMISTIC",
        };
        let isolation = match self.transaction.isolation() {
            TransactionIsolation::ReadCommitted => "READ_COMMITTED",
            TransactionIsolation::Serializable => "SERIALIZABLE",
            _ => "REPEATABLE_READ",
        };
        (concurrency, isolation)
    }
}

fn length(sent: Option<prost_types::Duration>) -> Duration {
    let sent = sent.and_then(|sent| Duration::try_from(sent).ok());
    sent.unwrap_or_default()
}

fn as_table(open: &[Open]) -> comfy_table::Table {
    let mut table = output::table(&[
        "transaction",
        "label",
        "node",
        "age",
        "ends at",
        "keys",
        "mode",
    ]);
    // Milliseconds are as much as people read.
    let shown = |length: Duration| {
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        show(Duration::from_millis(millis))
    };
    for one in open {
        let (concurrency, isolation) = one.mode();
        let label = output::text(one.transaction.label.as_bytes());
        table.add_row([
            one.transaction.transaction.clone(),
            output::shortened(&label, LABEL_SHOWN_MAX),
            output::text(one.node.as_bytes()),
            shown(one.age()),
            shown(one.timeout()),
            one.transaction.keys.to_string(),
            format!("{concurrency}, {isolation}"),
        ]);
    }
    table
}

fn as_json(one: &Open) -> Value {
    let (concurrency, isolation) = one.mode();
    json!({
        "transaction": one.transaction.transaction,
        "label": one.transaction.label,
        "node": one.node,
        "age-seconds": one.age().as_secs_f64(),
        "timeout-seconds": one.timeout().as_secs_f64(),
        "keys": one.transaction.keys,
        "concurrency": concurrency,
        "isolation": isolation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_transaction_is_shown_in_both_forms() {
        let one = Open {
            node: "node-1".to_owned(),
            transaction: Transaction {
                transaction: "5-2a".to_owned(),
                label: "nightly\u{1b}[31m".to_owned(),
                isolation: TransactionIsolation::Serializable.into(),
                age: Some(prost_types::Duration {
                    seconds: 61,
                    nanos: 2_000_400,
                }),
                keys: 3,
                ..Transaction::default()
            },
        };
        let table = as_table(std::slice::from_ref(&one)).to_string();
        for word in [
            "5-2a",
            "node-1",
            "nightly\\u{1b}",
            "1m 1s 2ms",
            "SERIALIZABLE",
        ] {
            assert!(table.contains(word), "{word}: {table}");
        }
        let json = as_json(&one);
        assert_eq!(json["concurrency"], "PESSIMISTIC");
        assert_eq!(json["keys"], 3);
    }
}
