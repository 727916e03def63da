//! The engine decides: pure state machines without input, output or clocks. Time and randomness
//! come in as arguments; what is to be done goes out through [`Shell`].

pub mod grid;
pub mod options;
pub mod shell;

pub use grid::Grid;
pub use options::GridOptions;
pub use shell::{Notice, ProbeOutcome, Shell};
