//! Callers at work. Each has one call under way; what they see goes into histograms of their own,
//! which are added up at the end.

use super::plan::Plan;
use crate::cli::outcome::Failure;
use crate::client::messages::PutRequest;
use crate::client::{Client, random_bytes};
use crate::error::{Applied, Error};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Latencies are kept in microseconds up to a minute, which no call takes, with three digits.
const LATENCY_MAX: u64 = 60_000_000;

/// How long calls of an open loop are sent behind its end that were due before it. What is still left
/// then is counted as not sent: the cluster does not carry the load.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// Calls of one kind.
#[derive(Clone, Debug)]
pub struct Kind {
    /// In microseconds.
    pub latency: Histogram<u64>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Reads that were answered.
    pub reads: Kind,
    /// Writes that were answered.
    pub writes: Kind,
    /// Calls that were not, by reason.
    pub errors: BTreeMap<String, u64>,
    /// From the first call to the last answer.
    pub took: Duration,
}

/// How far it is, for the live line.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<(AtomicU64, AtomicU64)>);

/// A load that is to be put on.
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    time: Duration,
    progress: Progress,
}

impl Progress {
    /// Calls and errors so far.
    pub fn so_far(&self) -> (u64, u64) {
        let (calls, errors) = &*self.0;
        (
            calls.load(Ordering::Relaxed),
            errors.load(Ordering::Relaxed),
        )
    }

    /// One more call has ended.
    pub fn note(&self, failed: bool) {
        let (calls, errors) = &*self.0;
        calls.fetch_add(1, Ordering::Relaxed);
        errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}

impl Kind {
    fn new() -> Result<Self, Failure> {
        let latency = Histogram::new_with_max(LATENCY_MAX, 3)
            .map_err(|error| Failure::failed(format!("a histogram: {error}")))?;
        Ok(Self { latency })
    }
}

impl Counted {
    /// Nothing yet.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            reads: Kind::new()?,
            writes: Kind::new()?,
            errors: BTreeMap::new(),
            took: Duration::ZERO,
        })
    }

    /// Calls that were answered.
    pub fn answered(&self) -> u64 {
        self.reads.latency.len() + self.writes.latency.len()
    }

    /// Adds what another caller saw, or another round.
    pub fn add(&mut self, other: &Self) {
        // Cannot fail: all histograms are of one shape.
        let _ = self.reads.latency.add(&other.reads.latency);
        let _ = self.writes.latency.add(&other.writes.latency);
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
    }

    /// Notes calls that were due and are not made any more.
    fn not_sent(&mut self, calls: u64) {
        *self.errors.entry("NOT_SENT".to_owned()).or_default() += calls;
    }

    /// Notes how a call ended that was due at `due`.
    pub fn note(&mut self, read: bool, due: Instant, failed: Option<&Error>) {
        if let Some(error) = failed {
            *self.errors.entry(reason_of(error)).or_default() += 1;
            return;
        }
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(LATENCY_MAX);
        let kind = if read {
            &mut self.reads
        } else {
            &mut self.writes
        };
        kind.latency.saturating_record(micros.max(1));
    }
}

/// What an error is counted under: its reason, and whether the outcome is unknown.
fn reason_of(error: &Error) -> String {
    match error.applied {
        Applied::Unknown => format!("{} (unknown)", error.reason),
        Applied::NotApplied => error.reason.to_string(),
    }
}

/// Numbers that look random, from a seed: which key, and whether to read.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// With a seed from the system.
    pub fn new() -> Result<Self, Failure> {
        let mut seed = [0; 8];
        random_bytes(&mut seed)?;
        Ok(Self(u64::from_le_bytes(seed)))
    }

    /// The next number below `end` (splitmix64).
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// When a caller's calls are due, in an open loop.
#[derive(Clone, Copy, Debug)]
struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    /// For caller `number`: the calls of all are spread evenly.
    fn of(plan: &Plan, number: u32, begin: Instant) -> Option<Self> {
        let apart = Duration::from_secs_f64(1.0 / f64::from(plan.rate?));
        Some(Self {
            next: begin + apart * number,
            interval: apart * plan.callers,
        })
    }

    /// How many calls are due before the end.
    fn left(&self, end: Instant) -> u64 {
        let time = end.saturating_duration_since(self.next).as_nanos();
        u64::try_from(time.div_ceil(self.interval.as_nanos().max(1))).unwrap_or(u64::MAX)
    }

    /// Waits for the next call; its due time, which may have passed.
    async fn wait(&mut self) -> Instant {
        let due = self.next;
        self.next += self.interval;
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        due
    }
}

