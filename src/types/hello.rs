//! What two nodes must agree on before a link between them is up.

use super::cache::CacheSettings;
use super::node::{NodeInfo, Role};
use super::time::Micros;
use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// The reason of a hello that is refused because another live node has the sender's name.
pub const NAME_TAKEN: &str = "NAME_TAKEN";

/// The reason of one between nodes of two cluster names.
const OTHER_CLUSTER: &str = "OTHER_CLUSTER";
/// The reason of one that is refused because the cluster of one of the two has other settings than
/// the other node: that one is not in it, and forms no cluster of its own beside it.
pub const CLUSTER_DIFFERS: &str = "CLUSTER_DIFFERS";

/// The first thing that a node says on a new link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Nodes of another cluster name are refused.
    pub cluster_name: String,
    /// The protocol that the sender speaks.
    pub protocol: u32,
    /// The oldest protocol that the sender understands.
    pub protocol_min: u32,
    /// Who it is.
    pub info: NodeInfo,
    /// Whether it is in a cluster.
    pub in_cluster: bool,
    /// The caches of its cluster, or of its settings file while it is in none.
    pub caches: Vec<CacheSettings>,
    /// The number of servers, where caches stop in a minority.
    pub quorum_of: Option<u32>,
    /// What its keys for tickets are known by: those that decrypt, and that of the digests; none
    /// where it stores tickets as they come.
    pub ticket_keys: Vec<u64>,
    pub digest_key: Option<u64>,
}

impl Hello {
    /// The protocol that this node and `peer` speak with each other.
    pub fn spoken_with(&self, peer: &Self) -> u32 {
        self.protocol.min(peer.protocol)
    }

    /// Whether `peer` may be linked to this node.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition`, naming what differs and both values.
    pub fn check(&self, peer: &Self) -> Result<()> {
        if self.cluster_name != peer.cluster_name {
            let what = "cluster name differs";
            let (mine, theirs, address) =
                (&self.cluster_name, &peer.cluster_name, &peer.info.address);
            let context = format!("{what}: {mine} here, {theirs} at {address}");
            return Err(Error::new(ErrorKind::FailedPrecondition, context).because(OTHER_CLUSTER));
        }
        let differ = |what: &str, mine: &dyn std::fmt::Display, theirs: &dyn std::fmt::Display| {
            self.refusal(
                peer,
                format!(
                    "{what} differs: {mine} here, {theirs} at {}",
                    peer.info.address
                ),
                "SETTINGS_DIFFER",
            )
        };
        if self.protocol < peer.protocol_min || peer.protocol < self.protocol_min {
            let known = |hello: &Self| format!("{} to {}", hello.protocol_min, hello.protocol);
            return Err(differ("protocol version", &known(self), &known(peer)));
        }
        let servers = self.info.role == Role::Server && peer.info.role == Role::Server;
        if servers && self.quorum_of != peer.quorum_of {
            let shown = |of: Option<u32>| of.map_or("not set".to_owned(), |of| of.to_string());
            let (mine, theirs) = (shown(self.quorum_of), shown(peer.quorum_of));
            return Err(differ("setting quorum-of", &mine, &theirs));
        }
        self.check_keys(peer)?;
        if self.in_cluster && peer.in_cluster {
            // What one of the clusters dropped and made anew may be what differs: the engine, which
            // knows, looks when they meet.
            return Ok(());
        }
        for mine in &self.caches {
            let theirs = peer.caches.iter().find(|cache| cache.name == mine.name);
            if let Some(theirs) = theirs.filter(|theirs| *theirs != mine) {
                let (name, here, there) = first_difference(mine, theirs);
                return Err(differ(
                    &format!("setting {name} of cache {}", mine.name),
                    &here,
                    &there,
                ));
            }
        }
        Ok(())
    }

    /// Why the two may not be linked.
    fn refusal(&self, peer: &Self, context: String, reason: &'static str) -> Error {
        let clustered = self.in_cluster != peer.in_cluster;
        let reason = if clustered { CLUSTER_DIFFERS } else { reason };
        Error::new(ErrorKind::FailedPrecondition, context).because(reason)
    }

