//! What is printed at the end.

use super::load::{Counted, Kind};
use super::place::Usages;
use super::plan::Plan;
use super::transactions;
use crate::cli::outcome::Failure;
use crate::cli::output;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A report of either kind, as it is kept in JSON and compared.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Kept {
    /// Of calls on one key.
    Calls(Box<Report>),
    /// Of transactions.
    Transactions(transactions::Report),
}

impl Kept {
    /// From JSON.
    ///
    /// # Errors
    ///
    /// What it lacks.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let document: Value = serde_json::from_str(text)?;
        if document.get("transactions").is_some() {
            return serde_json::from_value(document).map(Self::Transactions);
        }
        let report = serde_json::from_value(document)?;
        Ok(Self::Calls(Box::new(report)))
    }

    /// Its figures, by name.
    pub fn figures(&self) -> Vec<(String, f64)> {
        match self {
            Self::Calls(report) => report.figures(),
            Self::Transactions(report) => report.figures(),
        }
    }

    /// What was asked for, and of whom.
    pub fn load(&self) -> Value {
        let load = match self {
            Self::Calls(report) => serde_json::to_value((&report.plan, &report.about)),
            Self::Transactions(report) => serde_json::to_value((&report.plan, report.optimistic)),
        };
        load.unwrap_or_default()
    }

    /// For people.
    pub fn print(&self) {
        match self {
            Self::Calls(report) => print(report),
            Self::Transactions(report) => report.print(),
        }
    }
}

/// A report of calls on one key.
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
    /// The same calls in a TRANSACTIONAL cache, over all rounds.
    #[serde(default)]
    pub transactional: Option<Measured>,
    /// TRANSACTIONAL over ATOMIC: the median of the rounds.
    #[serde(default)]
    pub transactional_by_atomic: Option<Against>,
    /// The same calls one by one, over all rounds.
    #[serde(default)]
    pub unary: Option<Measured>,
    /// The pipeline by calls one by one: the median of the rounds.
    #[serde(default)]
    pub pipelined_by_unary: Option<Against>,
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
    /// In the TRANSACTIONAL cache.
    #[serde(default)]
    pub transactional: Vec<Measured>,
    /// One by one.
    #[serde(default)]
    pub unary: Vec<Measured>,
}

/// How two sides compare: medians over pairs of rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Against {
    /// By processor time of the server for a call. Of the floor: the floor's over the cluster's, so
    /// that 1 is as good as the floor and less is worse. By ATOMIC: the cost over that in ATOMIC. Of a
    /// pipeline: the cost of calls one by one over that in it.
    pub server_processor_time: Option<f64>,
    /// By calls a second: the cluster's over the floor's; TRANSACTIONAL over ATOMIC; in a pipeline over
    /// one by one.
    pub throughput: Option<f64>,
}

impl Against {
    /// The cluster by another side: how many times cheaper and faster it is.
    fn by(cluster: &[Measured], other: &[Measured]) -> Option<Self> {
        (!other.is_empty()).then(|| Self {
            server_processor_time: median_ratio(other, cluster, |m| m.server_micros_per_call),
            throughput: median_ratio(cluster, other, |m| Some(m.calls_per_second)),
        })
    }

    fn of_the_floor(rounds: &Rounds) -> Option<Self> {
        Self::by(&rounds.cluster, &rounds.floor)
    }

    fn by_unary(rounds: &Rounds) -> Option<Self> {
        Self::by(&rounds.cluster, &rounds.unary)
    }

    fn by_atomic(rounds: &Rounds) -> Option<Self> {
        let Rounds {
            cluster,
            transactional,
            ..
        } = rounds;
        let ratio = |of| median_ratio(transactional, cluster, of);
        (!transactional.is_empty()).then(|| Self {
            server_processor_time: ratio(|m| m.server_micros_per_call),
            throughput: ratio(|m| Some(m.calls_per_second)),
        })
    }
}

