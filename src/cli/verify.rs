//! `verify`: compares all copies of a cache.

use super::connection::Connection;
use super::outcome::{Answer, Outcome};
use super::output::{self, Output};
use crate::client::messages::{VerifyResponse, verify_response::Copy};
use clap::Args;
use serde_json::{Value, json};

/// Compare all copies of a cache; exit code 1 where something differs or cannot be compared
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embergrid verify sessions\n  embergrid verify sessions --repair --output json\n\n\
                  Every partition is compared byte by byte at one moment, by its primary; writes go on \
                  meanwhile. Nodes do the same on their own, by versions, about once a minute."
)]
pub struct Arguments {
    /// The cache
    #[arg(value_name = "CACHE")]
    cache: String,
    /// Repair what differs: the greater state of a key goes to all owners
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.connection.client().await?;
    let answer = client.verify(&arguments.cache, arguments.repair).await?;
    match arguments.connection.output {
        Output::Json => output::json(&as_json(&arguments.cache, &answer)),
        Output::Table => {
            if !answer.keys.is_empty() {
                output::line(as_table(&answer));
            }
            output::line(summary(&answer));
            for reason in &answer.reasons {
                output::line(reason);
            }
        }
    }
    Ok(Answer::of(
        answer.differences == 0 && answer.partitions_failed == 0,
    ))
}

fn summary(answer: &VerifyResponse) -> String {
    let mut text = format!(
        "{} partitions compared, {} keys differed, {} repaired",
        answer.partitions, answer.differences, answer.repaired
    );
    if answer.partitions_failed > 0 {
        text.push_str(&format!(
            ", {} partitions not compared",
            answer.partitions_failed
        ));
    }
    let named = answer.keys.len() as u64;
    if named < answer.differences {
        text.push_str(&format!(" (the first {named} are shown)"));
    }
    text
}

fn as_table(answer: &VerifyResponse) -> comfy_table::Table {
    let mut table = output::table(&["key", "partition", "owner", "has"]);
    for difference in &answer.keys {
        let key = output::text(&difference.key);
        for (place, copy) in difference.copies.iter().enumerate() {
            let (key, partition) = match place {
                0 => (key.clone(), difference.partition.to_string()),
                _ => Default::default(),
            };
            let owner = match place {
                0 => format!("{} (primary)", copy.node),
                _ => copy.node.clone(),
            };
            table.add_row([key, partition, owner, state(copy)]);
        }
    }
    table
}

fn state(copy: &Copy) -> String {
    match (copy.version, copy.digest) {
        (None, _) => "nothing".to_owned(),
        (Some(version), None) => format!("removed, version {version:016x}"),
        (Some(version), Some(digest)) => {
            format!("a value, version {version:016x}, digest {digest:016x}")
        }
    }
}

fn as_json(cache: &str, answer: &VerifyResponse) -> Value {
    let digits = |number: &u64| format!("{number:016x}");
    let copy = |copy: &Copy| {
        json!({
            "node": copy.node,
            "version": copy.version.as_ref().map(digits),
            "digest": copy.digest.as_ref().map(digits),
        })
    };
    let difference = |difference: &crate::client::messages::verify_response::Difference| {
        json!({
            "key": output::bytes_as_json(&difference.key),
            "partition": difference.partition,
            "copies": difference.copies.iter().map(copy).collect::<Vec<_>>(),
        })
    };
    json!({
        "cache": cache,
        "partitions": answer.partitions,
        "partitions-failed": answer.partitions_failed,
        "reasons": answer.reasons,
        "differences": answer.differences,
        "repaired": answer.repaired,
        "keys": answer.keys.iter().map(difference).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::messages::verify_response::Difference;

    #[test]
    fn every_owner_is_shown_with_what_it_has() {
        let copy = |node: &str, version, digest| Copy {
            node: node.to_owned(),
            version,
            digest,
        };
        let answer = VerifyResponse {
            partitions: 8,
            differences: 2,
            keys: vec![Difference {
                key: bytes::Bytes::from_static(b"TGT-1"),
                partition: 3,
                copies: vec![
                    copy("node-1", Some(0xab), Some(1)),
                    copy("node-2", Some(0xcd), None),
                    copy("node-3", None, None),
                ],
            }],
            partitions_failed: 1,
            ..VerifyResponse::default()
        };
        let table = as_table(&answer).to_string();
        for word in [
            "TGT-1",
            "node-1 (primary)",
            "a value, version 00000000000000ab",
            "removed, version 00000000000000cd",
            "nothing",
        ] {
            assert!(table.contains(word), "{word}: {table}");
        }
        let summary = summary(&answer);
        assert!(summary.contains("8 partitions") && summary.contains("1 partitions not"));
        assert!(summary.contains("the first 1 are shown"), "{summary}");
        let json = as_json("c", &answer);
        assert_eq!(json["keys"][0]["copies"][1]["version"], "00000000000000cd");
        assert_eq!(json["keys"][0]["copies"][2]["version"], Value::Null);
    }
}
