//! One worker as seen from here: is it alive, and its answer to one query at a time, each wait bounded.
//!
//! Zenoh's threads call back into `Signals`; the caller sleeps on its condition variable until there is an answer, the
//! worker's liveliness token is gone, or the time is over, whichever comes first.

use super::transport::BridgeSession;
use crate::codec;
use crate::limits::{PAYLOAD_BYTES_MAX, PROTOCOL_VERSION};
use crate::message::ErrorReply;
use crate::session::RobotName;
use egogrid_runtime::endpoint::EndpointError;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zenoh::Wait;
use zenoh::bytes::{Encoding, ZBytes};
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{ConsolidationMode, Reply};
use zenoh::sample::SampleKind;

/// Kind of an error reply.
const OUT_OF_RANGE: &str = "out_of_range";
/// How long the news of a lost worker may lag behind the end of its query.
const LOSS_NEWS_MAX: Duration = Duration::from_millis(500);
/// Zenoh's own clock on a query only has to end it some time after ours did.
const ZENOH_SLACK: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    alive: BTreeSet<String>,
    query: u64,
    answer: Option<Result<ZBytes, ZBytes>>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Signals {
    state: Mutex<State>,
    changed: Condvar,
}

impl Signals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Sleeps until `done` or `wait_max` is over; answers with the state either way.
    fn wait(&self, wait_max: Duration, mut done: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.lock(), wait_max, |state| !done(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Marks the query as ended when zenoh drops its callback.
struct EndGuard {
    signals: Arc<Signals>,
    query: u64,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let query = self.query;
        self.signals.update(|state| state.ended |= state.query == query);
    }
}

/// The worker of one robot.
#[derive(Debug)]
pub(crate) struct WorkerPeer {
    session: BridgeSession,
    robot: RobotName,
    signals: Arc<Signals>,
    _alive: zenoh::pubsub::Subscriber<()>,
    /// The one we talk to; others under the same name are not answered to.
    instance: Option<String>,
}

impl WorkerPeer {
    pub(crate) fn new(session: &BridgeSession, robot: &RobotName) -> Result<Self, EndpointError> {
        let signals = Arc::new(Signals::default());
        let heard = Arc::clone(&signals);
        let alive = session
            .zenoh()
            .liveliness()
            .declare_subscriber(robot.key("alive/worker/*"))
            .history(true)
            .callback(move |sample| {
                let instance = sample.key_expr().as_str().rsplit('/').next().unwrap_or_default().to_owned();
                heard.update(|state| match sample.kind() {
                    SampleKind::Put => drop(state.alive.insert(instance)),
                    SampleKind::Delete => drop(state.alive.remove(&instance)),
                });
            })
            .wait()
            .map_err(|error| transport(robot.as_str(), &error))?;
        Ok(Self { session: session.clone(), robot: robot.clone(), signals, _alive: alive, instance: None })
    }

    /// Announces this process to workers that are to end with it.
    pub(crate) fn announce_host(session: &BridgeSession, robot: &RobotName) -> Result<LivelinessToken, EndpointError> {
        let key = robot.key(&format!("alive/host/{}", std::process::id()));
        session.zenoh().liveliness().declare_token(key).wait().map_err(|error| transport(robot.as_str(), &error))
    }

    /// Who is waited for, in error messages.
    pub(crate) fn name(&self) -> String {
        format!("worker {}", self.robot)
    }

    /// Whether `instance` has announced itself and is still there.
    pub(crate) fn is_alive(&self, instance: &str) -> bool {
        self.signals.lock().alive.contains(instance)
    }

    /// Sleeps until `instance` has announced itself or the time is over.
    pub(crate) fn wait_alive(&self, instance: &str, wait_max: Duration) -> bool {
        self.signals.wait(wait_max, |state| state.alive.contains(instance)).alive.contains(instance)
    }

    /// Sleeps until `instance` is gone or the time is over.
    pub(crate) fn wait_gone(&self, instance: &str, wait_max: Duration) {
        drop(self.signals.wait(wait_max, |state| !state.alive.contains(instance)));
    }

    /// Binds to the one worker there is, waiting for it; answers with the time that is left.
    pub(crate) fn bind(&mut self, wait_max: Duration) -> Result<Duration, EndpointError> {
        let start = Instant::now();
        self.instance = None;
        let alive: Vec<String> =
            self.signals.wait(wait_max, |state| !state.alive.is_empty()).alive.iter().cloned().collect();
        match <[String; 1]>::try_from(alive) {
            Ok([instance]) => self.instance = Some(instance),
            Err(none) if none.is_empty() => return Err(self.timeout(wait_max)),
            Err(several) => {
                let detail = format!(
                    "{} workers answer to the name {}: {several:?}; stop all but one",
                    several.len(),
                    self.robot
                );
                return Err(EndpointError::Transport { peer: self.name(), detail });
            }
        }
        Ok(wait_max.saturating_sub(start.elapsed()))
    }

    /// Instance that this is bound to.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// One query, one answer. `rest` is the key below the robot's.
    pub(crate) fn query(&mut self, rest: &str, payload: Vec<u8>, wait_max: Duration) -> Result<ZBytes, EndpointError> {
        let Some(instance) = self.instance.clone() else {
            return Err(EndpointError::Transport { peer: self.name(), detail: "not connected; call reset".to_owned() });
        };
        let query = {
            let mut state = self.signals.lock();
            (state.answer, state.ended) = (None, false);
            state.query += 1;
            state.query
        };
        let guard = EndGuard { signals: Arc::clone(&self.signals), query };
        self.session
            .zenoh()
            .get(self.robot.key(rest))
            .payload(payload)
            .encoding(Encoding::APPLICATION_CDR)
            // The first answer is the answer; the default would wait for the end of the query.
            .consolidation(ConsolidationMode::None)
            .timeout(wait_max.saturating_add(ZENOH_SLACK))
            .callback(move |reply: Reply| {
                let answer = match reply.into_result() {
                    Ok(sample) => Ok(sample.payload().clone()),
                    Err(error) => Err(error.payload().clone()),
                };
                guard.signals.update(|state| {
                    if state.query == guard.query && state.answer.is_none() {
                        state.answer = Some(answer);
                    }
                });
            })
            .wait()
            .map_err(|error| transport(&self.name(), &error))?;
        let lost = |state: &State| !state.alive.contains(&instance);
        let mut state = self.signals.wait(wait_max, |state| state.answer.is_some() || state.ended || lost(state));
        if state.answer.is_none() && state.ended && !lost(&state) {
            drop(state);
            state = self.signals.wait(LOSS_NEWS_MAX, lost);
        }
        match state.answer.take() {
            Some(answer) => {
                drop(state);
                self.checked(answer)
            }
            None if lost(&state) => {
                Err(self.peer_lost("its liveliness token is gone: the process ended or the connection broke"))
            }
            None if state.ended => Err(self.peer_lost("it ended the query without an answer")),
            None => Err(self.timeout(wait_max)),
        }
    }

    fn checked(&self, answer: Result<ZBytes, ZBytes>) -> Result<ZBytes, EndpointError> {
        let (Ok(payload) | Err(payload)) = &answer;
        if payload.len() > PAYLOAD_BYTES_MAX {
            let detail =
                format!("{} bytes, at most {PAYLOAD_BYTES_MAX} are read; send smaller pictures", payload.len());
            return Err(EndpointError::Malformed { peer: self.name(), detail });
        }
        answer.map_err(|payload| self.refusal(&payload))
    }

    fn refusal(&self, payload: &ZBytes) -> EndpointError {
        let payload = payload.to_bytes();
        if let Err(error) = self.check_version(&payload) {
            return error;
        }
        match codec::decode::<ErrorReply>(&payload) {
            Ok(reply) if reply.kind == OUT_OF_RANGE => {
                EndpointError::OutOfRange { peer: self.name(), detail: reply.detail }
            }
            Ok(reply) => {
                EndpointError::Refused { peer: self.name(), detail: format!("{}: {}", reply.kind, reply.detail) }
            }
            Err(error) => self.malformed("ErrorReply", &error),
        }
    }

    /// For messages that begin with the protocol version.
    pub(crate) fn check_version(&self, payload: &[u8]) -> Result<(), EndpointError> {
        let found = codec::decode_protocol(payload).map_err(|error| self.malformed("protocol version", &error))?;
        if found != PROTOCOL_VERSION {
            let (found, expected) = (found.to_string(), PROTOCOL_VERSION.to_string());
            return Err(EndpointError::Version { peer: self.name(), found, expected });
        }
        Ok(())
    }

    pub(crate) fn malformed(&self, message: &str, error: &dyn std::fmt::Display) -> EndpointError {
        EndpointError::Malformed { peer: self.name(), detail: format!("{message}: {error}") }
    }

    pub(crate) fn timeout(&self, waited: Duration) -> EndpointError {
        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        EndpointError::Timeout { peer: self.name(), waited_ms }
    }

    fn peer_lost(&self, detail: &str) -> EndpointError {
        EndpointError::PeerLost { peer: self.name(), detail: detail.to_owned() }
    }
}

/// Zenoh's error, named after whom it concerns.
pub(crate) fn transport(peer: &str, error: &zenoh::Error) -> EndpointError {
    EndpointError::Transport { peer: peer.to_owned(), detail: error.to_string() }
}
