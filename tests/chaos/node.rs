//! This program as a node, for where what a node tells its peers is not where it listens: behind a
//! proxy. Everything else is the program `embergrid node`.

use embergrid::Node;
use embergrid::config::Settings;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

/// Where to listen; with it, the test below is a node.
pub const LISTEN: &str = "EMBERGRID_LISTEN";
/// Its settings file.
pub const SETTINGS: &str = "EMBERGRID_NODE_SETTINGS";
/// A fault that the node shall have, as the program itself knows it in debug builds.
#[cfg(debug_assertions)]
pub const PLANTED: &str = "EMBERGRID_PLANTED";
/// What runs the test below and nothing else.
pub const ARGUMENTS: [&str; 3] = ["node::a_node_of_its_own", "--exact", "--nocapture"];

#[test]
fn a_node_of_its_own() {
    let Ok(listen) = std::env::var(LISTEN) else {
        return;
    };
    let file = std::env::var(SETTINGS).expect("the settings of the node");
    let settings = Settings::load(Some(Path::new(&file)), Vec::new(), Vec::new());
    let settings = settings.unwrap_or_else(|problems| panic!("{problems:?}"));
    #[cfg(debug_assertions)]
    if let Ok(fault) = std::env::var(PLANTED) {
        assert!(embergrid::engine::planted::plant_everywhere(&fault));
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(&listen).expect("its port is free");
        let node = Node::start_on(&settings, listener).expect("it starts");
        // A thread that nobody waits for: reading standard input cannot be cancelled.
        let (ended, stop) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read(&mut [0]);
            let _ = ended.send(());
        });
        tokio::select! {
            ended = node.run_until_stopped() => ended.expect("a cluster"),
            _ = stop => {}
        }
    });
}
