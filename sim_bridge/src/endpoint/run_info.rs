//! What runs: published when it changes, and answered to whoever comes later and asks (`do/info`).
//!
//! From: [`RunInfo`]. To: recorders and viewers, which cannot understand the rest without.

use super::errands::ask_once;
use super::peer::transport;
use super::transport::BridgeSession;
use crate::codec::{self, EncodeError};
use crate::message::RunInfo;
use crate::session::RobotName;
use egogrid_runtime::endpoint::EndpointError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zenoh::Wait;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct RunInfoServer {
    current: Arc<Mutex<Vec<u8>>>,
    _queryable: zenoh::query::Queryable<()>,
}

impl RunInfoServer {
    /// Declares the request; answers `info` until [`Self::update`].
    ///
    /// # Errors
    /// A message that cannot be written, or the transport.
    pub fn serve(session: &BridgeSession, robot: &RobotName, info: &RunInfo<'_>) -> Result<Self, EndpointError> {
        let key = robot.key("do/info");
        let current = Arc::new(Mutex::new(codec::encode(info).map_err(|error| unsendable(&error))?));
        let answer = Arc::clone(&current);
        let served = move |query: zenoh::query::Query| {
            let payload = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Err(error) = query.reply(query.key_expr().clone(), payload).wait() {
                tracing::debug!("do/info: nobody waits for the answer: {error}");
            }
        };
        let declared = session.zenoh().declare_queryable(&key).callback(served).wait();
        Ok(Self { current, _queryable: declared.map_err(|error| transport(&key, &error))? })
    }

    /// Something else runs now.
    ///
    /// # Errors
    /// A message that cannot be written; then the old one stays.
    pub fn update(&self, info: &RunInfo<'_>) -> Result<(), EndpointError> {
        let payload = codec::encode(info).map_err(|error| unsendable(&error))?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = payload;
        Ok(())
    }
}

fn unsendable(error: &EncodeError) -> EndpointError {
    EndpointError::Transport { peer: "listeners".to_owned(), detail: format!("run_info cannot be sent: {error}") }
}

/// Asks the daemon of `robot` what runs there; its answer as it came, a readable RunInfo.
///
/// # Errors
/// Nobody answers within `wait_max`, or not with a RunInfo.
pub fn ask_run_info(session: &BridgeSession, robot: &RobotName, wait_max: Duration) -> Result<Vec<u8>, EndpointError> {
    let key = robot.key("do/info");
    let payload = ask_once(session, &key, Vec::new(), &format!("the daemon of {}", robot.as_str()), wait_max)?;
    match codec::decode::<RunInfo<'_>>(&payload) {
        Ok(_) => Ok(payload),
        Err(error) => Err(EndpointError::Malformed { peer: key, detail: error.to_string() }),
    }
}