/// The median of one side's figure over the other's, round by round.
fn median_ratio(
    over: &[Measured],
    under: &[Measured],
    of: fn(&Measured) -> Option<f64>,
) -> Option<f64> {
    let ratio = |(over, under): (&Measured, &Measured)| {
        let (over, under) = (of(over)?, of(under)?);
        (under > 0.0).then(|| over / under)
    };
    median(over.iter().zip(under).filter_map(ratio).collect())
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
    pub(super) counted: Option<Counted>,
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
    pub fn over(rounds: &[Self]) -> Option<Self> {
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
    pub fn of(plan: &Plan, about: About, rounds: Rounds) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plan: plan.clone(),
            about,
            cluster: Measured::over(&rounds.cluster).unwrap_or_default(),
            floor: Measured::over(&rounds.floor),
            of_the_floor: Against::of_the_floor(&rounds),
            transactional: Measured::over(&rounds.transactional),
            transactional_by_atomic: Against::by_atomic(&rounds),
            unary: Measured::over(&rounds.unary),
            pipelined_by_unary: Against::by_unary(&rounds),
            rounds,
        }
    }

    /// What was measured beside the cluster, and is compared with another report.
    fn others(&self) -> [(&'static str, Option<&Measured>); 2] {
        [
            ("TRANSACTIONAL", self.transactional.as_ref()),
            ("one by one", self.unary.as_ref()),
        ]
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let others = self.others().into_iter();
        let others = others.map(|(name, side)| (format!("{name}: "), side));
        let sides = [(String::new(), Some(&self.cluster))];
        let sides = sides.into_iter().chain(others);
        let mut all = Vec::new();
        for (before, measured) in sides {
            let Some(measured) = measured else { continue };
            let figures = FIGURES.iter();
            all.extend(
                figures.filter_map(|(name, of)| Some((format!("{before}{name}"), of(measured)?))),
            );
        }
        let ratios = [
            ("of the floor", &self.of_the_floor),
            ("TRANSACTIONAL by ATOMIC", &self.transactional_by_atomic),
            ("pipelined by one by one", &self.pipelined_by_unary),
        ];
        for (name, ratio) in ratios {
            let Some(ratio) = ratio else { continue };
            let both = [
                ("processor time", ratio.server_processor_time),
                ("throughput", ratio.throughput),
            ];
            all.extend(both.into_iter().filter_map(|(by, ratio)| {
                let name = format!("{name}, by {by}");
                Some((name, ratio?))
            }));
        }
        all
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
pub fn as_json(report: &Kept) -> Result<Value, Failure> {
    serde_json::to_value(report)
        .map_err(|error| Failure::failed(format!("the report as JSON: {error}")))
}

fn print(report: &Report) {
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
    let name = match (&report.transactional, &report.unary) {
        (Some(_), _) => "ATOMIC",
        (None, Some(_)) => "pipelined",
        (None, None) => "cluster",
    };
    let mut columns = vec![(name, &report.cluster)];
    let others = report.others().into_iter();
    let others = others.chain([("floor", report.floor.as_ref())]);
    columns.extend(others.filter_map(|(name, side)| Some((name, side?))));
    let names = columns.iter().map(|(name, _)| *name);
    let mut table = output::table(&[""].into_iter().chain(names).collect::<Vec<_>>());
    for (name, of) in FIGURES {
        let text = |measured: &Measured| of(measured).map_or_else(|| "–".to_owned(), shown);
        let figures = columns.iter().map(|(_, measured)| text(measured));
        table.add_row([(*name).to_owned()].into_iter().chain(figures));
    }
    output::line(table);
    let others = report.others().map(|(_, side)| side);
    let sides = [Some(&report.cluster)].into_iter().chain(others);
    for (reason, count) in sides.flatten().flat_map(|side| &side.errors) {
        output::line(format_args!("{count} calls were not answered: {reason}"));
    }
    let share = |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{share:.2}"));
    let rounds = &report.rounds;
    let comparisons = [
        (
            "TRANSACTIONAL over ATOMIC",
            (&report.transactional_by_atomic, &rounds.transactional),
            [" × the processor time of the server", " × the throughput"],
        ),
        (
            "in a pipeline against one by one",
            (&report.pipelined_by_unary, &rounds.unary),
            [" × by processor time of the server", " × by throughput"],
        ),
        (
            "of the floor",
            (&report.of_the_floor, &rounds.floor),
            [" by processor time of the server", " by throughput"],
        ),
    ];
    for (what, (against, rounds), [by_time, by_throughput]) in comparisons {
        let Some(against) = against else { continue };
        output::line(format_args!(
            "{what} (median of {} rounds): {}{by_time}, {}{by_throughput}",
            rounds.len(),
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
    fn sides_are_compared_round_by_round() {
        let side = |costs: &[f64]| -> Vec<Measured> {
            let costs = costs.iter();
            let round = |cost: &f64| Measured {
                server_micros_per_call: Some(*cost),
                calls_per_second: 100.0 / cost,
                ..Measured::default()
            };
            costs.map(round).collect()
        };
        let rounds = Rounds {
            cluster: side(&[10.0, 20.0, 40.0]),
            transactional: side(&[11.0, 20.0, 100.0]),
            floor: side(&[5.0, 10.0, 10.0]),
            unary: side(&[20.0, 80.0, 120.0]),
        };
        let by_unary = Against::by_unary(&rounds).expect("it was measured");
        assert_eq!(by_unary.server_processor_time, Some(3.0));
        assert_eq!(by_unary.throughput, Some(3.0));
        let floor = Against::of_the_floor(&rounds).expect("it was measured");
        assert_eq!(floor.server_processor_time, Some(0.5));
        assert_eq!(floor.throughput, Some(0.5));
        let by_atomic = Against::by_atomic(&rounds).expect("it was measured");
        assert_eq!(by_atomic.server_processor_time, Some(1.1));
        let none = Rounds::default();
        assert!(Against::by_atomic(&none).is_none() && Against::by_unary(&none).is_none());
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
