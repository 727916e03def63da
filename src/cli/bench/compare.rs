//! Two reports side by side.

use super::report::{Kept, shown};
use crate::cli::outcome::{Answer, Failure, Outcome};
use crate::cli::output::{self, Output};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A figure by name, before and after.
type Pair = (String, f64, f64);

/// Prints what changed from one report to the other.
pub fn run(before: &Path, after: &Path, form: Output) -> Outcome {
    let (before, after) = (read(before)?, read(after)?);
    let of_after: BTreeMap<String, f64> = after.figures().into_iter().collect();
    let with_after = |(name, before)| {
        let after = *of_after.get(&name)?;
        Some((name, before, after))
    };
    let pairs: Vec<Pair> = before
        .figures()
        .into_iter()
        .filter_map(with_after)
        .collect();
    if pairs.is_empty() {
        let text = "the two reports have no figure in common: one is of transactions, one of calls";
        return Err(Failure::usage(text));
    }
    match form {
        Output::Json => output::json(&as_json(&pairs, &before, &after)),
        Output::Table => {
            let mut table = output::table(&["", "before", "after", "after / before"]);
            for (name, before, after) in &pairs {
                let ratio = ratio(*before, *after).map_or("–".to_owned(), |r| format!("{r:.2}"));
                table.add_row([name.clone(), shown(*before), shown(*after), ratio]);
            }
            output::line(table);
            if differ(&before, &after) {
                output::line(
                    "the two were measured under different loads, or of different clusters",
                );
            }
        }
    }
    Ok(Answer::Yes)
}

fn read(path: &Path) -> Result<Kept, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Kept::parse(&text).map_err(|error| {
        Failure::usage(format!(
            "{}: not a report of `bench --output json`: {error}",
            path.display()
        ))
    })
}

fn ratio(before: f64, after: f64) -> Option<f64> {
    (before > 0.0).then(|| after / before)
}

fn differ(before: &Kept, after: &Kept) -> bool {
    before.load() != after.load()
}

fn as_json(pairs: &[Pair], before: &Kept, after: &Kept) -> Value {
    let figures: Map<String, Value> = pairs
        .iter()
        .map(|(name, before, after)| {
            let figure = json!({
                "before": before,
                "after": after,
                "ratio": ratio(*before, *after),
            });
            (name.clone(), figure)
        })
        .collect();
    json!({ "same_load": !differ(before, after), "figures": figures })
}
