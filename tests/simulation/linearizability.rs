//! Whether the calls on one key could have happened one at a time: a search with memo after Wing
//! and Gong, and Lowe. A call of unknown outcome may take effect at any time after it was made,
//! or never. What is not here: how calls become operations (checkers/linear.rs).

use crate::clock::Time;
use std::collections::HashSet;

/// What a key may hold: text, told apart by a number, or a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    Text(u32),
    Number(i64),
}

/// Absent, or a value.
pub type State = Option<Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Any,
    Absent,
    Present,
    Is(Value),
    /// A version that no client ever saw on a value: holds of nothing.
    Never,
}

impl Need {
    fn holds(self, state: State) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => state.is_none(),
            Self::Present => state.is_some(),
            Self::Is(value) => state == Some(value),
            Self::Never => false,
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read,
    Put(Value, Need),
    Remove(Need),
    /// Adds one number to another; to nothing: the initial value.
    Add {
        delta: i64,
        initial: Option<i64>,
    },
    Touch,
}

/// What the caller was told; absent parts were not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub applied: Option<bool>,
    /// What the key held before (for a read: what it holds).
    pub before: Option<State>,
    pub after: Option<Value>,
}

#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub invoked: Time,
    /// `Time::MAX`: the outcome is unknown.
    pub responded: Time,
    pub step: Step,
    pub told: Told,
    /// The place in the history, for the report.
    pub call: usize,
}

impl Op {
    fn unknown(&self) -> bool {
        self.responded == Time::MAX
    }

    /// The state after this operation, if what the caller was told fits.
    fn apply(&self, state: State) -> Option<State> {
        let (applied, after) = match self.step {
            Step::Read => (true, state),
            Step::Put(value, need) if need.holds(state) => (true, Some(value)),
            Step::Remove(need) => match need.holds(state) && state.is_some() {
                true => (true, None),
                false => (false, state),
            },
            Step::Put(..) => (false, state),
            Step::Touch => (state.is_some(), state),
            Step::Add { delta, initial } => match (state, initial) {
                (Some(Value::Number(number)), _) => (true, Some(Value::Number(number + delta))),
                (None, Some(initial)) => (true, Some(Value::Number(initial))),
                _ => (false, state),
            },
        };
        let fits = self.told.applied.is_none_or(|told| told == applied)
            && self.told.before.is_none_or(|told| told == state)
            && self.told.after.is_none_or(|told| Some(told) == after);
        fits.then_some(after)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// The places in the history of the calls of which none can come next, at the point that the
    /// search reached furthest, and the state there.
    Violated {
        state: State,
        stuck: Vec<usize>,
        done: usize,
    },
    /// The search was given up.
    Undecided,
}

/// The most states that the search visits.
const VISITS_MAX: usize = 400_000;

struct Search<'a> {
    ops: &'a [Op],
    seen: HashSet<(Box<[u64]>, State)>,
    done: Vec<u64>,
    left: usize,
    best: (usize, State, Vec<usize>),
}

/// Judges the operations of one key, which is absent at first.
pub fn judge(ops: &mut [Op]) -> Verdict {
    ops.sort_by_key(|op| (op.invoked, op.responded, op.call));
    let left = ops.iter().filter(|op| !op.unknown()).count();
    let mut search = Search {
        ops,
        seen: HashSet::new(),
        done: vec![0; ops.len().div_ceil(64)],
        left,
        best: (usize::MAX, None, Vec::new()),
    };
    match search.visit(None) {
        Some(true) => Verdict::Linearizable,
        None => Verdict::Undecided,
        Some(false) => {
            let (behind, state, stuck) = search.best;
            Verdict::Violated {
                state,
                stuck,
                done: left - behind.min(left),
            }
        }
    }
}

