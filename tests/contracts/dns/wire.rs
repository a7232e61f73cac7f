//! What the embedded server says on the wire, and what a look makes of silence.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hickory_server::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RecordType};
use mayfly::dns::Dns;
use mayfly::dns::embedded::EmbeddedDns;
use mayfly::preview::{Seen, Suffix};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{INSTANCE, LOOPBACK, Place, SUFFIX, TARGET, pr, serve, within};

fn question(host: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(host).unwrap(), kind));
    message
}

async fn ask_udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = within(socket.recv(&mut answer)).await.unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

async fn ask_tcp(server: SocketAddr, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    let mut stream = within(TcpStream::connect(server)).await.unwrap();
    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = within(stream.read_u16()).await.unwrap();
    let mut answer = vec![0; length.into()];
    within(stream.read_exact(&mut answer)).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn records_of_ours_follow_a_new_target() {
    let place = Place::with(&[("pr-666", TARGET, None)]);
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    dns.shutdown().await;
    let target = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let dns = serve(&place.file(), target).unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
    let host = format!("pr-666.{SUFFIX}.");
    let answer = ask_udp(dns.local_addr(), &question(&host, RecordType::A)).await;
    assert_eq!(answer.answers[0].data.ip_addr(), Some(TARGET), "not ours, and left as it was");
    dns.remove_record(&pr(7)).await.unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent);
}

#[tokio::test]
async fn a_suffix_that_resolvers_answer_themselves_is_asked_of_the_server_all_the_same() {
    let place = Place::empty();
    let suffix = Suffix::parse("preview.localhost").unwrap();
    let dns = EmbeddedDns::start(LOOPBACK, suffix, INSTANCE.to_owned(), TARGET, place.file());
    let dns = dns.unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent);
    dns.ensure_record(&pr(7)).await.unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
}

#[tokio::test]
async fn a_stopped_server_is_seen_as_unknown() {
    let place = Place::empty();
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    within(dns.shutdown()).await;
    for name in [pr(7), pr(8)] {
        let seen = within(dns.observe(&name)).await;
        assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
    }
    within(dns.shutdown()).await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_seen_as_unknown() {
    let place = Place::empty();
    let dns = place.serve();
    dns.shutdown().await;
    let _silent = UdpSocket::bind(dns.local_addr()).await.unwrap();
    let seen = within(dns.observe(&pr(7))).await;
    assert!(matches!(seen, Seen::Unknown(_)), "{seen:?}");
}

#[tokio::test]
async fn udp_and_tcp_give_the_same_answers() {
    let place = Place::empty();
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    let host = format!("PR-7.{SUFFIX}."); // names are compared without case
    for kind in [RecordType::A, RecordType::TXT] {
        let question = question(&host, kind);
        let udp = ask_udp(dns.local_addr(), &question).await;
        let tcp = ask_tcp(dns.local_addr(), &question).await;
        assert_eq!(udp.answers, tcp.answers);
        assert!(udp.metadata.authoritative && tcp.metadata.authoritative);
        assert_eq!(udp.answers.len(), 1);
        assert!((1..=5).contains(&udp.answers[0].ttl));
    }
}

#[tokio::test]
async fn an_unknown_name_is_denied_with_a_short_lived_soa() {
    let place = Place::empty();
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    for (label, kind, code) in [
        ("pr-8", RecordType::A, ResponseCode::NXDomain),
        ("pr-7", RecordType::AAAA, ResponseCode::NoError),
    ] {
        let host = format!("{label}.{SUFFIX}.");
        let answer = ask_udp(dns.local_addr(), &question(&host, kind)).await;
        assert_eq!(answer.metadata.response_code, code);
        assert_eq!(answer.answers, []);
        let soa = &answer.authorities[0];
        assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, 1));
        assert_eq!(soa.name, Name::from_ascii(format!("{SUFFIX}.")).unwrap());
    }
}

#[tokio::test]
async fn names_outside_the_zone_are_refused() {
    let place = Place::empty();
    let dns = place.serve();
    for host in ["example.test.", "pr-7.example.org.", "."] {
        let answer = ask_udp(dns.local_addr(), &question(host, RecordType::A)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{host}");
    }
}

#[tokio::test]
async fn nobody_can_list_or_change_the_zone_from_outside() {
    let place = Place::empty();
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    let apex = format!("{SUFFIX}.");
    for host in [apex.clone(), format!("pr-7.{SUFFIX}.")] {
        let question = question(&host, RecordType::AXFR);
        let udp = ask_udp(dns.local_addr(), &question).await;
        let tcp = ask_tcp(dns.local_addr(), &question).await;
        for answer in [udp, tcp] {
            assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
            assert_eq!(answer.answers, []);
        }
    }
    let mut update = question(&apex, RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    let answer = ask_udp(dns.local_addr(), &update).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
}
