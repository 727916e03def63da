//! One file for each promise. A checker takes the record of a run and says what it judged and what
//! was broken; its header names the promise's line and when it applies.

pub mod acknowledged;
pub mod bank;
pub mod bounded_loss;
pub mod equal_copies;
pub mod expiry;
pub mod idle;
pub mod linear;
pub mod liveness;
pub mod locks;
pub mod one_view;
pub mod primaries;
pub mod remove_wins;
pub mod removed;
pub mod repair;
pub mod request_ids;
pub mod serial;
pub mod starts;
pub mod take;
pub mod tickets;
pub mod tombstones;
pub mod watch;

#[cfg(test)]
pub mod made_up;

use crate::record::Record;

/// What a checker found.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many things were judged.
    pub judged: u64,
    /// How many could not be.
    pub undecided: u64,
    pub violations: Vec<String>,
}

impl Findings {
    pub fn judge(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.judged += 1;
        if !holds {
            self.violations.push(otherwise());
        }
    }
}

type Check = fn(&Record) -> Findings;

/// All checkers, by their promise.
pub const ALL: &[(&str, Check)] = &[
    ("1 acknowledged", acknowledged::check),
    ("2 removed", removed::check),
    ("3 remove wins", remove_wins::check),
    ("4 expiry", expiry::check),
    ("5 idle", idle::check),
    ("6 take", take::check),
    ("7 linear", linear::check),
    ("8 request ids", request_ids::check),
    ("9 bounded loss", bounded_loss::check),
    ("10 equal copies", equal_copies::check),
    ("10a compared", repair::check),
    ("10b verified", repair::verified),
    ("11 primaries", primaries::check),
    ("12 one view", one_view::check),
    ("13 starts", starts::check),
    ("17 watch", watch::check),
    ("24 bank", bank::check),
    ("25 serial", serial::check),
    ("26 locks", locks::check),
    ("4 tickets", tickets::ends::expiry),
    ("5 tickets", tickets::ends::idle),
    ("17 tickets", tickets::events::check),
    ("tickets", tickets::check),
    ("tickets looked up", tickets::look_ups::check),
    ("liveness", liveness::check),
];