impl Load {
    /// The plan's load for a while.
    pub fn new(plan: &Plan, time: Duration) -> Self {
        Self {
            plan: plan.clone(),
            time,
            progress: Progress::default(),
        }
    }

    /// To be looked at meanwhile.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Puts the load on.
    pub async fn run(self, client: &Client) -> Result<Counted, Failure> {
        let begin = Instant::now();
        let end = begin + self.time;
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..self.plan.callers {
            let caller = Caller {
                client: client.clone(),
                plan: self.plan.clone(),
                dice: Dice::new()?,
                value: self.plan.value(),
                progress: self.progress.clone(),
            };
            let pace = Pace::of(&self.plan, number, begin);
            callers.spawn(caller.work(pace, end));
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
}

struct Caller {
    client: Client,
    plan: Plan,
    dice: Dice,
    value: bytes::Bytes,
    progress: Progress,
}

impl Caller {
    async fn work(mut self, mut pace: Option<Pace>, end: Instant) -> Result<Counted, Failure> {
        let mut counted = Counted::new()?;
        loop {
            let due = match &mut pace {
                Some(pace) if pace.next >= end => return Ok(counted),
                Some(pace) if Instant::now() >= end + BEHIND_MAX => {
                    counted.not_sent(pace.left(end));
                    return Ok(counted);
                }
                Some(pace) => pace.wait().await,
                None => Instant::now(),
            };
            if pace.is_none() && due >= end {
                return Ok(counted);
            }
            let read = self.dice.below(100) < u64::from(self.plan.reads);
            let key = self.plan.key(self.dice.below(self.plan.keys));
            let ended = if read {
                self.client.get(&self.plan.cache, key).await.map(drop)
            } else {
                self.put(key).await
            };
            counted.note(read, due, ended.as_ref().err());
            self.progress.note(ended.is_err());
        }
    }

    async fn put(&self, key: bytes::Bytes) -> Result<(), Error> {
        let request = PutRequest {
            cache: self.plan.cache.clone(),
            key,
            value: self.value.clone(),
            ..PutRequest::default()
        };
        self.client.put(request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_a_call_was_due() {
        let mut counted = Counted::new().expect("histograms");
        let due = Instant::now() - Duration::from_secs(2);
        counted.note(true, due, None);
        assert!(counted.reads.latency.max() >= 2_000_000);
        assert_eq!((counted.answered(), counted.writes.latency.len()), (1, 0));
    }

    #[test]
    fn errors_are_counted_by_reason_and_not_as_answers() {
        let mut counted = Counted::new().expect("histograms");
        let (due, unknown) = (Instant::now(), Error::unknown("broke"));
        counted.note(false, due, Some(&unknown));
        counted.note(false, due, Some(&Error::overloaded("full")));
        let mut sum = counted.clone();
        sum.add(&counted);
        assert_eq!(sum.answered(), 0);
        assert_eq!(sum.errors.get("OUTCOME_UNKNOWN (unknown)"), Some(&2));
        assert_eq!(sum.errors.get("OVERLOADED"), Some(&2));
    }

    #[test]
    fn what_an_open_loop_does_not_send_is_counted() {
        let begin = Instant::now();
        let pace = Pace {
            next: begin,
            interval: Duration::from_millis(3),
        };
        for (time, left) in [(0, 0), (1, 1), (3, 1), (4, 2), (3_000, 1_000)] {
            assert_eq!(pace.left(begin + Duration::from_millis(time)), left);
        }
        let endless = Pace {
            interval: Duration::ZERO,
            ..pace
        };
        assert_eq!(endless.left(begin + Duration::from_nanos(7)), 7);
        let mut counted = Counted::new().expect("histograms");
        counted.not_sent(3);
        assert_eq!(counted.errors.get("NOT_SENT"), Some(&3));
        assert_eq!(counted.answered(), 0);
    }

    #[test]
    fn dice_reach_every_side() {
        let mut dice = Dice(1);
        let mut seen = [false; 7];
        for _ in 0..200 {
            seen[dice.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
