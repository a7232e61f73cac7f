//! A way to a PostgreSQL server that is cut at the n-th request, as the death of the client cuts it.
//!
//! Before the server hears of that request, or just after: then it does what it was asked, and nobody hears
//! the answer. Refuses to let half of a request through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Which request is the last one.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// The server does not hear of this one.
    Before(usize),
    /// It does, and is not heard any more.
    After(usize),
}

/// The way; it ends with this.
pub struct Cut {
    pub address: SocketAddr,
    cut: CancellationToken,
    _end: DropGuard,
}

impl Cut {
    pub async fn start(server: SocketAddr, at: At) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, asked) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let until = cut.clone();
        tokio::spawn(cut.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (until, asked) = (until.clone(), asked.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    let passed = pass(client, server, at, &asked, &until);
                    until.run_until_cancelled(passed).await;
                });
            }
        }));
        Self { address, _end: cut.clone().drop_guard(), cut }
    }

    /// Whether it was cut.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    at: At,
    asked: &AtomicUsize,
    cut: &CancellationToken,
) {
    let ((from_client, mut to_client), (mut from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        _ = requests(from_client, to_server, at, asked, cut) => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

/// Passes on what a client says, request by request: the first message has no type.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    at: At,
    asked: &AtomicUsize,
    cut: &CancellationToken,
) -> std::io::Result<()> {
    let (mut kind, mut request) = (None, Vec::new());
    loop {
        let length = from.read_u32().await?;
        let mut rest = vec![0; length as usize - 4];
        from.read_exact(&mut rest).await?;
        request.extend(kind);
        request.extend(length.to_be_bytes());
        request.extend(rest);
        // A statement by itself, or the end of what is to be done of one that was prepared.
        let is_request = matches!(kind, Some(b'Q' | b'S'));
        let count = if is_request { asked.fetch_add(1, Ordering::SeqCst) } else { 0 };
        let is_it = |number| is_request && count >= number;
        if matches!(at, At::Before(number) if is_it(number)) {
            cut.cancel();
            return Ok(());
        }
        // Of a request that is several messages, the server hears all or nothing.
        if is_request || kind.is_none_or(|kind| matches!(kind, b'p' | b'X')) {
            to.write_all(&std::mem::take(&mut request)).await?;
        }
        if matches!(at, At::After(number) if is_it(number)) {
            cut.cancel();
            return Ok(());
        }
        kind = Some(from.read_u8().await?);
    }
}
