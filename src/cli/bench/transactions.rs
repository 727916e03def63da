//! Transactions of two keys: each caller moves one from a key to another, over and over. At the end
//! the sum of all keys is what it was before.

use super::load::{Counted, Dice, Progress};
use super::place::Place;
use super::plan::Plan;
use super::report::{About, Kept, Measured, shown};
use super::{Arguments, one_round};
use crate::cli::outcome::Failure;
use crate::cli::output;
use crate::client::messages::{AtomicityMode, GetManyRequest, PutRequest};
use crate::client::{Client, Concurrency, Transaction, TransactionOptions};
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a balance, in front of a value.
const BALANCE_BYTES: usize = 8;

/// Bytes of values that are asked for at a time when the sum is made.
const SUM_BYTES_MAX: usize = 4 << 20;

/// How long the sum may take to be what it was: a commit whose outcome is unknown may yet end.
const SUM_LIMIT: Duration = Duration::from_secs(30);

/// The pause between two looks at the sum.
const POLL: Duration = Duration::from_millis(50);

/// What came of it, as it is kept in JSON and compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// What was asked for.
    pub plan: Plan,
    /// Whether conflicts were looked for at commit only.
    pub optimistic: bool,
    /// What was driven.
    pub about: About,
    /// By number of hot keys.
    pub transactions: Vec<AtHotKeys>,
}

/// What came of it with so many hot keys, over all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AtHotKeys {
    /// How many keys all of them shared.
    pub hot_keys: u64,
    /// Transactions that committed are its answered writes.
    pub measured: Measured,
    /// Runs of closures.
    pub runs: u64,
    /// Runs that came to nothing because of others.
    pub conflicts: u64,
}

/// What is counted beside the calls.
#[derive(Debug, Default)]
struct Runs {
    all: AtomicU64,
    /// Of transactions that failed for another reason than a conflict, the last ones.
    failed_otherwise: AtomicU64,
}

/// The transactions of one number of hot keys.
#[derive(Clone, Debug)]
struct Transfers {
    client: Client,
    plan: Plan,
    options: TransactionOptions,
    hot_keys: u64,
    progress: Progress,
    runs: Arc<Runs>,
}

/// Measures each number of hot keys, in turns.
pub async fn measure(
    arguments: &Arguments,
    place: &Place,
    live: &ProgressBar,
) -> Result<Kept, Failure> {
    let plan = arguments.plan.transactional();
    place.prepare(&plan, AtomicityMode::Transactional).await?;
    let concurrency = match arguments.optimistic {
        true => Concurrency::Optimistic,
        false => Concurrency::Pessimistic,
    };
    let transfers = |hot_keys: &u64| Transfers {
        client: place.client(&plan).clone(),
        plan: plan.clone(),
        options: TransactionOptions {
            concurrency,
            label: "bench".to_owned(),
            ..TransactionOptions::default()
        },
        hot_keys: *hot_keys,
        progress: Progress::default(),
        runs: Arc::default(),
    };
    let all: Vec<Transfers> = arguments.hot_keys.iter().map(transfers).collect();
    let turns = arguments
        .rounds
        .saturating_mul(u32::try_from(all.len()).unwrap_or(u32::MAX));
    let time = plan.duration / turns.max(1);
    let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); all.len()];
    for round in 1..=arguments.rounds {
        for (one, measured) in all.iter().zip(&mut rounds) {
            let what = format!(
                "round {round} of {}, {} hot keys",
                arguments.rounds, one.hot_keys
            );
            let work = one.clone().run(time);
            measured.push(one_round(place, live, &what, &one.progress, work).await?);
        }
    }
    let mut transactions = Vec::with_capacity(all.len());
    for (one, rounds) in all.iter().zip(&rounds) {
        one.check_sum().await?;
        transactions.push(one.over(rounds));
    }
    Ok(Kept::Transactions(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan,
        optimistic: arguments.optimistic,
        about: place.about(),
        transactions,
    }))
}

impl Transfers {
    /// All callers, for a while.
    async fn run(self, time: Duration) -> Result<Counted, Failure> {
        let begin = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..self.plan.callers {
            let dice = Dice::new()?;
            callers.spawn(self.clone().work(number, dice, begin + time));
        }
        let mut all = Counted::new()?;
        while let Some(ended) = callers.join_next().await {
            let counted =
                ended.map_err(|error| Failure::failed(format!("a caller: {error}")))??;
            all.add(&counted);
        }
        all.took = begin.elapsed();
        Ok(all)
    }

