//! Probes every endpoint of the address list, all of them side by side and for as long as the
//! node lives, so that halves that started apart find each other. What the outcomes mean is
//! decided by the engine.

use super::core::Core;
use super::dialer::Dialer;
use crate::engine::ProbeOutcome;
use crate::rpc::connector::DialError;
use crate::rpc::names::join_address;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Between two probes of an endpoint while this node has no view.
const INTERVAL_JOINING: Duration = Duration::from_millis(100);
/// Between two probes of an endpoint later on.
const INTERVAL: Duration = Duration::from_secs(1);
/// Every so many rounds an endpoint that was this node itself is probed again.
const MYSELF_ROUNDS: u32 = 30;

/// What came of each endpoint, for the start-up report.
#[derive(Default)]
pub(super) struct Report {
    endpoints: Mutex<Vec<(String, String)>>,
}

impl Report {
    pub(super) fn of(endpoints: &[(String, u16)]) -> Self {
        let lines = endpoints
            .iter()
            .map(|(host, port)| (join_address(host, *port), "no answer yet".to_owned()))
            .collect();
        Self {
            endpoints: Mutex::new(lines),
        }
    }

    /// Notes an outcome. True: it is another than before.
    fn note(&self, endpoint: usize, outcome: &str) -> bool {
        let mut endpoints = self.endpoints.lock();
        let Some((_, last)) = endpoints.get_mut(endpoint) else {
            return false;
        };
        let changed = last != outcome;
        if changed {
            outcome.clone_into(last);
        }
        changed
    }

    /// Every address with what came of it.
    pub(super) fn text(&self) -> String {
        let endpoints = self.endpoints.lock();
        let lines: Vec<String> = endpoints
            .iter()
            .map(|(address, outcome)| format!("{address}: {outcome}"))
            .collect();
        lines.join("; ")
    }
}

/// Begins to probe all endpoints, on the runtime that this is called on.
pub(super) fn begin(core: &Arc<Core>, dialer: &Arc<Dialer>, endpoints: &[(String, u16)]) {
    for (place, (host, port)) in endpoints.iter().enumerate() {
        let probe = Probe {
            core: Arc::clone(core),
            dialer: Arc::clone(dialer),
            place,
            host: host.clone(),
            port: *port,
            last: None,
            rounds: 0,
        };
        tokio::spawn(probe.run());
    }
}

/// One endpoint.
struct Probe {
    core: Arc<Core>,
    dialer: Arc<Dialer>,
    place: usize,
    host: String,
    port: u16,
    last: Option<ProbeOutcome>,
    /// Since the endpoint was dialled.
    rounds: u32,
}

impl Probe {
    async fn run(mut self) {
        loop {
            if let Some(known) = self.known() {
                self.rounds += 1;
                self.tell(known);
            } else {
                self.rounds = 0;
                self.dial().await;
            }
            let joined = self.core.outside.view().version.number > 0;
            tokio::time::sleep(if joined { INTERVAL } else { INTERVAL_JOINING }).await;
        }
    }

    /// The outcome, where it is known without dialling: a peer whose link stands, and for some
    /// rounds this node itself.
    fn known(&self) -> Option<ProbeOutcome> {
        match self.last.clone()? {
            ProbeOutcome::Peer(peer) if self.core.outside.links.is_up(peer) => self.last.clone(),
            ProbeOutcome::Myself if self.rounds < MYSELF_ROUNDS => self.last.clone(),
            _ => None,
        }
    }

    async fn dial(&mut self) {
        let outcome = match self.dialer.probe(&self.host, self.port).await {
            Ok((outcome, found)) => {
                self.note(&found, false);
                outcome
            }
            Err(error) => {
                let wrong = matches!(error, DialError::Unresolved(_) | DialError::Unlike(_));
                self.note(&error.to_string(), wrong);
                outcome_of(&error)
            }
        };
        self.tell(outcome.clone());
        self.last = Some(outcome);
    }

    fn tell(&self, outcome: ProbeOutcome) {
        self.core
            .grid
            .on_probe(self.place, outcome, self.core.clock.now());
        self.core.wake_timer();
    }

    /// Notes an outcome, and logs it where it is another than before.
    fn note(&self, outcome: &str, wrong: bool) {
        if !self.core.report.note(self.place, outcome) {
            return;
        }
        let address = join_address(&self.host, self.port);
        if wrong {
            tracing::warn!(address, outcome, "probed");
        } else {
            tracing::info!(address, outcome, "probed");
        }
    }
}

fn outcome_of(error: &DialError) -> ProbeOutcome {
    match error {
        DialError::Refused => ProbeOutcome::Refused,
        DialError::Silent(_) | DialError::Unresolved(_) => ProbeOutcome::Silent,
        DialError::Foreign(_) => ProbeOutcome::Foreign,
        DialError::NameTaken(_) => ProbeOutcome::NameTaken,
        DialError::Unlike(_) => ProbeOutcome::Unlike,
    }
}
