//! The socket of a connection, as hyper sees it: it counts what moves, ends who takes nothing, and has what hyper
//! refuses by itself refused in our words.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::connections::{Doing, Seat};
use super::refused;

pub(super) struct Socket {
    inner: TcpStream,
    seat: Arc<Seat>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is written in place of what hyper would have.
    instead: Vec<u8>,
    has_refused: bool,
}

impl Socket {
    pub(super) fn new(inner: TcpStream, seat: Arc<Seat>) -> Self {
        Self { inner, seat, stalled: None, instead: Vec::new(), has_refused: false }
    }

    /// Whether a refusal was written in place of hyper's.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.inner
    }

    /// Takes what hyper says to a head that it does not take: nobody else has been asked yet. It is one write.
    fn put_instead(&mut self, said: &[u8]) -> bool {
        if self.seat.doing() != Doing::Head || !self.instead.is_empty() {
            return false;
        }
        let Some(answer) = refused::of_hyper(said) else { return false };
        (self.instead, self.has_refused) = (answer, true);
        true
    }

    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.instead.is_empty() {
            let written = Pin::new(&mut self.inner).poll_write(context, &self.instead);
            let count = ready!(self.watch(context, written))?;
            self.instead.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    /// Counts what was written; what was not is a client that takes nothing, which it may for so long.
    fn watch(&mut self, context: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match &written {
            Poll::Ready(Ok(count)) => {
                self.seat.moved(*count);
                self.stalled = None;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.seat.patience())));
                ready!(stalled.as_mut().poll(context));
                return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the answer is not taken")));
            }
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.seat.moved(count);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.put_instead(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_instead(context))?;
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if let Some(first) = slices.iter().find(|slice| !slice.is_empty())
            && self.put_instead(first)
        {
            return Poll::Ready(Ok(first.len()));
        }
        ready!(self.poll_instead(context))?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_instead(context))?;
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_ready() && self.seat.doing() == Doing::Answer {
            self.seat.begin(Doing::Head);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
