//! One process asks, another one answers when it can: what nodes of an evaluation and the process that keeps its journal say to each other.
//!
//! From and to: bytes of at most [`ERRAND_BYTES_MAX`]; what they mean is theirs. A query that nobody takes up is refused at once, one whose
//! answer is lost is asked again by whoever needs it: it must not matter.

use super::peer::transport;
use super::transport::BridgeSession;
use crate::session::RobotName;
use egogrid_runtime::endpoint::EndpointError;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::time::Duration;
use zenoh::Wait;
use zenoh::query::Query;

/// Largest query and answer, bytes.
pub const ERRAND_BYTES_MAX: usize = 1 << 20;
/// Queries that wait; more are refused.
const ERRANDS_WAITING_MAX: usize = 64;
/// Longest refusal that is shown.
const REFUSAL_BYTES_MAX: usize = 4096;

/// Takes queries on one key until it is dropped.
#[derive(Debug)]
pub struct ErrandServer {
    errands: Receiver<Errand>,
    _queryable: zenoh::query::Queryable<()>,
}

/// One query. Dropped without an answer, the asker is told so.
#[derive(Debug)]
pub struct Errand {
    payload: Vec<u8>,
    query: Query,
}

impl ErrandServer {
    /// Declares `egogrid/<name>/<rest>`.
    ///
    /// # Errors
    /// The transport.
    pub fn serve(session: &BridgeSession, name: &RobotName, rest: &str) -> Result<Self, EndpointError> {
        let (send, errands) = sync_channel(ERRANDS_WAITING_MAX);
        let taken = move |query: Query| {
            let size = query.payload().map_or(0, zenoh::bytes::ZBytes::len);
            if size > ERRAND_BYTES_MAX {
                return refuse(&query, &format!("{size} bytes, at most {ERRAND_BYTES_MAX} are read"));
            }
            let payload = query.payload().map(|bytes| bytes.to_bytes().into_owned()).unwrap_or_default();
            match send.try_send(Errand { payload, query }) {
                Ok(()) => {}
                Err(TrySendError::Full(errand)) => {
                    refuse(&errand.query, &format!("{ERRANDS_WAITING_MAX} queries wait already; ask again"));
                }
                Err(TrySendError::Disconnected(errand)) => refuse(&errand.query, "nobody answers any more"),
            }
        };
        let key = name.key(rest);
        let declared = session.zenoh().declare_queryable(&key).callback(taken).wait();
        Ok(Self { errands, _queryable: declared.map_err(|error| transport(&key, &error))? })
    }

    /// The next query; none within `wait_max`.
    pub fn next(&self, wait_max: Duration) -> Option<Errand> {
        self.errands.recv_timeout(wait_max).ok()
    }
}

impl Errand {
    /// What was asked.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Answers it. Whoever is gone asks again or does not need it.
    pub fn answer(self, payload: Vec<u8>) {
        if let Err(error) = self.query.reply(self.query.key_expr().clone(), payload).wait() {
            tracing::debug!("{}: nobody waits for the answer: {error}", self.query.key_expr());
        }
    }

    /// Refuses it, in words.
    pub fn refuse(self, why: &str) {
        refuse(&self.query, why);
    }
}

fn refuse(query: &Query, why: &str) {
    if let Err(error) = query.reply_err(why.as_bytes()).wait() {
        tracing::debug!("{}: nobody waits for the refusal {why:?}: {error}", query.key_expr());
    }
}

/// Asks `egogrid/<name>/<rest>`.
///
/// # Errors
/// Nobody answers within `wait_max`, the answer is too large, or it is a refusal.
pub fn run_errand(
    session: &BridgeSession,
    name: &RobotName,
    rest: &str,
    payload: Vec<u8>,
    wait_max: Duration,
) -> Result<Vec<u8>, EndpointError> {
    let key = name.key(rest);
    let answer = ask_once(session, &key, payload, &key, wait_max)?;
    if answer.len() > ERRAND_BYTES_MAX {
        let detail = format!("{} bytes, at most {ERRAND_BYTES_MAX} are read", answer.len());
        return Err(EndpointError::Malformed { peer: key, detail });
    }
    Ok(answer)
}

/// One query on `key`; the first answer as it came. `whom`: who is missed when none comes.
pub(super) fn ask_once(
    session: &BridgeSession,
    key: &str,
    payload: Vec<u8>,
    whom: &str,
    wait_max: Duration,
) -> Result<Vec<u8>, EndpointError> {
    let asked = session.zenoh().get(key).payload(payload).timeout(wait_max).wait();
    let replies = asked.map_err(|error| transport(key, &error))?;
    let waited_ms = u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX);
    let nobody = || EndpointError::Timeout { peer: whom.to_owned(), waited_ms };
    let reply = replies.recv_timeout(wait_max).ok().flatten().ok_or_else(nobody)?;
    match reply.result() {
        Ok(sample) => Ok(sample.payload().to_bytes().into_owned()),
        Err(error) => {
            let said = error.payload().to_bytes();
            let detail = String::from_utf8_lossy(&said[..said.len().min(REFUSAL_BYTES_MAX)]).into_owned();
            Err(EndpointError::Refused { peer: key.to_owned(), detail })
        }
    }
}
