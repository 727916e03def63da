//! The thread that carries heartbeats and membership: control streams, probes and the engine's
//! timeouts run on a runtime of their own, so that load on the others cannot make a node look
//! dead.

use super::core::Core;
use super::dialer::Dialer;
use super::outside::Wanted;
use super::probes;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::link::LinkOptions;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::sync::mpsc;

/// Between two looks for members of the view to which no link stands.
const KEEP_INTERVAL: Duration = Duration::from_millis(500);

/// How soon the engine is called again where it wants to be called at once: the resolution of
/// the runtime's timers.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What the control thread works with.
pub(super) struct Duties {
    pub(super) core: Arc<Core>,
    pub(super) links: LinkOptions,
    pub(super) endpoints: Vec<(String, u16)>,
    pub(super) dials: mpsc::Receiver<Wanted>,
    pub(super) thread_priority: u8,
}

/// Starts the thread; it ends when the node stops.
///
/// # Errors
///
/// `Internal` where the system gives no thread.
pub(super) fn start(duties: Duties) -> Result<(Runtime, JoinHandle<()>)> {
    let failed = |error: std::io::Error| {
        Error::new(
            ErrorKind::Internal,
            format!("the control thread cannot start: {error}"),
        )
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            super::priority::apply(duties.thread_priority);
            runtime.block_on(run(duties));
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok((handle, thread))
}

async fn run(duties: Duties) {
    let Duties {
        core,
        links,
        endpoints,
        dials,
        ..
    } = duties;
    let dialer = Dialer::new(Arc::clone(&core), links);
    probes::begin(&core, &dialer, &endpoints);
    tokio::select! {
        () = core.outside.stopped() => {}
        () = call_timeouts(&core) => {}
        () = dial_wanted(&dialer, dials) => {}
        () = keep_linked(&core, &dialer) => {}
    }
    core.outside.links.close();
}

/// Calls the engine whenever it wants to be called.
async fn call_timeouts(core: &Core) {
    loop {
        // Before the question, so that whatever becomes due behind it rings.
        core.timer.arm();
        match core.grid.next_timeout() {
            None => core.timer.earlier().await,
            Some(next) => {
                core.timer.expect(next);
                let wait = core.clock.until(next).max(SHORTEST_WAIT);
                let _ = tokio::time::timeout(wait, core.timer.earlier()).await;
            }
        }
        let now = core.clock.now();
        if core.grid.next_timeout().is_some_and(|next| next <= now) {
            core.grid.on_timeout(now);
        }
    }
}

/// Dials whom the engine wants, each in a task of its own.
async fn dial_wanted(dialer: &Arc<Dialer>, mut dials: mpsc::Receiver<Wanted>) {
    while let Some(wanted) = dials.recv().await {
        let dialer = Arc::clone(dialer);
        tokio::spawn(async move {
            match wanted {
                Wanted::Fresh(peer) => dialer.dial(&peer).await,
                Wanted::Missing(peer) => dialer.dial_missing(&peer).await,
            }
        });
    }
    std::future::pending().await
}

/// Dials members of the view to which no link stands, also those that are not on the list.
async fn keep_linked(core: &Core, dialer: &Arc<Dialer>) {
    loop {
        tokio::time::sleep(KEEP_INTERVAL).await;
        let me = core.grid.me().member;
        for peer in &core.outside.view().nodes {
            if peer.member == me || core.outside.links.is_up(peer.member) {
                continue;
            }
            let (dialer, peer) = (Arc::clone(dialer), peer.clone());
            tokio::spawn(async move { dialer.dial_missing(&peer).await });
        }
    }
}