impl Search<'_> {
    fn is_done(&self, index: usize) -> bool {
        self.done[index / 64] >> (index % 64) & 1 == 1
    }

    fn flip(&mut self, index: usize) {
        self.done[index / 64] ^= 1 << (index % 64);
    }

    /// Operations that may come next: nothing that is still to come ended before they began.
    fn candidates(&self) -> Vec<usize> {
        let mut limit = Time::MAX;
        let mut found = Vec::new();
        for (index, op) in self.ops.iter().enumerate() {
            if op.invoked > limit {
                break;
            }
            if !self.is_done(index) {
                limit = limit.min(op.responded);
                found.push(index);
            }
        }
        found.retain(|index| self.ops[*index].invoked <= limit);
        // What certainly happened first; of that, what ended first.
        found.sort_by_key(|index| (self.ops[*index].responded, *index));
        found
    }

    fn visit(&mut self, state: State) -> Option<bool> {
        if self.left == 0 {
            return Some(true);
        }
        if self.seen.len() > VISITS_MAX {
            return None;
        }
        if !self
            .seen
            .insert((self.done.clone().into_boxed_slice(), state))
        {
            return Some(false);
        }
        let candidates = self.candidates();
        if self.left < self.best.0 {
            let stuck = candidates
                .iter()
                .map(|index| self.ops[*index].call)
                .collect();
            self.best = (self.left, state, stuck);
        }
        for index in candidates {
            let op = self.ops[index];
            let Some(after) = op.apply(state) else {
                continue;
            };
            if op.unknown() && after == state {
                continue;
            }
            self.flip(index);
            self.left -= usize::from(!op.unknown());
            let found = self.visit(after);
            self.left += usize::from(!op.unknown());
            self.flip(index);
            if found != Some(false) {
                return found;
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Value = Value::Text(1);
    const B: Value = Value::Text(2);

    fn op(invoked: Time, responded: Time, step: Step, told: Told) -> Op {
        Op {
            invoked,
            responded,
            step,
            told,
            call: 0,
        }
    }

    fn put(invoked: Time, responded: Time, value: Value) -> Op {
        let told = Told {
            applied: (responded < Time::MAX).then_some(true),
            ..Told::default()
        };
        op(invoked, responded, Step::Put(value, Need::Any), told)
    }

    fn read(invoked: Time, responded: Time, state: State) -> Op {
        op(
            invoked,
            responded,
            Step::Read,
            Told {
                before: Some(state),
                ..Told::default()
            },
        )
    }

    fn take(invoked: Time, responded: Time, state: State) -> Op {
        let told = Told {
            applied: Some(state.is_some()),
            before: Some(state),
            after: None,
        };
        op(invoked, responded, Step::Remove(Need::Any), told)
    }

    fn add(invoked: Time, responded: Time, after: Option<i64>) -> Op {
        let told = Told {
            after: after.map(Value::Number),
            ..Told::default()
        };
        op(
            invoked,
            responded,
            Step::Add {
                delta: 1,
                initial: Some(1),
            },
            told,
        )
    }

    fn good(mut ops: Vec<Op>) {
        assert_eq!(judge(&mut ops), Verdict::Linearizable);
    }

    fn bad(mut ops: Vec<Op>) {
        assert!(matches!(judge(&mut ops), Verdict::Violated { .. }));
    }

    #[test]
    fn reads_see_the_last_write() {
        good(vec![
            put(0, 1, A),
            read(2, 3, Some(A)),
            put(4, 5, B),
            read(6, 7, Some(B)),
        ]);
        bad(vec![put(0, 1, A), put(2, 3, B), read(4, 5, Some(A))]);
        bad(vec![put(0, 1, A), read(2, 3, None)]);
    }

    #[test]
    fn concurrent_writes_take_either_order_but_one() {
        good(vec![put(0, 9, A), put(0, 9, B), read(10, 11, Some(A))]);
        bad(vec![
            put(0, 9, A),
            put(0, 9, B),
            read(10, 11, Some(A)),
            read(12, 13, Some(B)),
        ]);
    }

    #[test]
    fn a_new_value_once_read_stays() {
        let new_then_old = vec![
            put(0, 1, A),
            put(2, 20, B),
            read(3, 4, Some(B)),
            read(5, 6, Some(A)),
        ];
        bad(new_then_old);
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never() {
        good(vec![
            put(0, 1, A),
            put(2, Time::MAX, B),
            read(3, 4, Some(A)),
            read(5, 6, Some(B)),
        ]);
        good(vec![
            put(0, 1, A),
            put(2, Time::MAX, B),
            read(3, 4, Some(A)),
        ]);
        bad(vec![
            put(0, 1, A),
            put(2, Time::MAX, B),
            read(3, 4, Some(B)),
            read(5, 6, Some(A)),
        ]);
    }

    #[test]
    fn one_take_gets_it() {
        good(vec![put(0, 1, A), take(2, 9, Some(A)), take(2, 9, None)]);
        bad(vec![put(0, 1, A), take(2, 9, Some(A)), take(2, 9, Some(A))]);
    }

    #[test]
    fn increments_count_once() {
        good(vec![
            add(0, 5, Some(1)),
            add(1, 5, Some(2)),
            add(6, Time::MAX, None),
            add(7, 8, Some(4)),
        ]);
        bad(vec![add(0, 5, Some(1)), add(6, 7, Some(3))]);
        bad(vec![add(0, 5, Some(1)), add(6, 7, Some(1))]);
    }

    #[test]
    fn conditions_are_judged_at_one_moment() {
        let told = |applied| Told {
            applied: Some(applied),
            ..Told::default()
        };
        let swap = |from, till, need, applied| op(from, till, Step::Put(B, need), told(applied));
        good(vec![
            put(0, 1, A),
            swap(2, 3, Need::Is(A), true),
            swap(4, 5, Need::Absent, false),
        ]);
        bad(vec![put(0, 1, A), swap(2, 3, Need::Is(A), false)]);
        bad(vec![put(0, 1, A), swap(2, 3, Need::Absent, true)]);
    }

    #[test]
    fn many_unknown_writes_do_not_drown_the_search() {
        let mut ops = Vec::new();
        for round in 0..60u64 {
            ops.push(put(round * 10, Time::MAX, Value::Text(1000 + round as u32)));
            ops.push(put(
                round * 10 + 1,
                round * 10 + 2,
                Value::Text(round as u32),
            ));
            ops.push(read(
                round * 10 + 3,
                round * 10 + 4,
                Some(Value::Text(round as u32)),
            ));
        }
        good(ops);
    }
}
