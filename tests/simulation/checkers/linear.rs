//! Promise 7: single-key operations are linearizable, whichever owner answers, through crashes and
//! pauses. Applies to FULL_SYNC caches while undivided. Conditions on versions are turned into
//! conditions on values first: a version names one value for ever, which is judged too.

use super::Findings;
use crate::caches::Use;
use crate::clock::Time;
use crate::history::Call;
use crate::linearizability::{Need, Op, State, Step, Told, Value, Verdict, judge};
use crate::record::Record;
use embergrid::types::{Blob, Change, Condition, EntryView, KeyOperation, Operation, Reply};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(record: &Record) -> Findings {
    let mut findings = Findings::default();
    let places: Vec<usize> = (0..record.history.uses.len())
        .filter(|place| record.history.uses[*place] == Use::Registers && record.undivided(*place))
        .collect();
    for cache in places {
        let versions = versions(record, cache, &mut findings);
        let mut partitions: BTreeMap<u32, BTreeSet<&Blob>> = BTreeMap::new();
        let calls = || {
            record
                .history
                .calls
                .iter()
                .enumerate()
                .filter(move |(_, call)| call.cache == cache)
        };
        for (_, call) in calls() {
            if let Some(key) = call.key() {
                partitions
                    .entry(call.request.partition)
                    .or_default()
                    .insert(key);
            }
        }
        for (partition, keys) in partitions {
            for key in keys {
                let mut values = Values::default();
                let on_key = calls().filter(|(_, call)| {
                    call.key() == Some(key)
                        || (call.request.partition == partition
                            && call.request.operation == Operation::Clear)
                });
                let mut ops: Vec<Op> = on_key
                    .filter_map(|(place, call)| operation(place, call, &versions, &mut values))
                    .collect();
                conclude(record, cache, key, judge(&mut ops), &mut findings);
            }
        }
    }
    findings
}

fn conclude(record: &Record, cache: usize, key: &Blob, verdict: Verdict, findings: &mut Findings) {
    match verdict {
        Verdict::Linearizable => findings.judged += 1,
        Verdict::Undecided => findings.undecided += 1,
        Verdict::Violated { state, stuck, done } => findings.judge(false, || {
            let lines: Vec<String> = stuck.iter().rev().take(8).map(|place| line(&record.history.calls[*place])).collect();
            format!("cache {cache} key {key:?} is not linearizable: after {done} operations it may hold {state:?}, and none of these can come next:\n      {}", lines.join("\n      "))
        }),
    }
}

/// A call in one line of a report.
pub fn line(call: &Call) -> String {
    let until = if call.responded == Time::MAX {
        "…".to_owned()
    } else {
        call.responded.to_string()
    };
    format!(
        "{}–{until} client {} at n{} (tried {}): {:?} → {:?}",
        call.invoked, call.client, call.node, call.attempts, call.request.operation, call.outcome
    )
}

/// Text as the search knows it.
#[derive(Default)]
struct Values(BTreeMap<Blob, u32>);

impl Values {
    fn of(&mut self, blob: &Blob) -> Value {
        let number = std::str::from_utf8(blob)
            .ok()
            .and_then(|text| text.parse().ok());
        let next = self.0.len() as u32;
        number.map_or_else(
            || Value::Text(*self.0.entry(blob.clone()).or_insert(next)),
            Value::Number,
        )
    }

    fn of_entry(&mut self, entry: &Option<EntryView>) -> State {
        entry.as_ref().map(|entry| self.of(&entry.value))
    }
}

type Versions = BTreeMap<(Blob, u64), Blob>;

/// Which value a version of a key names, by all that clients saw, old or not.
fn versions(record: &Record, cache: usize, findings: &mut Findings) -> Versions {
    let calls = record
        .history
        .calls
        .iter()
        .filter(|call| call.cache == cache);
    let old = record.maybe_old.iter().filter(|(of, _)| *of == cache);
    let old = old.map(|(_, entry)| (&entry.key, entry.version, &entry.value));
    let mut versions = Versions::new();
    for (key, version, value) in calls.filter_map(named).chain(old) {
        let known = versions
            .entry((key.clone(), version))
            .or_insert_with(|| value.clone());
        findings.judge(*known == *value, || {
            format!("cache {cache} key {key:?}: version {version} names {known:?} and {value:?}")
        });
    }
    versions
}

/// The version of a key that an answer names, and its value.
fn named(call: &Call) -> Option<(&Blob, u64, &Blob)> {
    let (version, value) = match call.reply()? {
        Reply::Got { entry: Some(entry) } => (entry.version, &entry.value),
        Reply::Put {
            applied: true,
            version,
            ..
        } => (*version, call.value_put()?),
        Reply::Modified {
            applied: true,
            version,
            value,
        } => (*version, value),
        _ => return None,
    };
    Some((call.key()?, version, value))
}

