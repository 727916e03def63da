//! Where a test plays: in network namespaces of its own where the system permits them, else on
//! loopback behind proxies. A test that gets namespaces runs once more as a process inside them, so
//! that nothing of it is left on the machine, however it ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Set inside the namespaces: the file that says that the body was run to its end.
const INSIDE: &str = "EMBERGRID_STAGE";
/// `proxies` keeps all tests on loopback.
const WANTED: &str = "EMBERGRID_NETWORK";

/// How nodes are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Each node in a network namespace, cut off by routing rules: packets vanish.
    Namespaces,
    /// All on loopback, each node behind a proxy of the harness: bytes stop.
    Proxies,
}

/// What a body needs once it is inside: its own place for the names of namespaces.
const ENTER: &str = "mount -t tmpfs tmpfs /run && exec \"$@\"";

/// What must work there.
const TRIAL: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && ip netns add trial \
     && ip link add trial0 type veth peer name e0 netns trial \
     && echo 1 > /proc/sys/net/ipv4/ip_forward \
     && ip rule add pref 100 from 10.77.1.2 to 10.77.2.2 blackhole";

/// The ways to enter: as root, or as anybody who may have a user namespace.
const WAYS: &[&[&str]] = &[
    &["--net", "--mount"],
    &["--user", "--map-root-user", "--net", "--mount"],
];

/// The first way that works; none: no namespaces here.
fn way() -> Option<&'static [&'static str]> {
    static WAY: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    *WAY.get_or_init(|| {
        WAYS.iter().copied().find(|way| {
            let mut trial = Command::new("unshare");
            trial.args(*way).args(["sh", "-c", TRIAL]);
            trial.stdin(Stdio::null());
            trial.stdout(Stdio::null()).stderr(Stdio::null());
            trial.status().is_ok_and(|status| status.success())
        })
    })
}

/// One test at a time: each of them is a cluster that wants the processors.
static TURN: Mutex<()> = Mutex::new(());

/// Runs the body of the test of this name on the best ground there is.
pub fn on_best_ground(test: &str, body: impl FnOnce(Ground)) {
    if let Ok(done) = std::env::var(INSIDE) {
        body(Ground::Namespaces);
        std::fs::write(done, "done").expect("the file was made for that");
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let proxies = std::env::var(WANTED).is_ok_and(|wanted| wanted == "proxies");
    match way().filter(|_| !proxies) {
        Some(way) => run_inside(way, test),
        None => body(Ground::Proxies),
    }
}

/// Runs a body behind proxies, whatever else there is.
pub fn behind_proxies(body: impl FnOnce(Ground)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    body(Ground::Proxies);
}

fn run_inside(way: &[&str], test: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let done = folder.path().join("done");
    let program = std::env::current_exe().expect("this program");
    let mut inside = Command::new("unshare");
    inside
        .args(way)
        .args(["sh", "-c", ENTER, "sh"])
        .arg(program);
    inside
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, &done);
    let status = inside.status().expect("unshare worked a moment ago");
    // A name that matches no test would succeed without having done anything.
    assert!(
        status.success() && Path::new(&done).exists(),
        "{test}: {status}"
    );
}
