//! Reads from a socket as much as there is, for a reader that asks for little at a time.
//!
//! TLS asks for 4 KiB and asks again until nothing is left: several system calls for what came at
//! once, and one more that finds nothing. Here one takes all, and a short one is known to have
//! been the last. What is not asked for yet waits here; a connection of which nothing waits keeps
//! no memory for it, so that idle ones cost nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are read at once, and the most that wait here.
const AHEAD_MAX: usize = 64 << 10;

thread_local! {
    /// Where a thread reads to.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; AHEAD_MAX].into());
}

/// A byte stream that is read ahead; what is written passes.
pub struct ReadAhead<S> {
    inner: S,
    /// What was read and not asked for yet.
    rest: Vec<u8>,
    /// How much of it has been given out since.
    given: usize,
}

impl<S> ReadAhead<S> {
    /// Of which nothing has been read.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            rest: Vec::new(),
            given: 0,
        }
    }

    /// What it reads from.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Gives out of what waits. False: nothing does.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(rest @ [_, ..]) = self.rest.get(self.given..) else {
            return false;
        };
        let (some, later) = rest.split_at(rest.len().min(buffer.remaining()));
        buffer.put_slice(some);
        if later.is_empty() {
            self.rest = Vec::new();
            self.given = 0;
        } else {
            self.given += some.len();
        }
        true
    }

    /// Shares out what was read.
    fn keep(&mut self, read: &[u8], buffer: &mut ReadBuf<'_>) {
        let (some, later) = read.split_at(read.len().min(buffer.remaining()));
        buffer.put_slice(some);
        if !later.is_empty() {
            self.rest = later.to_vec();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 || self.give(buffer) {
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() >= AHEAD_MAX {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let read = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            self.keep(read.filled(), buffer);
            Poll::Ready(Ok(()))
        });
        // A thread that ends has no scratch any more.
        read.unwrap_or_else(|_| Pin::new(&mut self.inner).poll_read(cx, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// Has so many bytes, and counts how often it is read.
    struct Source {
        left: usize,
        reads: usize,
    }

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            for _ in 0..self.left.min(buffer.remaining()) {
                buffer.put_slice(&[self.left as u8]);
                self.left -= 1;
            }
            Poll::Ready(Ok(()))
        }
    }

    async fn read(stream: &mut ReadAhead<Source>, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        let count = stream.read(&mut buffer).await.expect("it has them");
        buffer.truncate(count);
        buffer
    }

    #[tokio::test]
    async fn what_is_there_is_read_at_once_and_given_in_order() {
        let mut stream = ReadAhead::new(Source { left: 10, reads: 0 });
        let mut seen = Vec::new();
        for bytes in [4, 1, 3, 8] {
            seen.extend(read(&mut stream, bytes).await);
        }
        assert_eq!(seen, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(stream.inner().reads, 1);
        assert_eq!(stream.rest.capacity(), 0, "nothing waits");
        assert!(read(&mut stream, 8).await.is_empty(), "the end");
    }

    #[tokio::test]
    async fn no_more_is_read_than_may_wait_and_the_end_is_seen() {
        let left = AHEAD_MAX + 5;
        let mut stream = ReadAhead::new(Source { left, reads: 0 });
        let mut count = 0;
        loop {
            let some = read(&mut stream, 1 << 10).await.len();
            assert!(stream.rest.len() <= AHEAD_MAX);
            if some == 0 {
                break;
            }
            count += some;
        }
        assert_eq!((count, stream.inner().reads), (left, 3));
    }
}
