//! `node`: runs one node of a cluster until it is told to stop.

use super::idle_memory;
use super::outcome::{Answer, Failure, Outcome};
use super::output;
use super::overrides::NodeOverrides;
use super::settings::{self, User};
use crate::config::{Checked, Settings};
use crate::node::Handle;
use crate::service::server::ServingNode;
use crate::types::{CacheSettings, View};
use clap::Args;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, such as `info` or `embergrid::node=debug`.
const LOG_VARIABLE: &str = "EMBERGRID_LOG";

/// How often a node that starts looks whether it serves.
const SERVING_POLL: Duration = Duration::from_millis(2);

/// Run one node until it is told to stop (SIGTERM or SIGINT: leave in order; a second: at once)
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  embergrid node --addresses 10.0.0.1:47500,10.0.0.2:47500 \
                        --node-name node-1 --key node-1.key.pem --trust authority.pem\n\n\
                        Log: EMBERGRID_LOG=info embergrid node --config embergrid.toml"
)]
pub struct Arguments {
    /// Settings file; flags and EMBERGRID_SECTION__NAME variables override it
    #[arg(long, env = "EMBERGRID_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: NodeOverrides,
    /// Speak this version of the protocol between nodes: for tests of nodes of two versions
    #[arg(long, hide = true, value_name = "VERSION")]
    protocol: Option<u32>,
    /// Stop when standard input ends: a parent that dies takes the node with it
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub(super) fn run(arguments: Arguments) -> Outcome {
    let flags = arguments.overrides.flags();
    let Checked {
        mut settings,
        problems,
        ..
    } = settings::examine(arguments.config.as_deref(), flags, User::Node);
    if !problems.is_empty() {
        return Err(Failure::settings(&problems));
    }
    settings.cluster.protocol = arguments.protocol;
    log_to_standard_error()?;
    #[cfg(debug_assertions)]
    plant_fault()?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if settings.ignored > 0 {
        tracing::info!(
            names = settings.ignored,
            "names of others in the settings file were passed over"
        );
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("embergrid")
        .on_thread_park(idle_memory::give_back)
        .build()
        .map_err(|error| Failure::failed(format!("start the runtime: {error}")))?
        .block_on(serve(&settings, arguments.stop_with_stdin))
}

fn log_to_standard_error() -> Result<(), Failure> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(text) => EnvFilter::try_new(text)
            .map_err(|error| Failure::usage(format!("{LOG_VARIABLE}: {error}")))?,
        Err(_) => EnvFilter::new("warn,embergrid=info"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}

/// The variable by which a test of the checkers names a fault of the engine. In debug builds
/// only: no other has the faults.
#[cfg(debug_assertions)]
const PLANTED_VARIABLE: &str = "EMBERGRID_PLANTED";

#[cfg(debug_assertions)]
fn plant_fault() -> Result<(), Failure> {
    let Ok(name) = std::env::var(PLANTED_VARIABLE) else {
        return Ok(());
    };
    if !crate::node::plant_everywhere(&name) {
        let text = format!("{PLANTED_VARIABLE}: no fault is called {name:?}");
        return Err(Failure::usage(text));
    }
    tracing::warn!(name, "a fault is planted: this node breaks promises");
    Ok(())
}

async fn serve(settings: &Settings, stop_with_stdin: bool) -> Outcome {
    let mut orders = Orders::listen(stop_with_stdin)?;
    let node = ServingNode::start(settings)?;
    let announced = tokio::spawn(announce(
        node.handle(),
        settings.caches.clone(),
        settings.discovery.network_timeout,
    ));
    let ended = tokio::select! {
        ended = node.run_until_stopped() => Some(ended),
        () = orders.next() => None,
    };
    announced.abort();
    match ended {
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(())) => tracing::info!("drained: what this node owned is with others, and it left"),
        None => tracing::info!("leaving in order; a second signal stops at once"),
    }
    tokio::select! {
        () = node.shut_down() => Ok(Answer::Yes),
        () = orders.next() => Err(Failure::failed("stopped at once")),
    }
}

/// Prints one line, for people and programs that wait for it, as soon as the node serves and the
/// caches of its settings are known; for those it waits `limit` at most.
async fn announce(handle: Handle, caches: Vec<CacheSettings>, limit: Duration) {
    let mut views = handle.views();
    // An error means that the node stops; then nobody waits for this line.
    if views
        .wait_for(|view| view.version.number > 0)
        .await
        .is_err()
    {
        return;
    }
    while !handle.serving() {
        tokio::time::sleep(SERVING_POLL).await;
    }
    let known = |view: &Arc<View>| {
        caches
            .iter()
            .all(|cache| view.cache_named(&cache.name).is_some())
    };
    // At the end of the limit the node serves what there is; others answer NOT_FOUND.
    let _ = tokio::time::timeout(limit, views.wait_for(known)).await;
    let me = handle.me();
    output::line(format_args!(
        "embergrid: node {} serving on {} (cluster of {})",
        me.consistent_id,
        me.address,
        handle.view().nodes.len()
    ));
}

/// The orders to stop: signals, and the end of standard input where that is asked for.
struct Orders {
    interrupt: Signal,
    terminate: Signal,
    parent: mpsc::Receiver<()>,
    /// Kept so that the channel stays open where nobody watches standard input.
    _open: mpsc::Sender<()>,
}

impl Orders {
    fn listen(stop_with_stdin: bool) -> Result<Self, Failure> {
        let refused = |error| Failure::failed(format!("signals cannot be received: {error}"));
        // Two orders at most: leave, and the second that stops at once.
        let (sender, parent) = mpsc::channel(2);
        if stop_with_stdin {
            watch_standard_input(sender.clone())?;
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            parent,
            _open: sender,
        })
    }

    /// The next order.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.parent.recv() => {}
        }
    }
}

/// Done when standard input ends.
pub(super) async fn standard_input_ended() {
    let (sender, mut ended) = mpsc::channel(2);
    if watch_standard_input(sender).is_ok() {
        let _ = ended.recv().await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// A thread of its own: reading standard input cannot be cancelled. It ends with the process.
fn watch_standard_input(orders: mpsc::Sender<()>) -> Result<(), Failure> {
    std::thread::Builder::new()
        .name("standard-input".to_owned())
        .spawn(move || {
            let mut ignored = [0; 64];
            while matches!(std::io::stdin().lock().read(&mut ignored), Ok(1..)) {}
            // The parent is gone: leave nothing behind, and do not wait for peers that go too.
            let _ = orders.try_send(());
            let _ = orders.try_send(());
        })
        .map(drop)
        .map_err(|error| Failure::failed(format!("start a thread: {error}")))
}
