//! The socket of one process life.

use super::Net;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) net: Net,
    pub(super) addr: SocketAddr,
    pub(super) life: u64,
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut inner = self.net.lock();
        if inner.boxes.get(&self.addr).map(|mailbox| mailbox.life) != Some(self.life) {
            // The process is dead; its last words are not heard.
            return Ok(());
        }
        let whole = transmit.contents.len().max(1);
        for data in transmit
            .contents
            .chunks(transmit.segment_size.unwrap_or(whole))
        {
            inner.send(self.addr, transmit.destination, data);
        }
        drop(inner);
        self.net.wake.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.net.lock();
        let mailbox = inner.boxes.get_mut(&self.addr).unwrap();
        if mailbox.life != self.life {
            return Poll::Pending;
        }
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
            let Some((from, data)) = mailbox.queue.pop_front() else {
                break;
            };
            let len = data.len().min(buf.len());
            buf[..len].copy_from_slice(&data[..len]);
            *meta = RecvMeta {
                addr: from,
                len,
                stride: len,
                ..RecvMeta::default()
            };
            count += 1;
        }
        if count == 0 {
            mailbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
