//! What the user or the system sends to end a command early, for those that have something to put away.

use super::outcome::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends when this process is asked to stop, or its terminal is gone; also where that was before the
/// answer is first looked at.
pub fn interrupted() -> impl Future<Output = Failure> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
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
