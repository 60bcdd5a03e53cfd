//! A byte stream as the socket of an endpoint.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::packet;

/// Packets that wait, each way. Full means that QUIC waits with what it sends, and decides then what is most
/// important; or that the stream is not read, and its peer waits.
pub(crate) const PACKETS_MAX: usize = 8;

/// The socket.
#[derive(Debug)]
pub(crate) struct StreamSocket {
    local: SocketAddr,
    peer: SocketAddr,
    outgoing: mpsc::Sender<Vec<u8>>,
    incoming: Mutex<mpsc::Receiver<Vec<u8>>>,
}

/// The stream's side of a socket.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    outgoing: mpsc::Receiver<Vec<u8>>,
    incoming: mpsc::Sender<Vec<u8>>,
}

/// A socket between two addresses, and what has to be carried for it.
pub(crate) fn socket(local: SocketAddr, peer: SocketAddr) -> (Arc<StreamSocket>, StreamEnd) {
    let (outgoing, to_stream) = mpsc::channel(PACKETS_MAX);
    let (from_stream, incoming) = mpsc::channel(PACKETS_MAX);
    let socket = StreamSocket { local, peer, outgoing, incoming: Mutex::new(incoming) };
    (Arc::new(socket), StreamEnd { outgoing: to_stream, incoming: from_stream })
}

impl StreamEnd {
    /// Carries packets until the stream ends, or nobody uses the socket any more: then the stream is closed.
    pub(crate) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            received = receive(reader, self.incoming) => received,
            sent = send(writer, self.outgoing) => sent,
        }
    }
}

async fn receive<S: AsyncRead>(mut stream: ReadHalf<S>, packets: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    while let Some(packet) = packet::read(&mut stream).await? {
        if packets.send(packet).await.is_err() {
            // Nobody reads any more; what is to be sent still is.
            return std::future::pending().await;
        }
    }
    Ok(())
}

async fn send<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    mut frames: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(mut bytes) = frames.recv().await {
        // What waits goes in one record.
        while let Ok(frame) = frames.try_recv() {
            bytes.extend_from_slice(&frame);
            if bytes.len() > usize::from(packet::PACKET_BYTES_MAX) {
                break;
            }
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
    stream.shutdown().await
}

impl AsyncUdpSocket for StreamSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(PollSender::new(self.outgoing.clone())))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // Of no length that a packet has: gone, as on a network.
        let Some(frame) = packet::framed(transmit.contents) else { return Ok(()) };
        match self.outgoing.try_send(frame) {
            // A stream that has ended: whoever carries it closes the endpoint.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        // One at a time: the buffers behind the first are never touched, and cost no memory.
        let Some(packet) = ready!(incoming.poll_recv(context)) else { return Poll::Pending };
        let length = packet.len().min(buffer.len());
        buffer[..length].copy_from_slice(&packet[..length]);
        *meta = RecvMeta { addr: self.peer, len: length, stride: length, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Tells when there is room for a packet.
struct Room(PollSender<Vec<u8>>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A stream that has ended takes everything, and loses it.
        drop(ready!(self.0.poll_reserve(context)));
        self.0.abort_send();
        Poll::Ready(Ok(()))
    }
}
