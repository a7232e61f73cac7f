//! One signed message to the primary over TCP, and its signed answers.
//!
//! Written here and not taken from the library's client, since that one hides why a server refused
//! a signature behind a sentence about truncated ones. Refuses to believe an answer whose signature
//! is not our key's; a bare refusal is believed, since it changes nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hickory_net::proto::op::{Message, ResponseCode};
use hickory_net::proto::rr::rdata::tsig::TsigError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::key::Key;

/// How long an exchange may take, the connection included; a zone's transfer too.
const DEADLINE: Duration = Duration::from_secs(15);

/// How many messages a transfer may have: a message holds 64 KiB.
const MAX_MESSAGES: usize = 4096;

/// Why there is no answer to go by.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server could not be asked, or did not answer: a change may have happened or not.
    Silent(String),
    /// The server refused.
    Refused {
        /// With this code.
        code: ResponseCode,
        /// And this complaint about our signature.
        signature: Option<TsigError>,
    },
    /// The answer is not signed as it should be.
    Unsigned,
}

/// Sends a message, signed, and reads answers until `last` says that one was.
pub(super) async fn exchange(
    server: &str,
    key: &Key,
    message: Message,
    now: DateTime<Utc>,
    last: impl FnMut(&Message) -> bool,
) -> Result<(), Trouble> {
    tokio::time::timeout(DEADLINE, talk(server, key, message, now, last))
        .await
        .unwrap_or_else(|_| Err(Trouble::Silent(format!("{server} did not answer in time"))))
}

async fn talk(
    server: &str,
    key: &Key,
    mut message: Message,
    now: DateTime<Utc>,
    mut last: impl FnMut(&Message) -> bool,
) -> Result<(), Trouble> {
    let silent = |why: String| Trouble::Silent(why);
    let broken = |error: std::io::Error| Trouble::Silent(format!("{server}: {error}"));
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    let verifier = message.finalize(&key.0, seconds).map_err(|e| silent(e.to_string()))?;
    let mut verifier = verifier.ok_or_else(|| silent("the message was not signed".to_owned()))?;
    let bytes = message.to_vec().map_err(|e| silent(e.to_string()))?;
    let length = u16::try_from(bytes.len()).map_err(|e| silent(e.to_string()))?;
    let mut stream = TcpStream::connect(server).await.map_err(broken)?;
    let framed = [&length.to_be_bytes(), bytes.as_slice()].concat();
    stream.write_all(&framed).await.map_err(broken)?;
    for _ in 0..MAX_MESSAGES {
        let length = stream.read_u16().await.map_err(broken)?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.map_err(broken)?;
        let answer = Message::from_vec(&bytes)
            .map_err(|error| silent(format!("{server} answers what cannot be read: {error}")))?;
        if answer.metadata.id != message.metadata.id {
            return Err(silent(format!("{server} answers another question")));
        }
        let code = answer.metadata.response_code;
        let signature = answer.signature().and_then(|tsig| tsig.data.error);
        // What was found out about the zone counts only when it is signed.
        let found = matches!(
            code,
            ResponseCode::NoError
                | ResponseCode::YXDomain
                | ResponseCode::YXRRSet
                | ResponseCode::NXDomain
                | ResponseCode::NXRRSet
        );
        if found {
            verifier.verify(&bytes).map_err(|_| Trouble::Unsigned)?;
        }
        if code != ResponseCode::NoError {
            return Err(Trouble::Refused { code, signature });
        }
        if last(&answer) {
            return Ok(());
        }
    }
    Err(silent(format!("{server} answers without end")))
}
