//! An authoritative DNS server for the previews' suffix, inside this process.
//!
//! A change is on disk before it is served, and served before it is answered as done. Refuses zone
//! transfers, updates over the network and names outside the suffix, and leaves alone every record
//! that does not carry this installation's stamp.

mod look;
mod zone;
mod zone_file;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::proto::ProtoError;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::sync::{Mutex, RwLock};

use self::look::{Found, look};
use self::zone::Zone;
use self::zone_file::{Entries, Entry, ZoneFile};
use super::Dns;
use crate::fault::{Fault, Progress};
use crate::preview::observed::Resolution;
use crate::preview::{Host, Seen, Stamp, Suffix};

/// How long a TCP client may be silent before its connection is closed.
const TCP_IDLE: Duration = Duration::from_secs(5);

/// How many answers may wait for one TCP client that does not read them.
const TCP_ANSWERS: usize = 32;

/// How often a free port is looked for that both UDP and TCP can have.
const PORT_TRIES: usize = 16;

/// The longest installation name whose stamp fits one TXT character-string of 255 bytes.
const MAX_INSTANCE_BYTES: usize = 255 - "mayfly=/".len() - crate::preview::name::MAX_NAME_BYTES;

/// The server, and the [`Dns`] seam to it.
pub struct EmbeddedDns {
    records: Arc<Records>,
    server: Mutex<Option<Server<Catalog>>>,
    local_addr: SocketAddr,
}

/// What is served, and what it takes to change it.
struct Records {
    zone: Zone,
    suffix: Suffix,
    instance: String,
    target: IpAddr,
    served: Arc<InMemoryZoneHandler>,
    /// `None` once the server is stopped: nothing changes any more, and another may have the file.
    kept: RwLock<Option<Kept>>,
}

struct Kept {
    file: Arc<ZoneFile>,
    entries: Entries,
}

impl EmbeddedDns {
    /// Serves `suffix` on `listen` (port 0 takes a free one), leading every host to `target`.
    /// Reads the zone file before it returns; to be called within a Tokio runtime.
    pub fn start(
        listen: SocketAddr,
        suffix: Suffix,
        instance: String,
        target: IpAddr,
        zone_file: PathBuf,
    ) -> Result<Self, Fault> {
        let doing = format!("starting the DNS server of {}", suffix.as_str());
        let refuse = |why: String| Err(Fault::permanent(&doing, why));
        if listen.ip().is_unspecified() {
            // Answers would leave from another address than the one that was asked.
            return refuse(format!("{} is every address; listen on one", listen.ip()));
        }
        if instance.is_empty() || instance.len() > MAX_INSTANCE_BYTES {
            return refuse(format!("an instance name has 1 to {MAX_INSTANCE_BYTES} bytes"));
        }
        let (file, mut entries) = ZoneFile::open(zone_file)?;
        // A record of ours leads elsewhere when the configuration changed while we were down. Mended
        // here, before anyone can see it, since no answer of `observe` would do: `Absent` plans
        // the repair but lets a teardown leave it behind, `Present` plans the teardown but never
        // the repair, and anything else plans neither.
        for (label, entry) in &mut entries {
            if is_ours(&instance, label, entry) {
                entry.address = target;
            }
        }
        let broken = |why: ProtoError| Fault::permanent(&doing, why);
        let zone = Zone::new(&suffix, listen.ip()).map_err(broken)?;
        let records = zone.records(&entries).map_err(broken)?;
        let mut served = InMemoryZoneHandler::empty(
            zone.apex().clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny, // reviewers need one name, not the list of all
        );
        *served.records_get_mut() = records;
        let served = Arc::new(served);
        let mut catalog = Catalog::new();
        catalog.upsert(zone.apex().into(), vec![served.clone()]);

        let (udp, tcp) = bind(listen)
            .map_err(|e| Fault::transient(&doing, format!("listening on {listen}: {e}")))?;
        let io = |e: std::io::Error| Fault::transient(&doing, e);
        let local_addr = udp.local_addr().map_err(io)?;
        udp.set_nonblocking(true).map_err(io)?;
        tcp.set_nonblocking(true).map_err(io)?;
        let mut server = Server::new(catalog);
        server.register_socket(tokio::net::UdpSocket::from_std(udp).map_err(io)?);
        let tcp = tokio::net::TcpListener::from_std(tcp).map_err(io)?;
        server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
        let kept = RwLock::new(Some(Kept { file: Arc::new(file), entries }));
        let records = Records { zone, suffix, instance, target, served, kept };
        Ok(Self { records: Arc::new(records), server: Mutex::new(Some(server)), local_addr })
    }

    /// Where it is served, over UDP and TCP.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends what is being changed, stops answering, and lets go of port and file. Later changes
    /// are faults, later looks are [`Seen::Unknown`].
    pub async fn shutdown(&self) {
        drop(self.records.kept.write().await.take());
        if let Some(mut server) = self.server.lock().await.take()
            && let Err(error) = server.shutdown_gracefully().await
        {
            tracing::warn!(%error, "the DNS server stopped before it was asked to");
        }
    }

