//! Faults in how copies are kept, counted and loaded, each of which the search finds.

use super::{Search, WhenSplit};
use embergrid::engine::planted::{Fault, plant};

fn broken(mut search: Search, bounds: [u32; 3]) {
    let found = search.run(bounds);
    assert!(found.is_err(), "it was not found in {found:?} states");
    println!("{found:?}");
}

fn broken_by(fault: Fault, bounds: [u32; 3]) {
    plant(Some(fault));
    broken(Search::new(WhenSplit::DenyReadWrites), bounds);
    plant(None);
}

#[test]
fn a_prepared_view_that_is_forgotten() {
    broken_by(Fault::ForgetPrepared, [2, 0, 1]);
}

#[test]
fn half_of_the_servers() {
    broken_by(Fault::HalfIsEnough, [3, 0, 1]);
}

#[test]
fn a_copy_that_is_behind() {
    let search = Search::new(WhenSplit::DenyReadWrites);
    let last_resort = true;
    broken(
        Search {
            last_resort,
            ..search
        },
        [3, 1, 1],
    );
}

#[test]
fn a_copy_that_missed_a_view() {
    let search = Search::new(WhenSplit::DenyReadWrites);
    let keeps_loaded = true;
    broken(
        Search {
            keeps_loaded,
            ..search
        },
        [3, 0, 1],
    );
}

#[test]
fn an_owner_that_serves_again() {
    let search = Search::new(WhenSplit::DenyReadWrites);
    let serves_again = true;
    broken(
        Search {
            serves_again,
            ..search
        },
        [3, 0, 1],
    );
}

#[test]
fn a_copy_that_was_loaded_too_late() {
    let search = Search::new(WhenSplit::DenyReadWrites);
    let trusts_late = true;
    broken(
        Search {
            trusts_late,
            ..search
        },
        [3, 0, 1],
    );
}

#[test]
fn a_copy_that_goes_before_another_one_is_loaded() {
    for when_split in [WhenSplit::DenyReadWrites, WhenSplit::AllowReadWrites] {
        let search = Search::new(when_split);
        let drops_kept = true;
        broken(
            Search {
                drops_kept,
                ..search
            },
            [2, 1, 1],
        );
    }
}

#[test]
fn a_copy_that_goes_though_it_was_told_of() {
    let search = Search::new(WhenSplit::AllowReadWrites);
    let drops_told = true;
    broken(
        Search {
            drops_told,
            ..search
        },
        [4, 0, 1],
    );
}
