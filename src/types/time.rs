//! Time as the engine sees it: always an argument, never read.

/// A duration in microseconds.
pub type Micros = u64;

/// One millisecond.
pub const MILLISECOND: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;

/// A point on this node's monotonic clock, in microseconds since an arbitrary start. Points of
/// two nodes are not comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// This point moved into the future.
    #[must_use]
    pub fn after(self, by: Micros) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Self) -> Micros {
        self.0.saturating_sub(earlier.0)
    }

    /// The first of some points. The end of time never comes: it is none.
    pub fn earliest<const COUNT: usize>(points: [Option<Self>; COUNT]) -> Option<Self> {
        let never = Self(u64::MAX);
        let points = points.map(|point| point.unwrap_or(never));
        let first = points.into_iter().fold(never, Ord::min);
        (first < never).then_some(first)
    }
}

/// A point in cluster time: microseconds since the Unix epoch as the cluster agreed on it. All
/// stored points in time are of this kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterTime(pub u64);

impl ClusterTime {
    /// This point moved into the future.
    #[must_use]
    pub fn after(self, by: Micros) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Self) -> Micros {
        self.0.saturating_sub(earlier.0)
    }

    /// This point moved by a signed difference of two clocks.
    #[must_use]
    pub fn shifted(self, by: i64) -> Self {
        Self(self.0.saturating_add_signed(by))
    }
}

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// This node's monotonic clock.
    pub mono: Monotonic,
    /// The cluster's clock, as this node knows it.
    pub cluster: ClusterTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_of_points_is_none_where_none_comes() {
        let at = |at| Some(Monotonic(at));
        assert_eq!(Monotonic::earliest([]), None);
        assert_eq!(Monotonic::earliest([None, None]), None);
        assert_eq!(Monotonic::earliest([None, at(u64::MAX)]), None);
        let points = [at(3), None, at(2), at(u64::MAX)];
        assert_eq!(Monotonic::earliest(points), at(2));
    }
}
