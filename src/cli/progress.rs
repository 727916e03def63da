//! Progress of what takes long: on standard error, on a terminal only, gone when it is done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::future::Future;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// What is done sooner shows nothing.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

/// How often it is drawn anew.
const TICK: Duration = Duration::from_millis(120);

/// A count that rises.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Of so many; none where nobody knows. Hidden where standard error is no terminal, or where
    /// standard output is one and shows itself what happens.
    pub fn counting(what: &'static str, of: Option<u64>) -> Self {
        if !Self::is_shown() {
            return Self(ProgressBar::hidden());
        }
        let form = match of {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            None => "{spinner} {msg} {human_pos} {per_sec}",
        };
        let bar = ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr());
        Self(styled(bar, form, what))
    }

    /// Whether a count is shown at all.
    pub fn is_shown() -> bool {
        io::stderr().is_terminal() && !io::stdout().is_terminal()
    }

    /// One more.
    pub fn add_one(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Waits for a call; where it takes long, says that it is waited for.
pub async fn waiting<T>(what: &'static str, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    if let Ok(done) = tokio::time::timeout(SHOWN_AFTER, &mut call).await {
        return done;
    }
    if !io::stderr().is_terminal() {
        return call.await;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let shown = Progress(styled(bar, "{spinner} {msg} {elapsed}", what));
    shown.0.enable_steady_tick(TICK);
    call.await
}

fn styled(bar: ProgressBar, form: &str, what: &'static str) -> ProgressBar {
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style).with_message(what),
        Err(_) => bar.with_message(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_waited_for() {
        assert_eq!(waiting("counting", async { 7 }).await, 7);
    }

    #[test]
    fn the_forms_can_be_read() {
        for form in [
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            "{spinner} {msg} {human_pos} {per_sec}",
            "{spinner} {msg} {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(form).is_ok(), "{form}");
        }
    }
}
