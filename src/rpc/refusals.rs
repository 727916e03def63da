//! Who was not let in, and why: counted by reason and logged, each reason a few times a minute at
//! most, so that nobody can flood the log from outside. Nothing that is logged is a secret.

use parking_lot::Mutex;
use rustls::CertificateError;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often one reason is logged at most; what came between is told as a number.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It showed no certificate.
    NoCertificate,
    /// No trusted authority has issued its certificate.
    UnknownAuthority,
    /// Its certificate has expired.
    Expired,
    /// Its certificate is not valid yet.
    NotYetValid,
    /// Its certificate is for another name, or for another purpose.
    WrongName,
    /// It wanted what is for nodes, and its certificate is not that of a node.
    NotANode,
    /// It was admitted once, and is not by the files that were renewed since.
    Withdrawn,
    /// It refused the certificate of this node.
    ByPeer,
    /// It did not speak TLS, or not a version or a way of it that is admitted.
    NotTls,
    /// It did not end its handshake in time.
    Late,
    /// There are too many connections.
    TooMany,
}

const REASONS: [(Reason, &str); 11] = [
    (Reason::NoCertificate, "connections_refused_no_certificate"),
    (
        Reason::UnknownAuthority,
        "connections_refused_unknown_authority",
    ),
    (Reason::Expired, "connections_refused_expired"),
    (Reason::NotYetValid, "connections_refused_not_yet_valid"),
    (Reason::WrongName, "connections_refused_wrong_name"),
    (Reason::NotANode, "connections_refused_not_a_node"),
    (Reason::Withdrawn, "connections_refused_withdrawn"),
    (Reason::ByPeer, "connections_refused_by_peer"),
    (Reason::NotTls, "connections_refused_not_tls"),
    (Reason::Late, "connections_refused_late"),
    (Reason::TooMany, "connections_refused_too_many"),
];

/// The counts of one node.
#[derive(Debug, Default)]
pub struct Refusals {
    tallies: Mutex<[Tally; REASONS.len()]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u64,
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl Refusals {
    /// Counts one, and logs it unless that was done a moment ago.
    pub fn add(&self, reason: Reason, address: SocketAddr, why: impl Display) {
        let place = REASONS.iter().position(|(known, _)| *known == reason);
        let others = {
            let mut tallies = self.tallies.lock();
            let Some(tally) = place.and_then(|place| tallies.get_mut(place)) else {
                return;
            };
            tally.count += 1;
            if tally
                .logged_at
                .is_some_and(|at| at.elapsed() < LOG_INTERVAL)
            {
                tally.unlogged += 1;
                None
            } else {
                tally.logged_at = Some(Instant::now());
                Some(std::mem::take(&mut tally.unlogged))
            }
        };
        match others {
            Some(others) => {
                tracing::warn!(%address, ?reason, %why, others, "a connection was refused");
            }
            None => tracing::debug!(%address, ?reason, %why, "a connection was refused"),
        }
    }

    /// Counts a handshake that failed, by what was wrong; one that was merely broken off is no
    /// refusal.
    pub fn add_failed(&self, address: SocketAddr, error: &io::Error) {
        match reason_of(error) {
            Some(reason) => self.add(reason, address, error),
            None => tracing::debug!(%address, %error, "a handshake was broken off"),
        }
    }

    /// The count of one reason.
    pub fn count(&self, reason: Reason) -> u64 {
        let place = REASONS.iter().position(|(known, _)| *known == reason);
        place.map_or(0, |place| self.tallies.lock()[place].count)
    }

    /// All counts by name.
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        let tallies = self.tallies.lock();
        let names = REASONS.iter().map(|(_, name)| *name);
        names.zip(tallies.iter().map(|tally| tally.count)).collect()
    }
}

/// What a failed handshake comes to.
fn reason_of(error: &io::Error) -> Option<Reason> {
    use rustls::Error;
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::NoCertificatesPresented => Reason::NoCertificate,
        Error::InvalidCertificate(what) => match what {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Reason::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Reason::NotYetValid
            }
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. } => Reason::WrongName,
            _ => Reason::UnknownAuthority,
        },
        Error::AlertReceived(_) => Reason::ByPeer,
        _ => Reason::NotTls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 9).into()
    }

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        let refusals = Refusals::default();
        for (times, (reason, _)) in REASONS.iter().enumerate() {
            (0..=times).for_each(|_| refusals.add(*reason, address(), "test"));
        }
        for (times, (_, count)) in refusals.read().into_iter().enumerate() {
            assert_eq!(count, times as u64 + 1);
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let refusals = Refusals::default();
        let failed = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        refusals.add_failed(address(), &failed(expired));
        refusals.add_failed(address(), &failed(rustls::Error::NoCertificatesPresented));
        refusals.add_failed(address(), &io::ErrorKind::UnexpectedEof.into());
        assert_eq!(refusals.count(Reason::Expired), 1);
        assert_eq!(refusals.count(Reason::NoCertificate), 1);
        assert_eq!(
            refusals.read().iter().map(|(_, count)| count).sum::<u64>(),
            2
        );
    }
}
