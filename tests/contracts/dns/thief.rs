//! Stands before a DNS server: questions pass over UDP, and what is answered over TCP is lost.
//!
//! Refuses to lose what was sent: the server gets every byte of it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::LOOPBACK;

/// Where it listens; it goes on for as long as the test.
pub async fn steal_answers(server: SocketAddr) -> SocketAddr {
    let tcp = TcpListener::bind(LOOPBACK).await.unwrap();
    let here = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(here).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let beyond = UdpSocket::bind(LOOPBACK).await.unwrap();
            beyond.send_to(&buffer[..length], server).await.unwrap();
            if let Ok(length) = beyond.recv(&mut buffer).await {
                udp.send_to(&buffer[..length], from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut client, _)) = tcp.accept().await {
            let mut beyond = TcpStream::connect(server).await.unwrap();
            let length = client.read_u16().await.unwrap();
            let mut message = vec![0; length.into()];
            client.read_exact(&mut message).await.unwrap();
            beyond.write_all(&[&length.to_be_bytes(), message.as_slice()].concat()).await.unwrap();
            beyond.read_u16().await.unwrap(); // it was answered, and nobody hears
        }
    });
    here
}
