//! The ports through which observations come in and safe actions go out.

use crate::observation::Observation;
use crate::safety::SafeAction;
use std::time::Duration;

/// Why nothing came in or went out. `Harness` kinds never count as failures of a policy.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Nothing within the time allowed.
    #[error("no answer from {peer} within {waited_ms} ms; is it running, and is it busy? See its log")]
    Timeout {
        /// Who was waited for.
        peer: String,
        /// How long.
        waited_ms: u64,
    },
    /// The other side is gone.
    #[error("{peer} is gone: {detail}; start it again")]
    PeerLost {
        /// Who.
        peer: String,
        /// What was seen.
        detail: String,
    },
    /// The other side speaks another version.
    #[error("{peer} speaks protocol {found}, this is protocol {expected}; install the worker of the same release")]
    Version {
        /// Who.
        peer: String,
        /// Theirs.
        found: String,
        /// Ours.
        expected: String,
    },
    /// Bytes that are not a message.
    #[error("{peer} sent a message that cannot be read: {detail}")]
    Malformed {
        /// Who.
        peer: String,
        /// What and where.
        detail: String,
    },
    /// The other side said no.
    #[error("{peer} refused: {detail}")]
    Refused {
        /// Who.
        peer: String,
        /// Its words.
        detail: String,
    },
    /// A step that the robot cannot execute as asked; it executed nothing.
    #[error("{peer} cannot execute what was asked for: {detail}")]
    OutOfRange {
        /// Who.
        peer: String,
        /// Its words.
        detail: String,
    },
    /// The transport itself.
    #[error("transport to {peer} failed: {detail}")]
    Transport {
        /// Who.
        peer: String,
        /// What it said.
        detail: String,
    },
}

/// Where observations come from.
pub trait ObservationSource: Send {
    /// The newest observation, waiting at most `wait_max`. In lockstep: executes what was sent, then looks.
    ///
    /// # Errors
    /// Every reason not to have one; the loop holds.
    fn observe(&mut self, wait_max: Duration) -> Result<Observation, EndpointError>;
}

/// Where actions go. Takes nothing that has not been through the gate.
pub trait ActionSink: Send {
    /// Hands over the action of one control step.
    ///
    /// # Errors
    /// Every reason why it did not leave.
    fn send(&mut self, action: &SafeAction) -> Result<(), EndpointError>;
}
