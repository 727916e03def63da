//! What is printed at the end.

use super::load::{Counted, Kind};
use super::place::Usages;
use super::plan::Plan;
use crate::cli::outcome::Failure;
use crate::cli::output;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A report, as it is kept in JSON and compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// What was asked for.
    pub plan: Plan,
    /// What was driven.
    pub about: About,
    /// The cluster over all rounds.
    pub cluster: Measured,
    /// The floor over all rounds.
    pub floor: Option<Measured>,
    /// The cluster as a share of the floor: the median of the rounds.
    pub of_the_floor: Option<Against>,
    /// Every round.
    pub rounds: Rounds,
}

/// What was driven.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// In words.
    pub what: String,
    /// How many nodes' processor time and memory are known.
    pub nodes_measured: usize,
}

/// Every round, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rounds {
    /// Of the cluster.
    pub cluster: Vec<Measured>,
    /// Of the floor.
    pub floor: Vec<Measured>,
}

/// 1 is as good as the floor, less is worse.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Against {
    /// The floor's processor time of the server for a call, over the cluster's.
    pub server_processor_time: Option<f64>,
    /// The cluster's calls a second over the floor's.
    pub throughput: Option<f64>,
}

/// One round, or several.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that were not, by reason.
    pub errors: BTreeMap<String, u64>,
    /// How long it took.
    pub seconds: f64,
    /// Answered calls a second.
    pub calls_per_second: f64,
    /// Reads; absent where there were none.
    pub reads: Option<Latency>,
    /// Writes; absent where there were none.
    pub writes: Option<Latency>,
    /// Processor time of this process for a call, in microseconds.
    pub client_micros_per_call: Option<f64>,
    /// Processor time of all nodes together for a call, in microseconds.
    pub server_micros_per_call: Option<f64>,
    /// Memory of this process at the end.
    pub client_resident_bytes: Option<u64>,
    /// Memory of each node at the end.
    pub node_resident_bytes: Vec<u64>,
    #[serde(skip)]
    counted: Option<Counted>,
}

/// In microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub calls: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Latency {
    fn of(kind: &Kind) -> Option<Self> {
        let histogram: &Histogram<u64> = &kind.latency;
        (!histogram.is_empty()).then(|| Self {
            calls: histogram.len(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        })
    }
}

impl Measured {
    /// One round.
    pub fn of(counted: &Counted, before: &Usages, after: &Usages) -> Self {
        let seconds = counted.took.as_secs_f64();
        let answered = counted.answered();
        let per_call = |nanos: u64| (answered > 0).then(|| nanos as f64 / 1e3 / answered as f64);
        let nodes: Option<u64> = after
            .nodes
            .iter()
            .zip(&before.nodes)
            .map(|(after, before)| after.processor_since(before))
            .sum();
        let nodes = nodes.filter(|_| !after.nodes.is_empty());
        Self {
            answered,
            errors: counted.errors.clone(),
            seconds,
            calls_per_second: answered as f64 / seconds.max(1e-9),
            reads: Latency::of(&counted.reads),
            writes: Latency::of(&counted.writes),
            client_micros_per_call: after
                .client
                .processor_since(&before.client)
                .and_then(per_call),
            server_micros_per_call: nodes.and_then(per_call),
            client_resident_bytes: after.client.resident_bytes,
            node_resident_bytes: after
                .nodes
                .iter()
                .filter_map(|node| node.resident_bytes)
                .collect(),
            counted: Some(counted.clone()),
        }
    }

    /// All rounds together: latencies over all calls, rates and costs as medians.
    fn over(rounds: &[Self]) -> Option<Self> {
        let (first, others) = rounds.split_first()?;
        let mut counted = first.counted.clone()?;
        for other in others {
            counted.add(other.counted.as_ref()?);
        }
        let medians = |of: fn(&Self) -> Option<f64>| median(rounds.iter().filter_map(of).collect());
        let last = rounds.last()?;
        Some(Self {
            answered: counted.answered(),
            errors: counted.errors.clone(),
            seconds: rounds.iter().map(|round| round.seconds).sum(),
            calls_per_second: medians(|round| Some(round.calls_per_second)).unwrap_or_default(),
            reads: Latency::of(&counted.reads),
            writes: Latency::of(&counted.writes),
            client_micros_per_call: medians(|round| round.client_micros_per_call),
            server_micros_per_call: medians(|round| round.server_micros_per_call),
            client_resident_bytes: last.client_resident_bytes,
            node_resident_bytes: last.node_resident_bytes.clone(),
            counted: None,
        })
    }
}