    /// Whether what one of the two encrypts the other can read: they share a key and the digests.
    fn check_keys(&self, peer: &Self) -> Result<()> {
        let what = match (self.digest_key, peer.digest_key) {
            (None, None) => return Ok(()),
            (Some(mine), Some(theirs)) if mine != theirs => "have different digest-keys",
            (Some(_), Some(_)) => {
                let shared = |key: &u64| peer.ticket_keys.contains(key);
                if self.ticket_keys.iter().any(shared) {
                    return Ok(());
                }
                "share no encryption-key"
            }
            (Some(_), None) => "do not both encrypt: here there are keys, there are none there",
            (None, Some(_)) => "do not both encrypt: here there are no keys, there are some there",
        };
        let context = format!("[tickets] of this node and of {} {what}", peer.info.address);
        Err(self.refusal(peer, context, "TICKET_KEYS_DIFFER"))
    }
}

/// The first setting in which two caches of one name differ, with both values.
pub fn first_difference(
    mine: &CacheSettings,
    theirs: &CacheSettings,
) -> (&'static str, String, String) {
    macro_rules! compare {
        ($($name:literal => $field:ident $(as $shown:ident)?),* $(,)?) => {
            $(if mine.$field != theirs.$field {
                let shown = |of: &CacheSettings| shown!(of.$field $(, $shown)?);
                return ($name, shown(mine), shown(theirs));
            })*
        };
    }
    macro_rules! shown {
        ($value:expr, $shown:ident) => {
            $shown($value)
        };
        ($value:expr) => {
            format!("{:?}", $value)
        };
    }
    // "none" is what describes a cache where there is nothing.
    let lasting = |length: Option<Micros>| length.map_or("none".to_owned(), lasts);
    compare! {
        "cache-mode" => mode,
        "atomicity-mode" => atomicity,
        "write-synchronization-mode" => write_synchronization,
        "backups" => backups,
        "partitions" => partitions,
        "time-to-live" => time_to_live as lasting,
        "time-to-idle" => time_to_idle as lasting,
        "touch-on-read" => touch_on_read,
        "read-from" => read_from,
        "removes-are-final" => removes_are_final,
        "tombstone-retention" => tombstone_retention as lasts,
        "request-id-window" => request_id_window as lasts,
        "entry-max-size" => entry_bytes_max,
        "near-cache-max-size" => near_bytes_max,
        "node-filter" => node_filter,
        "backup-zone" => backup_zone,
        "when-split" => when_split,
        "partition-loss" => partition_loss,
    }
    ("name", mine.name.clone(), theirs.name.clone())
}

/// A length of time for people.
fn lasts(micros: Micros) -> String {
    format!("{:?}", Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_in_plain_words() {
        let one = CacheSettings::named("c");
        let lives = |micros| CacheSettings {
            time_to_live: micros,
            ..one.clone()
        };
        let told = |name, mine: &str, theirs: &str| (name, mine.to_owned(), theirs.to_owned());
        assert_eq!(
            first_difference(&lives(Some(3_600_000_000)), &one),
            told("time-to-live", "3600s", "none")
        );
        let window = CacheSettings {
            request_id_window: 500_000,
            ..one.clone()
        };
        assert_eq!(
            first_difference(&one, &window),
            told("request-id-window", "60s", "500ms")
        );
    }

    #[test]
    fn neighbouring_protocols_are_linked_and_others_named() {
        let hello = |protocol_min, protocol| Hello {
            cluster_name: "c".to_owned(),
            protocol,
            protocol_min,
            info: NodeInfo::default(),
            in_cluster: false,
            caches: Vec::new(),
            quorum_of: None,
            ticket_keys: Vec::new(),
            digest_key: None,
        };
        let mine = hello(2, 3);
        for (theirs, spoken) in [(hello(1, 2), 2), (hello(2, 3), 3), (hello(3, 4), 3)] {
            assert_eq!(mine.check(&theirs), Ok(()));
            assert_eq!(mine.spoken_with(&theirs), spoken);
            assert_eq!(theirs.check(&mine), Ok(()));
        }
        for theirs in [hello(1, 1), hello(4, 5)] {
            let error = mine.check(&theirs).expect_err("too far apart");
            let named = format!("{} to {} at", theirs.protocol_min, theirs.protocol);
            assert!(error.context.contains("2 to 3 here"), "{error}");
            assert!(error.context.contains(&named), "{error}");
            assert!(theirs.check(&mine).is_err());
        }
    }
}
