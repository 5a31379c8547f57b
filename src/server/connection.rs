//! Limits on clients: the number of connections, and the time a response may stay unread.
//!
//! The server limits the time for headers, hyper their size, and bodies are limited where they are read. HTTP/2 is not
//! offered: nothing here needs it, and its resets and header tables add attack surface.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Maximum number of connections. Each costs some 20 KiB; regular clients need a handful.
pub(super) const MOST: usize = 2048;

/// Time after which a connection is closed if the client has read no byte of a response.
pub(super) const UNREAD_FOR: Duration = Duration::from_secs(30);

/// Accepts at most [`MOST`] connections at a time, and closes further ones immediately.
#[derive(Clone)]
pub(super) struct LimitedAcceptor<A> {
    inner: A,
    places: Arc<Semaphore>,
}

impl<A> LimitedAcceptor<A> {
    /// Wraps `inner`, with [`MOST`] slots.
    pub(super) fn new(inner: A) -> Self {
        Self {
            inner,
            places: Arc::new(Semaphore::new(MOST)),
        }
    }
}

impl<A, I, S> Accept<I, S> for LimitedAcceptor<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
{
    type Stream = Connection<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let full = io::Error::other("too many connections");
            return Box::pin(std::future::ready(Err(full)));
        };
        let accepting = self.inner.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            Ok((Connection::new(stream, place), service))
        })
    }
}

/// A connection that holds a slot, and ends when its client has left a response unread for too long.
pub(super) struct Connection<T> {
    stream: T,
    /// Deadline of the blocked write.
    waits: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl<T> Connection<T> {
    fn new(stream: T, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            waits: None,
            _place: place,
        }
    }

    /// Returns `written`, or an error once the deadline has passed.
    fn in_time<N>(
        &mut self,
        written: Poll<io::Result<N>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<N>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self
            .waits
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD_FOR)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.in_time(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn connection(
        door: &LimitedAcceptor<axum_server::accept::DefaultAcceptor>,
    ) -> io::Result<(Connection<DuplexStream>, DuplexStream)> {
        let (here, there) = duplex(16);
        let (connection, ()) = door.accept(here, ()).await?;
        Ok((connection, there))
    }

    /// Attack: connections without end. Defence: their number is limited, and a closed one makes room for another.
    #[tokio::test]
    async fn connections_are_limited() {
        let door = LimitedAcceptor::new(axum_server::accept::DefaultAcceptor);
        let mut all = Vec::new();
        for _ in 0..MOST {
            all.push(connection(&door).await.unwrap());
        }
        assert!(connection(&door).await.is_err());
        all.pop();
        assert!(connection(&door).await.is_ok());
    }

    /// Attack: responses that are requested and never read, each of which is held in memory. Defence: a write that is
    /// blocked for half a minute ends its connection; a slow one that makes progress does not.
    #[tokio::test(start_paused = true)]
    async fn unread_response_ends_its_connection() {
        let door = LimitedAcceptor::new(axum_server::accept::DefaultAcceptor);
        let (mut connection, mut client) = connection(&door).await.unwrap();
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 16];
            for _ in 0..3 {
                tokio::time::sleep(UNREAD_FOR / 2).await;
                client.read_exact(&mut bytes).await.unwrap();
            }
            client
        });
        connection.write_all(&[1; 64]).await.unwrap();
        let _unread = reading.await.unwrap();
        let error = connection.write_all(&[1; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