impl Report {
    /// Of these rounds.
    pub fn of(plan: &Plan, about: About, cluster: Vec<Measured>, floor: Vec<Measured>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plan: plan.clone(),
            about,
            cluster: Measured::over(&cluster).unwrap_or_default(),
            floor: Measured::over(&floor),
            of_the_floor: super::against(&floor, &cluster),
            rounds: Rounds { cluster, floor },
        }
    }
}

/// The middle one; of an even number the mean of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    Some((numbers.get(middle.checked_sub(1)?)? + upper) / 2.0)
}

/// As a JSON document.
pub fn as_json(report: &Report) -> Result<Value, Failure> {
    serde_json::to_value(report)
        .map_err(|error| Failure::failed(format!("the report as JSON: {error}")))
}

/// For people.
pub fn print(report: &Report) {
    output::line(format_args!(
        "{}; {} callers, {} B keys, {} B values, {} keys, {}",
        report.about.what,
        report.plan.callers,
        report.plan.key_size,
        report.plan.value_size,
        report.plan.keys,
        match report.plan.rate {
            Some(rate) => format!("open loop at {rate} calls/s"),
            None => "closed loop".to_owned(),
        }
    ));
    let mut columns = vec![("cluster", &report.cluster)];
    columns.extend(report.floor.as_ref().map(|floor| ("floor", floor)));
    let names = columns.iter().map(|(name, _)| *name);
    let mut table = output::table(&[""].into_iter().chain(names).collect::<Vec<_>>());
    for (name, of) in FIGURES {
        let text = |measured: &Measured| of(measured).map_or_else(|| "–".to_owned(), shown);
        let figures = columns.iter().map(|(_, measured)| text(measured));
        table.add_row([(*name).to_owned()].into_iter().chain(figures));
    }
    output::line(table);
    for (reason, count) in &report.cluster.errors {
        output::line(format_args!("{count} calls were not answered: {reason}"));
    }
    if let Some(against) = &report.of_the_floor {
        let share =
            |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{share:.2}"));
        output::line(format_args!(
            "of the floor (median of {} rounds): {} by processor time of the server, {} by throughput",
            report.rounds.floor.len(),
            share(against.server_processor_time),
            share(against.throughput)
        ));
    }
}

/// A figure of a measurement, by name; in a comparison, more of it may be better or worse.
pub type Figure = (&'static str, fn(&Measured) -> Option<f64>);

/// What is printed and compared.
pub const FIGURES: &[Figure] = &[
    ("calls/s", |m| Some(m.calls_per_second)),
    ("answered", |m| Some(m.answered as f64)),
    ("errors", |m| Some(m.errors.values().sum::<u64>() as f64)),
    ("read p50 µs", |m| Some(m.reads.as_ref()?.p50 as f64)),
    ("read p99 µs", |m| Some(m.reads.as_ref()?.p99 as f64)),
    ("read p99.9 µs", |m| Some(m.reads.as_ref()?.p999 as f64)),
    ("read max µs", |m| Some(m.reads.as_ref()?.max as f64)),
    ("write p50 µs", |m| Some(m.writes.as_ref()?.p50 as f64)),
    ("write p99 µs", |m| Some(m.writes.as_ref()?.p99 as f64)),
    ("write p99.9 µs", |m| Some(m.writes.as_ref()?.p999 as f64)),
    ("write max µs", |m| Some(m.writes.as_ref()?.max as f64)),
    ("processor µs/call, servers", |m| m.server_micros_per_call),
    ("processor µs/call, client", |m| m.client_micros_per_call),
    ("resident MiB, largest node", |m| {
        let largest = m.node_resident_bytes.iter().max()?;
        Some(*largest as f64 / f64::from(1 << 20))
    }),
    ("resident MiB, client", |m| {
        Some(m.client_resident_bytes? as f64 / f64::from(1 << 20))
    }),
];

/// Whole numbers where that is precise enough.
pub fn shown(number: f64) -> String {
    if number >= 100.0 || number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::usage::Usage;
    use std::time::{Duration, Instant};

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn costs_are_shared_among_the_calls_that_were_answered() {
        let mut counted = Counted::new().expect("histograms");
        for read in [true, true, false, false] {
            counted.note(read, Instant::now(), None);
        }
        counted.took = Duration::from_secs(2);
        let used = |nanos| Usages {
            client: Usage::default(),
            nodes: vec![Usage {
                processor_nanos: Some(nanos),
                resident_bytes: Some(1 << 20),
            }],
        };
        let round = Measured::of(&counted, &used(1_000), &used(41_000));
        assert_eq!(round.server_micros_per_call, Some(10.0));
        assert_eq!(round.client_micros_per_call, None);
        assert_eq!(round.calls_per_second, 2.0);
        let both = Measured::over(&[round.clone(), round]).expect("two rounds");
        assert_eq!((both.answered, both.seconds), (8, 4.0));
        assert_eq!(both.reads.map(|reads| reads.calls), Some(4));
    }
}
