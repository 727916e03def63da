//! A user that never stops: writes and reads while nodes come and go, and measures the longest
//! time in which nothing of that came to its end.

use crate::cli::outcome::Failure;
use crate::client::Client;
use crate::client::messages::PutRequest;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How many keys it goes round, so that many partitions are touched.
const KEYS: u64 = 256;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(1);

/// The user, at work.
#[derive(Debug)]
pub struct Witness {
    stop: oneshot::Sender<()>,
    work: JoinHandle<Result<Report, Failure>>,
}

/// What it saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Writes and reads that were answered.
    pub calls: u64,
    /// The longest time between two answers.
    pub longest_gap: Duration,
}

impl Witness {
    /// Starts to write to and read from a cache.
    pub fn start(client: Client, cache: &str) -> Self {
        let (stop, stopped) = oneshot::channel();
        let work = tokio::spawn(work(client, cache.to_owned(), stopped));
        Self { stop, work }
    }

    /// Ends the work.
    ///
    /// # Errors
    ///
    /// When a call failed in spite of its repetitions, or a read was not what was written before.
    pub async fn report(self) -> Result<Report, Failure> {
        // It may have ended by itself, with an error that follows.
        let _ = self.stop.send(());
        match self.work.await {
            Ok(report) => report,
            Err(error) => Err(Failure::failed(format!("the witness ended: {error}"))),
        }
    }
}

async fn work(
    client: Client,
    cache: String,
    mut stopped: oneshot::Receiver<()>,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut last = Instant::now();
    let mut round = 0u64;
    while matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
        let key = format!("witness-{}", round % KEYS);
        let value = round.to_string();
        let request = PutRequest {
            cache: cache.clone(),
            key: key.clone().into_bytes().into(),
            value: value.clone().into_bytes().into(),
            ..PutRequest::default()
        };
        client.put(request).await?;
        answered(&mut report, &mut last);
        let entry = client.get(&cache, key.clone().into_bytes()).await?;
        answered(&mut report, &mut last);
        if entry.is_none_or(|entry| entry.value != value.as_bytes()) {
            return Err(Failure::failed(format!(
                "{key} does not hold what was written last"
            )));
        }
        round += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(report)
}

fn answered(report: &mut Report, last: &mut Instant) {
    let now = Instant::now();
    report.longest_gap = report.longest_gap.max(now - *last);
    report.calls += 1;
    *last = now;
}
