//! What runs did and found, for people: a line for each, and their sum.

use crate::checkers::linear;
use crate::run::Report;
use std::collections::BTreeMap;

/// Violations of one run that are printed.
const SHOWN_MAX: usize = 5;

#[derive(Default)]
pub struct Table {
    rows: Vec<String>,
    sums: [u64; 8],
    faults: BTreeMap<String, u64>,
    judged: BTreeMap<&'static str, (u64, u64)>,
    pub broken: usize,
}

const HEAD: &str = "| seed | network | nodes | faults | calls | acknowledged | failed | unknown | lost | returned | other | whole, equal after |";

impl Table {
    pub fn add(&mut self, report: &Report) {
        let (record, plan) = (&report.record, &report.plan);
        let lost = report.count(&["1 "]) as u64;
        let returned = report.count(&["2 ", "3 "]) as u64;
        let all: usize = report
            .findings
            .iter()
            .map(|(_, found)| found.violations.len())
            .sum();
        let numbers = [
            record.faults.len() as u64,
            record.history.calls.len() as u64,
            report.acknowledged,
            report.failed,
            report.unknown,
            lost,
            returned,
            all as u64 - lost - returned,
        ];
        for (sum, number) in self.sums.iter_mut().zip(numbers) {
            *sum += number;
        }
        for (_, kind, _) in &record.faults {
            *self.faults.entry(format!("{kind:?}")).or_default() += 1;
        }
        for (name, findings) in &report.findings {
            let entry = self.judged.entry(name).or_default();
            entry.0 += findings.judged;
            entry.1 += findings.undecided;
        }
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let row = format!(
            "| {} | {:?}, {:?}{} | {} | {} | {:.1} s, {:.1} s |",
            plan.seed,
            report.ground,
            plan.profile,
            if record.was_divided() {
                ", divided"
            } else {
                ""
            },
            plan.nodes,
            numbers.join(" | "),
            report.whole_after.as_secs_f64(),
            report.equal_after.as_secs_f64()
        );
        println!("{HEAD}\n{row}");
        self.rows.push(row);
        self.report_broken(report);
    }

    fn report_broken(&mut self, report: &Report) {
        let broken: Vec<String> = report
            .findings
            .iter()
            .flat_map(|(name, found)| found.violations.iter().map(move |what| (name, what)))
            .map(|(name, what)| format!("  [{name}] {what}"))
            .collect();
        if broken.is_empty() {
            return;
        }
        self.broken += 1;
        let history = write_down(report);
        let shown: Vec<&str> = broken.iter().take(SHOWN_MAX).map(String::as_str).collect();
        println!(
            "seed {} broke {} times:\n{}\n  all calls: {history}\n  again: EMBERGRID_SEED={} cargo test --test chaos faults -- --nocapture",
            report.plan.seed,
            broken.len(),
            shown.join("\n"),
            report.plan.seed
        );
    }

    pub fn print(&self) {
        println!("{HEAD}\n{}", "|---".repeat(12) + "|");
        for row in &self.rows {
            println!("{row}");
        }
        let sums: Vec<String> = self.sums.iter().map(u64::to_string).collect();
        println!("| {} runs | | | {} | |", self.rows.len(), sums.join(" | "));
        println!("faults of {} kinds: {:?}", self.faults.len(), self.faults);
        for (name, (judged, undecided)) in &self.judged {
            println!("  {name}: {judged} judged, {undecided} undecided");
        }
    }
}

/// Every call of a run with what disturbed it, by key, in a file; returns where that is.
fn write_down(report: &Report) -> String {
    let record = &report.record;
    let mut lines: Vec<String> = record
        .faults
        .iter()
        .map(|(at, kind, node)| format!("at {at} {kind:?} (n{node})"))
        .collect();
    lines.extend(report.heard.iter().map(|heard| {
        let (at, node, number) = (heard.at, heard.node, heard.version.number);
        format!("at {at} n{node} has view {number}: {:?}", heard.members)
    }));
    let mut calls: Vec<_> = report.calls.iter().collect();
    calls.sort_by_key(|call| (call.cache, call.key().cloned(), call.invoked));
    lines.extend(calls.iter().map(|call| {
        let key = call.key();
        format!("cache {} {key:?} {}", call.cache, linear::line(call))
    }));
    let name = format!("chaos-{}-{:?}.txt", report.plan.seed, report.plan.profile);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match std::fs::write(&path, lines.join("\n")) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("not written: {error}"),
    }
}
