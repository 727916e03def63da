//! What the user or the system sends to end a command early, for those that have something to put away.

use super::outcome::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends when this process is asked to stop; also where that was before the answer is first looked at.
/// That its terminal is gone is left to whoever started it: it may be meant to go on.
pub fn interrupted() -> impl Future<Output = Failure> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let signals: std::io::Result<Vec<Signal>> = kinds.map(signal).into_iter().collect();
    async move {
        let Ok(mut signals) = signals else {
            return Failure::failed("signals cannot be received");
        };
        let each = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(each).await;
        Failure::failed("interrupted")
    }
}