    async fn work(self, caller: u32, mut dice: Dice, end: Instant) -> Result<Counted, Failure> {
        let mut counted = Counted::new()?;
        loop {
            let begin = Instant::now();
            if begin >= end {
                return Ok(counted);
            }
            let (from, to) = self.two_keys(caller, &mut dice);
            let closure = |within| {
                self.runs.all.fetch_add(1, Ordering::Relaxed);
                self.transfer(within, from.clone(), to.clone())
            };
            let ended = self.client.transaction(self.options.clone(), closure).await;
            let failed = ended.as_ref().err();
            if failed.is_some_and(|error| error.kind != ErrorKind::Conflict) {
                self.runs.failed_otherwise.fetch_add(1, Ordering::Relaxed);
            }
            counted.note(false, begin, failed);
            self.progress.note(failed.is_some());
        }
    }

    async fn transfer(&self, within: Transaction, from: Bytes, to: Bytes) -> Result<(), Error> {
        let cache = &self.plan.cache;
        let paid = within.get(cache, from.clone()).await?;
        let got = within.get(cache, to.clone()).await?;
        let balances = [(from, paid, -1), (to, got, 1)];
        for (key, before, change) in balances {
            let before = before.map_or(0, |entry| balance(&entry.value));
            let request = PutRequest {
                cache: cache.clone(),
                key,
                value: self.value(before + change),
                ..PutRequest::default()
            };
            within.put(request).await?;
        }
        Ok(())
    }

    /// Two different keys, in any order.
    fn two_keys(&self, caller: u32, dice: &mut Dice) -> (Bytes, Bytes) {
        let one = dice.below(self.hot_keys);
        let other = match self.hot_keys {
            1 => 1 + u64::from(caller),
            hot => (one + 1 + dice.below(hot - 1)) % hot,
        };
        if dice.below(2) == 0 {
            (self.key(one), self.key(other))
        } else {
            (self.key(other), self.key(one))
        }
    }

    /// Those of one load are no other one's, so that each has a sum of its own.
    fn key(&self, number: u64) -> Bytes {
        let (hot, callers) = (self.hot_keys, self.plan.callers);
        let name = format!("{hot}-{callers}-{number}");
        format!("{name:0>width$}", width = self.plan.key_size).into()
    }

    /// How many keys there are.
    fn keys(&self) -> u64 {
        match self.hot_keys {
            1 => 1 + u64::from(self.plan.callers),
            hot => hot,
        }
    }

    fn value(&self, balance: i64) -> Bytes {
        let mut value = balance.to_be_bytes().to_vec();
        value.resize(self.plan.value_size.max(BALANCE_BYTES), b'v');
        value.into()
    }

