//! The demo, run as a user runs it.

use crate::process::embergrid;
use std::time::Duration;

#[test]
fn the_demo_holds() {
    let ended = embergrid(&["demo"], Duration::from_secs(120));
    println!("{}", ended.output);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    for step in [
        "see each other",
        "alice logs in",
        "every node knows the session",
        "exactly one succeeds",
        "told what it is, and does not use it",
        "no node knows the session any more",
        "ended with it",
        "too late is refused",
        "began and ended, once each",
        "out of the view",
        "nothing is lost",
        "loaded its partitions",
        "sessions are read from node-3",
        "does not come back",
        "steps held",
    ] {
        assert!(
            ended.output.contains(step),
            "{step:?} was not told:\n{}",
            ended.output
        );
    }
    assert!(
        !ended.output.contains('\u{1b}'),
        "colours without a terminal"
    );
}
