//! Certificates of a running node: their files are looked at again and again, what was renewed is
//! used, and how long they are good is told in time. How connections move over: links in
//! `dialer`, what was accepted where it is served.

use super::clock::Clock;
use super::core::Core;
use super::handle::Handle;
use super::stats::CertificateStats;
use crate::rpc::connection::Remote;
use crate::rpc::refusals::Reason;
use crate::rpc::renewal::{Look, Renewal};
use crate::types::Member;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the files are looked at. Two looks in a row must agree, so a change is in use after
/// two to three times this.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How often the log says how long the certificate is good.
const TELL_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// From so many days before its end on, the log says it as a warning.
const WARN_DAYS: u64 = 30;

const DAY: u64 = 24 * 3600;

/// Looks at the files until the node stops.
pub(super) async fn watch(core: Arc<Core>, renewal: Arc<Renewal>) {
    let mut told = Told::now(&renewal);
    loop {
        tokio::select! {
            () = core.outside.stopped() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let looking = Arc::clone(&renewal);
        let Ok(look) = tokio::task::spawn_blocking(move || looking.look()).await else {
            continue;
        };
        match look {
            Look::Same => told.again(&renewal),
            Look::Renewed => {
                tracing::info!("certificates were renewed; connections move over");
                told = Told::now(&renewal);
            }
            Look::Refused(error) => {
                tracing::error!(%error, "renewed certificates were refused; those before stay in use");
            }
        }
    }
}

/// What was said of the certificate's end, and when.
struct Told {
    at: Instant,
    expired: bool,
}

impl Told {
    fn now(renewal: &Renewal) -> Self {
        let expires_at = renewal.current().certificate_expires_at;
        let days_left = days_left(expires_at);
        let expired = is_past(expires_at);
        if expired {
            tracing::error!(
                "the certificate has expired; this node reports that it does not serve"
            );
        } else if days_left < WARN_DAYS {
            tracing::warn!(days_left, "the certificate ends soon; renew its file");
        } else {
            tracing::info!(days_left, "the certificate is good");
        }
        Self {
            at: Instant::now(),
            expired,
        }
    }

    fn again(&mut self, renewal: &Renewal) {
        let expired = is_past(renewal.current().certificate_expires_at);
        if expired != self.expired || self.at.elapsed() >= TELL_INTERVAL {
            *self = Self::now(renewal);
        }
    }
}

pub(super) fn stats(renewal: &Renewal) -> CertificateStats {
    let (renewed, refused) = renewal.counts();
    CertificateStats {
        days_left: days_left(renewal.current().certificate_expires_at),
        renewed,
        refused,
        outdated: renewal.admitted.older(renewal.generation()) as u64,
        connections_refused: renewal.refusals.read(),
    }
}

/// Whole days until a point in time in seconds since the Unix epoch.
fn days_left(expires_at: u64) -> u64 {
    expires_at.saturating_sub(Clock::wall() / 1_000_000) / DAY
}

fn is_past(expires_at: u64) -> bool {
    expires_at < Clock::wall() / 1_000_000
}

impl Handle {
    /// Whether this node's certificate has expired.
    pub fn certificate_expired(&self) -> bool {
        let renewal = self.core.renewal.as_ref();
        renewal.is_some_and(|renewal| is_past(renewal.current().certificate_expires_at))
    }

    /// When the certificate that a node uses now ends, in seconds since the Unix epoch, and whole
    /// days until then. Absent without TLS, and for a peer to which no link stands.
    pub fn certificate_end(&self, node: Member) -> Option<(u64, u64)> {
        let renewal = self.core.renewal.as_ref()?;
        let ends = if node == self.me().member {
            renewal.current().certificate_expires_at
        } else {
            let link = self.core.outside.links.of(node)?;
            link.certificate_expires_at()?
        };
        Some((ends, days_left(ends)))
    }

    /// Done when the certificates were renewed after this generation; never without TLS.
    pub async fn certificates_renewed_since(&self, generation: u64) {
        match &self.core.renewal {
            None => std::future::pending().await,
            Some(renewal) => {
                let mut generations = renewal.generations();
                let _ = generations.wait_for(|now| *now > generation).await;
            }
        }
    }

    /// Counts one who asked for what is for nodes, and says why it is not taken for one.
    pub fn refuse_as_node(&self, remote: Option<&Remote>) -> String {
        let (Some(renewal), Some(remote)) = (&self.core.renewal, remote) else {
            return "it has shown none".to_owned();
        };
        let why = renewal.current().nodes.why_not(&remote.certificates);
        let why = why.unwrap_or_else(|| "it was not one when it connected".to_owned());
        renewal.refusals.add(Reason::NotANode, remote.address, &why);
        why
    }
}
