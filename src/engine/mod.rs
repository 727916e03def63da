//! The engine decides: pure state machines without input, output or clocks. Time and randomness
//! come in as arguments; what is to be done goes out through [`Shell`].

pub mod affinity;
pub mod clique;
pub mod errand;
pub mod forwarding;
pub mod grid;
pub mod membership;
pub mod options;
pub mod partition;
pub mod partition_map;
pub mod planted;
pub mod shell;
pub mod tally;
pub mod transaction;

pub use grid::Grid;
pub use options::GridOptions;
pub use partition::tickets::evaluate::UNSURE;
pub use shell::{Notice, ProbeOutcome, Shell};
