//! Searches over every state that three servers can come to within bounds, with the machines of the
//! engine itself for what they decide: all orders of proposals, answers, commits, restarts and, for
//! the copies of a partition, of writes, loads and merges.
//!
//! | file | what is looked for |
//! |---|---|
//! | `views` | two primary views that exclude each other; a lease that outlives the view that ends it |
//! | `copies` | two primaries of one partition; an acknowledged write that is nowhere, or that whoever serves does not know; a state from which healing does not lead to one view with all of them |
//!
//! `cargo test --test model` bounds a run and prints how many states it saw; `EMBERGRID_MODEL=4` sets
//! how many proposals there are.

mod copies;
mod views;

/// How many proposals a search is bounded to, where somebody says so.
fn proposals() -> Option<u32> {
    let text = std::env::var("EMBERGRID_MODEL").ok()?;
    text.trim().parse().ok()
}
