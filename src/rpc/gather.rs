//! Gathers what is written to a connection, and writes it when the tasks that are ready have run.
//!
//! HTTP/2 flushes whenever a task hands it something, and the runtime runs the connection right
//! behind that task: so of thirty answers that are ready at the same time each would be sealed and
//! handed to the system by itself, which costs more than all that the answer does. Here a flush
//! waits until the thread has nothing else to run: no timer, and no longer than the runtime lets
//! any task wait that gives way.
//!
//! A flush that waits is said to be done, since HTTP/2 would hold back what comes meanwhile; the
//! task of the connection is woken for it, and whatever that one does then, reading or flushing,
//! writes first. What is written goes out before the end of the connection is said. The bytes keep
//! their order; a connection that is dropped without its end being said loses what waits here.

use futures_util::task::AtomicWaker;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many bytes are written without waiting for more, and what is as long is not gathered: as much
/// as one TLS record holds.
const GATHERED_MAX: usize = 16 << 10;

/// A connection that has nothing to write keeps no more memory for it than this.
const KEPT_MAX: usize = 4 << 10;

/// A byte stream that gathers what is written to it, once that is switched on.
pub struct Gathered<S> {
    inner: S,
    /// Whether it gathers; otherwise all passes.
    on: bool,
    waiting: Vec<u8>,
    /// How much of `waiting` has been written.
    written: usize,
    /// A flush waits for its turn.
    deferred: bool,
    turn: Arc<Turn>,
    waker: Waker,
}

/// When a flush that waits may go.
#[derive(Default)]
struct Turn {
    came: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.came.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<S> Gathered<S> {
    /// A stream that passes all on.
    pub fn off(inner: S) -> Self {
        let turn = Arc::new(Turn::default());
        Self {
            inner,
            on: false,
            waiting: Vec::new(),
            written: 0,
            deferred: false,
            waker: Waker::from(Arc::clone(&turn)),
            turn,
        }
    }

    /// A stream that gathers.
    pub fn on(inner: S) -> Self {
        Self::off(inner).switched_on()
    }

    /// The same, gathering from now on.
    #[must_use]
    pub fn switched_on(mut self) -> Self {
        self.on = true;
        self
    }

    /// What it writes to.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes what was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.waiting.get(self.written..) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.written = 0;
        if self.waiting.capacity() > KEPT_MAX {
            self.waiting = Vec::new();
        } else {
            self.waiting.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes and flushes everything now.
    fn poll_flush_now(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.deferred = false;
        Poll::Ready(Ok(()))
    }

    /// Asks to be woken when the thread has nothing else to run.
    fn defer(&mut self, cx: &Context<'_>) {
        self.deferred = true;
        self.turn.came.store(false, Ordering::Release);
        self.turn.task.register(cx.waker());
        let given_way = pin!(tokio::task::yield_now());
        let _ = given_way.poll(&mut Context::from_waker(&self.waker));
    }

    /// Whether bytes are to be kept for a while; writes what was kept where it has become much.
    fn poll_keeps(&mut self, bytes: usize, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.on {
            return Poll::Ready(Ok(false));
        }
        if self.waiting.len() + bytes > GATHERED_MAX {
            ready!(self.poll_drain(cx))?;
        }
        Poll::Ready(Ok(bytes < GATHERED_MAX))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deferred {
            self.turn.task.register(cx.waker());
            if self.turn.came.load(Ordering::Acquire)
                && let Poll::Ready(Err(error)) = self.poll_flush_now(cx)
            {
                return Poll::Ready(Err(error));
            }
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_keeps(bytes.len(), cx))? {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if !ready!(self.poll_keeps(bytes, cx))? {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        }
        for slice in slices {
            self.waiting.extend_from_slice(slice);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_empty() {
            return self.poll_flush_now(cx);
        }
        if !self.deferred {
            self.defer(cx);
        } else {
            self.turn.task.register(cx.waker());
        }
        if self.turn.came.load(Ordering::Acquire) {
            return self.poll_flush_now(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush_now(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Notes every write; to be read there is nothing but the end.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<usize>>>, Arc<Mutex<Vec<u8>>>);

    impl AsyncRead for Seen {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Seen {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.lock().push(bytes.len());
            self.1.lock().extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Seen {
        fn writes(&self) -> Vec<usize> {
            self.0.lock().clone()
        }
    }

    async fn say(stream: &mut Gathered<Seen>, bytes: &[u8]) {
        stream.write_all(bytes).await.expect("it takes all");
        stream.flush().await.expect("it takes all");
    }

    #[tokio::test]
    async fn what_is_flushed_while_others_run_is_written_once() {
        let seen = Seen::default();
        let mut stream = Gathered::on(seen.clone());
        say(&mut stream, b"one ").await;
        say(&mut stream, b"two").await;
        assert!(seen.writes().is_empty());
        tokio::task::yield_now().await;
        stream.flush().await.expect("it takes all");
        assert_eq!(seen.writes(), [7]);
        assert_eq!(*seen.1.lock(), b"one two");
    }

    #[tokio::test]
    async fn whoever_reads_next_writes_what_is_due() {
        let seen = Seen::default();
        let mut stream = Gathered::on(seen.clone());
        say(&mut stream, b"one").await;
        tokio::task::yield_now().await;
        assert_eq!(stream.read(&mut [0; 8]).await.expect("the end"), 0);
        assert_eq!(seen.writes(), [3]);
    }

    #[tokio::test]
    async fn the_task_is_woken_for_what_waits() {
        let seen = Seen::default();
        let mut stream = Gathered::on(seen.clone());
        let mut first = true;
        // Ends only if the flush that waits wakes it.
        let ended = std::future::poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                let written = Pin::new(&mut stream).poll_write(cx, b"one");
                assert!(matches!(written, Poll::Ready(Ok(3))));
                assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
                return Poll::Pending;
            }
            Pin::new(&mut stream).poll_flush(cx)
        });
        let limit = std::time::Duration::from_secs(10);
        let ended = tokio::time::timeout(limit, tokio::spawn(ended)).await;
        assert!(matches!(ended, Ok(Ok(Ok(())))));
        assert_eq!(seen.writes(), [3]);
    }

    #[tokio::test]
    async fn what_is_long_goes_at_once_behind_what_waits() {
        let seen = Seen::default();
        let mut stream = Gathered::on(seen.clone());
        say(&mut stream, b"short").await;
        stream
            .write_all(&[0; GATHERED_MAX])
            .await
            .expect("it takes all");
        assert_eq!(seen.writes(), [5, GATHERED_MAX]);
    }

    #[tokio::test]
    async fn the_end_is_said_behind_all_that_was_written() {
        let seen = Seen::default();
        let mut stream = Gathered::on(seen.clone());
        say(&mut stream, b"last words").await;
        stream.shutdown().await.expect("it ends");
        assert_eq!(seen.writes(), [10]);
    }

    #[tokio::test]
    async fn what_is_off_gathers_nothing() {
        let seen = Seen::default();
        let mut stream = Gathered::off(seen.clone());
        say(&mut stream, b"one").await;
        say(&mut stream, b"two").await;
        assert_eq!(seen.writes(), [3, 3]);
    }
}