fn operation(place: usize, call: &Call, versions: &Versions, values: &mut Values) -> Option<Op> {
    let unknown = call.reply().is_none();
    if unknown && !call.may_be_applied() {
        return None;
    }
    let Some(operation) = call.key_operation() else {
        let (step, told) = (Step::Remove(Need::Any), Told::default());
        return Some(Op {
            invoked: call.invoked,
            responded: call.responded,
            step,
            told,
            call: place,
        });
    };
    let key = call.key()?;
    let step = match operation {
        KeyOperation::Get { .. } => Step::Read,
        KeyOperation::Put {
            value, condition, ..
        } => Step::Put(values.of(value), need(key, condition, versions, values)),
        KeyOperation::Remove { condition, .. } => {
            Step::Remove(need(key, condition, versions, values))
        }
        KeyOperation::Touch { .. } => Step::Touch,
        KeyOperation::Modify {
            change: Change::Increment { delta, initial, .. },
            ..
        } => Step::Add {
            delta: *delta,
            initial: *initial,
        },
        KeyOperation::Modify { .. } | KeyOperation::Ticket(_) => return None,
    };
    let told = call
        .reply()
        .map(|reply| told(reply, operation, values))
        .unwrap_or_default();
    let responded = if unknown { Time::MAX } else { call.responded };
    Some(Op {
        invoked: call.invoked,
        responded,
        step,
        told,
        call: place,
    })
}

fn need(key: &Blob, condition: &Condition, versions: &Versions, values: &mut Values) -> Need {
    match condition {
        Condition::Any => Need::Any,
        Condition::Absent => Need::Absent,
        Condition::Present => Need::Present,
        Condition::Value(value) => Need::Is(values.of(value)),
        Condition::Version(version) => versions
            .get(&(key.clone(), *version))
            .map_or(Need::Never, |value| Need::Is(values.of(value))),
    }
}

fn told(reply: &Reply, operation: &KeyOperation, values: &mut Values) -> Told {
    match reply {
        Reply::Got { entry } => Told {
            before: Some(values.of_entry(entry)),
            ..Told::default()
        },
        Reply::Put {
            applied, previous, ..
        } => {
            let asked = matches!(
                operation,
                KeyOperation::Put {
                    return_previous: true,
                    ..
                }
            );
            Told {
                applied: Some(*applied),
                before: asked.then(|| values.of_entry(previous)),
                after: None,
            }
        }
        Reply::Removed { applied, previous } => {
            let asked = matches!(
                operation,
                KeyOperation::Remove {
                    return_previous: true,
                    ..
                }
            );
            Told {
                applied: Some(*applied),
                before: asked.then(|| values.of_entry(previous)),
                after: None,
            }
        }
        Reply::Touched { applied } => Told {
            applied: Some(*applied),
            ..Told::default()
        },
        Reply::Modified { applied, value, .. } => Told {
            applied: Some(*applied),
            before: None,
            after: applied.then(|| values.of(value)),
        },
        Reply::Scanned { .. }
        | Reply::Size { .. }
        | Reply::Cleared { .. }
        | Reply::Executed { .. }
        | Reply::Step(_)
        | Reply::Verified(_)
        | Reply::Locked { .. }
        | Reply::Registered { .. }
        | Reply::Narrowed { .. }
        | Reply::Deleted { .. } => Told::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::made_up::*;
    use crate::history::Outcome;
    use embergrid::types::Expiry;

    #[test]
    fn a_stale_read_is_found() {
        let mut record = record();
        record.call(0, "r1", (0, 10), put("v1"), stored());
        record.call(0, "r1", (20, Time::MAX), put("v2"), Outcome::Unknown);
        record
            .call(0, "r1", (30, 40), GET, got("r1", "v1", 5))
            .outcome = got("r1", "v1", 5);
        assert!(check(&record).violations.is_empty());
        record.call(0, "r1", (50, 60), GET, MISS);
        assert_eq!(check(&record).violations.len(), 1);
    }

    #[test]
    fn an_acknowledged_write_that_nobody_reads_is_found() {
        let mut record = record();
        record.call(0, "r1", (0, 10), put("v1"), stored());
        record.call(
            0,
            "r1",
            (20, 30),
            TAKE,
            Outcome::Ok(Reply::Removed {
                applied: false,
                previous: None,
            }),
        );
        assert_eq!(check(&record).violations.len(), 1);
    }

    #[test]
    fn a_version_that_only_a_read_in_a_minority_showed_is_known() {
        let mut record = record();
        record.call(0, "r1", (0, Time::MAX), put("v1"), Outcome::Unknown);
        record.call(0, "r1", (10, 20), GET, Outcome::Unknown);
        let swap = KeyOperation::Put {
            value: Blob::from("v2"),
            flags: 0,
            expiry: Expiry::Default,
            condition: Condition::Version(7),
            return_previous: false,
        };
        record.call(0, "r1", (30, 40), swap, stored());
        assert_eq!(check(&record).violations.len(), 1, "nobody saw version 7");
        let shown = |value| EntryView {
            version: 7,
            ..entry("r1", value, 5)
        };
        record.maybe_old.push((0, shown("v1")));
        assert!(check(&record).violations.is_empty());
        let old = Reply::Got {
            entry: Some(shown("v1")),
        };
        record.call(0, "r1", (50, 60), GET, Outcome::Ok(old));
        assert_eq!(check(&record).violations.len(), 1, "v2 took its place");
        record.history.calls.pop();
        record.maybe_old.push((0, shown("v3")));
        assert_eq!(check(&record).violations.len(), 1, "it names one value");
    }

    #[test]
    fn a_clear_removes() {
        let mut record = record();
        record.call(0, "r1", (0, 10), put("v1"), stored());
        let clear = record.call(
            0,
            "r1",
            (20, 30),
            GET,
            Outcome::Ok(Reply::Cleared { removed: 1 }),
        );
        clear.request.operation = Operation::Clear;
        record.call(0, "r1", (40, 50), GET, MISS);
        assert!(check(&record).violations.is_empty());
    }
}