    /// Changes one record, to the end even when the caller stops waiting for it.
    async fn change(&self, doing: String, host: &Host, up: bool) -> Result<(), Fault> {
        let (records, host) = (Arc::clone(&self.records), host.clone());
        let ending = doing.clone();
        tokio::spawn(async move { records.change(doing, &host, up).await })
            .await
            .unwrap_or_else(|broken| Err(Fault::transient(ending, broken)))
    }
}

impl Records {
    async fn change(&self, doing: String, host: &Host, up: bool) -> Result<(), Fault> {
        let label = host.label();
        let stamp = Stamp::new(&self.instance, &host.name).line();
        let wanted = up.then_some(Entry { address: self.target, stamp: Some(stamp) });
        let mut kept = self.kept.write().await;
        let Some(Kept { file, entries }) = kept.as_mut() else {
            return Err(Fault::transient(doing, "the DNS server is stopped"));
        };
        let before = entries.get(&label);
        if let Some(entry) = before.filter(|entry| !is_ours(&self.instance, &label, entry)) {
            return Err(Fault::not_ours(doing, whose(entry.stamp.as_deref())));
        }
        if before == wanted.as_ref() {
            return Ok(());
        }
        let mut next = entries.clone();
        match wanted {
            Some(entry) => next.insert(label, entry),
            None => next.remove(&label),
        };
        let records = self.zone.records(&next).map_err(|e| Fault::permanent(&doing, e))?;
        let file = Arc::clone(file);
        let saving = next.clone();
        tokio::task::spawn_blocking(move || file.save(&saving))
            .await
            .unwrap_or_else(|broken| Err(Fault::transient(&doing, broken)))?;
        *entries = next;
        // All at once: an address that is served before its stamp would look like a stranger's.
        *self.served.records_mut().await = records;
        Ok(())
    }

    /// What the answers mean. Both are written as one, so an address of ours that is missing or
    /// leads elsewhere was not served by us: nothing acts on that, and a person reads why.
    fn judge(&self, host: &Host, found: &Found) -> Seen<()> {
        let ours = Stamp::new(&self.instance, &host.name).line();
        match (found.addresses.as_slice(), found.texts.as_slice()) {
            ([], []) => Seen::Absent,
            (addresses, [text]) if *text == ours => match addresses {
                [address] if *address == self.target => Seen::Present(()),
                _ => Seen::Unknown(format!("leads to {addresses:?}, not to {}", self.target)),
            },
            (_, []) => Seen::Foreign(whose(None)),
            (_, texts) => Seen::Foreign(whose(Some(&texts.join(", ")))),
        }
    }
}

#[async_trait]
impl Dns for EmbeddedDns {
    async fn observe(&self, host: &Host) -> Seen<()> {
        // No change of ours may fall between the questions of one look, for the same reason.
        let _still = self.records.kept.read().await;
        match look(self.local_addr, &self.records.zone, &host.label()).await {
            Ok(found) => self.records.judge(host, &found),
            Err(why) => Seen::Unknown(why),
        }
    }

    /// There is one authoritative server, and no resolver between it and us.
    async fn resolve(&self, host: &Host) -> Resolution {
        match self.observe(host).await {
            Seen::Present(()) => Resolution::Right { addresses: [self.records.target].into() },
            Seen::Absent => Resolution::NotYet("not there".to_owned()),
            Seen::Foreign(why) | Seen::Leaving(why) | Seen::Unknown(why) => Resolution::NotYet(why),
        }
    }

    async fn ensure_record(&self, host: &Host) -> Result<Progress, Fault> {
        let full = host.full(&self.records.suffix);
        self.change(format!("writing the DNS record of {full}"), host, true).await?;
        Ok(Progress::Done)
    }

    async fn remove_record(&self, host: &Host) -> Result<(), Fault> {
        let full = host.full(&self.records.suffix);
        self.change(format!("removing the DNS record of {full}"), host, false).await
    }

    async fn owned(&self) -> Result<Vec<Host>, Fault> {
        let kept = self.records.kept.read().await;
        let Some(Kept { entries, .. }) = kept.as_ref() else {
            return Err(Fault::transient("listing DNS records", "the DNS server is stopped"));
        };
        let ours = entries
            .iter()
            .filter(|(label, entry)| is_ours(&self.records.instance, label, entry))
            .filter_map(|(label, _)| Host::parse(label));
        Ok(ours.collect())
    }
}

/// Whether a record carries the stamp that this installation gives to that host's very preview.
fn is_ours(instance: &str, label: &str, entry: &Entry) -> bool {
    Host::parse(label)
        .is_some_and(|host| entry.stamp == Some(Stamp::new(instance, &host.name).line()))
}

fn whose(stamp: Option<&str>) -> String {
    match stamp {
        Some(stamp) => format!("the record carries {stamp:?}"),
        None => "the record carries no stamp".to_owned(),
    }
}

/// One port for both: a truncated UDP answer sends the client to the same port over TCP.
fn bind(listen: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let tries = if listen.port() == 0 { PORT_TRIES } else { 1 };
    let mut last = None;
    for _ in 0..tries {
        let tcp = TcpListener::bind(listen)?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}
