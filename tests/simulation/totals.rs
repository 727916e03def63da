//! What many runs did and found, for people.

use crate::faults::{FaultKind, Profile};
use crate::history::Outcome;
use crate::run::Report;
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

#[derive(Default)]
pub struct Totals {
    runs: BTreeMap<Profile, u64>,
    faults: BTreeMap<FaultKind, u64>,
    operations: BTreeMap<&'static str, u64>,
    acknowledged: u64,
    unknown: u64,
    failed: u64,
    /// Calls on named locks, and those of them that were granted one.
    loans: (u64, u64),
    messages: u64,
    /// Runs of nodes of two versions of the protocol, and messages that one of them did not know.
    two_versions: (u64, u64),
    /// Runs without a cut in which two sides served.
    divided: u64,
    events: u64,
    judged: BTreeMap<&'static str, (u64, u64)>,
    hashes: BTreeMap<u64, u64>,
    /// A paragraph for each broken seed.
    pub broken: Vec<String>,
}

/// Violations of one seed that are printed.
const SHOWN_MAX: usize = 5;

impl Totals {
    pub fn add(&mut self, report: &Report) {
        let record = &report.record;
        *self.runs.entry(report.profile).or_default() += 1;
        for (kind, count) in record.count_faults() {
            *self.faults.entry(kind).or_default() += count;
        }
        for call in &record.history.calls {
            *self.operations.entry(name(call)).or_default() += 1;
            match call.outcome {
                Outcome::Ok(_) => self.acknowledged += u64::from(call.was_applied()),
                Outcome::Failed(_) => self.failed += 1,
                Outcome::Unknown => self.unknown += 1,
            }
        }
        let granted = record.loans.iter().filter(|loan| loan.granted().is_some());
        self.loans.0 += record.loans.len() as u64;
        self.loans.1 += granted.count() as u64;
        self.messages += record.messages;
        self.two_versions.0 += u64::from(record.left_out > 0);
        self.two_versions.1 += record.left_out;
        let whole = report.profile != Profile::Split;
        self.divided += u64::from(whole && record.was_divided());
        self.events += record.events;
        self.hashes.insert(report.seed, record.hash);
        for (name, findings) in &report.findings {
            let entry = self.judged.entry(name).or_default();
            entry.0 += findings.judged;
            entry.1 += findings.undecided;
        }
        let violations: Vec<String> = report
            .violations()
            .map(|(name, what)| format!("  [{name}] {what}"))
            .collect();
        if !violations.is_empty() {
            let shown = violations
                .iter()
                .take(SHOWN_MAX)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n");
            let paragraph = format!(
                "seed {} ({:?}, {} nodes) broke {} times:\n{shown}\n  replay: EMBERGRID_SEED={} cargo test --test simulation promises -- --nocapture",
                report.seed,
                report.profile,
                record.nodes,
                violations.len(),
                report.seed
            );
            println!("{paragraph}");
            self.broken.push(paragraph);
        }
    }
}

fn name(call: &crate::history::Call) -> &'static str {
    use embergrid::types::ticket::{TicketErrand, TicketOperation};
    use embergrid::types::{Condition, KeyOperation, Operation};
    match &call.request.operation {
        Operation::Scan { .. } => "scan",
        Operation::Size => "size",
        Operation::Clear => "clear",
        Operation::Transaction { .. } => "step of a transaction",
        Operation::Verify { .. } => "verify",
        Operation::Lock { .. } => "lock",
        Operation::Key { operation, .. } => match operation {
            KeyOperation::Get { .. } => "get",
            KeyOperation::Put {
                condition: Condition::Any,
                ..
            } => "put",
            KeyOperation::Put { .. } => "put on condition",
            KeyOperation::Remove {
                return_previous: true,
                ..
            } => "take",
            KeyOperation::Remove { .. } => "remove",
            KeyOperation::Touch { .. } => "touch",
            KeyOperation::Modify { .. } => "increment",
            KeyOperation::Ticket(TicketOperation::Add { .. }) => "add ticket",
            KeyOperation::Ticket(TicketOperation::Get { .. }) => "get ticket",
            KeyOperation::Ticket(TicketOperation::Use { .. }) => "use",
            KeyOperation::Ticket(TicketOperation::Update { .. }) => "update ticket",
            KeyOperation::Ticket(TicketOperation::Touch) => "touch",
        },
        Operation::Tickets(_) => "look tickets up",
        Operation::Errand(errand) => match &**errand {
            TicketErrand::AddChild { .. } => "add child",
            TicketErrand::One { operation, .. } => match operation {
                TicketOperation::Get { .. } => "get ticket",
                TicketOperation::Update { .. } => "update ticket",
                _ => "use",
            },
            TicketErrand::Delete { .. } => "delete ticket",
            TicketErrand::DeleteForPrincipal { .. } => "log out",
            TicketErrand::DeleteAll { .. } => "delete all",
        },
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "runs: {:?}", self.runs)?;
        writeln!(
            f,
            "faults: {} of {} kinds: {:?}",
            self.faults.values().sum::<u64>(),
            self.faults.len(),
            self.faults
        )?;
        writeln!(f, "operations: {:?}", self.operations)?;
        writeln!(
            f,
            "acknowledged writes: {}; failed: {}; unknown: {}",
            self.acknowledged, self.failed, self.unknown
        )?;
        writeln!(
            f,
            "calls on named locks: {}; granted: {}",
            self.loans.0, self.loans.1
        )?;
        writeln!(f, "messages: {}; events: {}", self.messages, self.events)?;
        writeln!(
            f,
            "runs of two protocol versions: {}; messages left out: {}",
            self.two_versions.0, self.two_versions.1
        )?;
        writeln!(
            f,
            "runs without a cut that divided all the same: {}",
            self.divided
        )?;
        for (name, (judged, undecided)) in &self.judged {
            writeln!(f, "  {name}: {judged} judged, {undecided} undecided")?;
        }
        let hash = self.hashes.iter().fold(0, |hash, (seed, of)| {
            xxh3_64_with_seed(&of.to_le_bytes(), hash ^ seed)
        });
        write!(
            f,
            "hash of all histories: {hash:016x}; broken seeds: {}",
            self.broken.len()
        )
    }
}