    /// Whether nothing was made or lost.
    async fn check_sum(&self) -> Result<(), Failure> {
        let give_up = Instant::now() + SUM_LIMIT;
        loop {
            let sum = self.sum().await?;
            if sum == 0 {
                return Ok(());
            }
            if Instant::now() >= give_up {
                let text =
                    format!("a transaction was carried out in part: the sum is {sum}, not 0");
                return Err(Failure::failed(text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn sum(&self) -> Result<i64, Failure> {
        let together = (SUM_BYTES_MAX / self.plan.value_size.max(BALANCE_BYTES)).clamp(1, 1_000);
        let keys: Vec<Bytes> = (0..self.keys()).map(|number| self.key(number)).collect();
        let mut sum = 0;
        for some in keys.chunks(together) {
            let request = GetManyRequest {
                cache: self.plan.cache.clone(),
                keys: some.to_vec(),
                ..GetManyRequest::default()
            };
            for entry in self.client.get_many(request).await? {
                sum += entry?.map_or(0, |entry| balance(&entry.value));
            }
        }
        Ok(sum)
    }

    fn over(&self, rounds: &[Measured]) -> AtHotKeys {
        let measured = Measured::over(rounds).unwrap_or_default();
        let runs = self.runs.all.load(Ordering::Relaxed);
        let otherwise = self.runs.failed_otherwise.load(Ordering::Relaxed);
        AtHotKeys {
            hot_keys: self.hot_keys,
            conflicts: runs.saturating_sub(measured.answered + otherwise),
            runs,
            measured,
        }
    }
}

/// The balance in front of a value.
fn balance(value: &[u8]) -> i64 {
    let bytes = value.first_chunk::<BALANCE_BYTES>();
    bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

impl AtHotKeys {
    /// Transactions that committed or failed.
    fn ended(&self) -> u64 {
        self.measured.answered + self.measured.errors.values().sum::<u64>()
    }
}

impl Report {
    /// Its figures, by name and number of hot keys.
    pub fn figures(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        for one in &self.transactions {
            let figures = FIGURES.iter();
            all.extend(figures.filter_map(|(name, of)| {
                Some((format!("{}: {name}", heading(one.hot_keys)), of(one)?))
            }));
        }
        all
    }

    /// For people.
    pub fn print(&self) {
        output::line(format_args!(
            "{}; {} callers, {} B keys, {} B values, {}; each reads two keys and writes both",
            self.about.what,
            self.plan.callers,
            self.plan.key_size,
            self.plan.value_size,
            if self.optimistic {
                "OPTIMISTIC"
            } else {
                "PESSIMISTIC"
            },
        ));
        let headings: Vec<String> = self
            .transactions
            .iter()
            .map(|one| heading(one.hot_keys))
            .collect();
        let headings = headings.iter().map(String::as_str);
        let mut table = output::table(&[""].into_iter().chain(headings).collect::<Vec<_>>());
        for (name, of) in FIGURES {
            let figures = self.transactions.iter();
            let figures = figures.map(|one| of(one).map_or_else(|| "–".to_owned(), shown));
            table.add_row([(*name).to_owned()].into_iter().chain(figures));
        }
        output::line(table);
        for one in &self.transactions {
            for (reason, count) in &one.measured.errors {
                output::line(format_args!(
                    "{}: {count} transactions did not commit: {reason}",
                    heading(one.hot_keys)
                ));
            }
        }
    }
}

fn heading(hot_keys: u64) -> String {
    match hot_keys {
        1 => "1 hot key".to_owned(),
        many => format!("{many} hot keys"),
    }
}

/// A figure of transactions, by name.
type Figure = (&'static str, fn(&AtHotKeys) -> Option<f64>);

/// What is printed and compared.
const FIGURES: &[Figure] = &[
    ("transactions/s", |one| Some(one.measured.calls_per_second)),
    ("committed", |one| Some(one.measured.answered as f64)),
    ("not committed", |one| {
        Some(one.measured.errors.values().sum::<u64>() as f64)
    }),
    ("run again", |one| {
        Some(one.runs.saturating_sub(one.ended()) as f64)
    }),
    ("conflicts in 100 runs", |one| {
        (one.runs > 0).then(|| 100.0 * one.conflicts as f64 / one.runs as f64)
    }),
    ("p50 µs", |one| {
        Some(one.measured.writes.as_ref()?.p50 as f64)
    }),
    ("p90 µs", |one| {
        Some(one.measured.writes.as_ref()?.p90 as f64)
    }),
    ("p99 µs", |one| {
        Some(one.measured.writes.as_ref()?.p99 as f64)
    }),
    ("p99.9 µs", |one| {
        Some(one.measured.writes.as_ref()?.p999 as f64)
    }),
    ("max µs", |one| {
        Some(one.measured.writes.as_ref()?.max as f64)
    }),
    ("processor µs each, servers", |one| {
        one.measured.server_micros_per_call
    }),
    ("processor µs each, client", |one| {
        one.measured.client_micros_per_call
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_a_share_of_runs() {
        let mut one = AtHotKeys {
            hot_keys: 1,
            measured: Measured {
                answered: 70,
                errors: [("READ_CHANGED".to_owned(), 5)].into(),
                ..Measured::default()
            },
            runs: 100,
            conflicts: 30,
        };
        let figure = |one: &AtHotKeys, wanted: &str| {
            let mut figures = FIGURES.iter();
            let found = figures.find(|(name, _)| *name == wanted);
            found.and_then(|(_, of)| of(one))
        };
        assert_eq!(figure(&one, "run again"), Some(25.0));
        assert_eq!(figure(&one, "conflicts in 100 runs"), Some(30.0));
        one.runs = 0;
        assert_eq!(figure(&one, "conflicts in 100 runs"), None);
    }

    #[test]
    fn a_balance_stands_in_front_of_a_value() {
        assert_eq!(balance(&(-7_i64).to_be_bytes()), -7);
        assert_eq!(balance(b"short"), 0);
    }
}
