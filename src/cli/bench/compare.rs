//! Two reports side by side.

use super::report::{FIGURES, Report, shown};
use crate::cli::outcome::{Answer, Failure, Outcome};
use crate::cli::output::{self, Output};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Prints what changed from one report to the other.
pub fn run(before: &Path, after: &Path, form: Output) -> Outcome {
    let (before, after) = (read(before)?, read(after)?);
    let pairs: Vec<(&str, f64, f64)> = FIGURES
        .iter()
        .filter_map(|(name, of)| Some((*name, of(&before.cluster)?, of(&after.cluster)?)))
        .collect();
    match form {
        Output::Json => output::json(&as_json(&pairs, &before, &after)),
        Output::Table => {
            let mut table = output::table(&["", "before", "after", "after / before"]);
            for (name, before, after) in &pairs {
                let ratio = ratio(*before, *after).map_or("–".to_owned(), |r| format!("{r:.2}"));
                table.add_row([(*name).to_owned(), shown(*before), shown(*after), ratio]);
            }
            output::line(table);
            if differ(&before, &after) {
                output::line("the two were measured under different loads");
            }
        }
    }
    Ok(Answer::Yes)
}

fn read(path: &Path) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!(
            "{}: not a report of `bench --output json`: {error}",
            path.display()
        ))
    })
}

fn ratio(before: f64, after: f64) -> Option<f64> {
    (before > 0.0).then(|| after / before)
}

fn differ(before: &Report, after: &Report) -> bool {
    let of = |report: &Report| serde_json::to_value(&report.plan).unwrap_or_default();
    of(before) != of(after)
}

fn as_json(pairs: &[(&str, f64, f64)], before: &Report, after: &Report) -> Value {
    let figures: Map<String, Value> = pairs
        .iter()
        .map(|(name, before, after)| {
            let figure = json!({
                "before": before,
                "after": after,
                "ratio": ratio(*before, *after),
            });
            ((*name).to_owned(), figure)
        })
        .collect();
    json!({ "same_load": !differ(before, after), "figures": figures })
}
