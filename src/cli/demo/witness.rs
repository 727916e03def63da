//! A user that never stops: writes and reads while nodes come and go, and measures the longest
//! time in which nothing of that came to its end.

use crate::cli::outcome::Failure;
use crate::client::messages::{PutRequest, Ticket};
use crate::client::{Client, TicketError};
use bytes::Bytes;
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
        let place = Place::Cache(cache.to_owned());
        Self::at_work(client, place)
    }

    /// Starts to write and to read tickets of a kind.
    pub fn of_tickets(client: Client, kind: &str) -> Self {
        let place = Place::Tickets(kind.to_owned());
        Self::at_work(client, place)
    }

    fn at_work(client: Client, place: Place) -> Self {
        let (stop, stopped) = oneshot::channel();
        let work = tokio::spawn(work(client, place, stopped));
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

/// Where the user writes to.
#[derive(Debug)]
enum Place {
    Cache(String),
    /// Of this kind.
    Tickets(String),
}

impl Place {
    async fn write(&self, client: &Client, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        match self {
            Self::Cache(cache) => {
                let request = PutRequest {
                    cache: cache.clone(),
                    key: key.into(),
                    value: value.into(),
                    ..PutRequest::default()
                };
                client.put(request).await?;
            }
            Self::Tickets(kind) => {
                let ticket = Ticket {
                    id: key.into(),
                    kind: kind.clone(),
                    payload: value.into(),
                    ..Ticket::default()
                };
                client.tickets().add(ticket).await?;
            }
        }
        Ok(())
    }

    async fn read(&self, client: &Client, key: Vec<u8>) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Cache(cache) => Ok(client.get(cache, key).await?.map(|entry| entry.value)),
            Self::Tickets(kind) => match client.tickets().get(key, kind).await {
                Ok(ticket) => Ok(Some(ticket.payload)),
                Err(TicketError::NotFound) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }
}

async fn work(
    client: Client,
    place: Place,
    mut stopped: oneshot::Receiver<()>,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut last = Instant::now();
    let mut round = 0u64;
    while matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
        let key = format!("witness-{}", round % KEYS);
        let value = round.to_string();
        let bytes = || key.clone().into_bytes();
        place
            .write(&client, bytes(), value.clone().into_bytes())
            .await?;
        answered(&mut report, &mut last);
        let found = place.read(&client, bytes()).await?;
        answered(&mut report, &mut last);
        if found.is_none_or(|found| found != value.as_bytes()) {
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
