//! One file per way in and out of the process. `transport` opens the session that the others share.

mod listeners;
mod peer;
mod sim;
mod transport;

pub use listeners::Listeners;
pub use sim::{ActionLabel, SimClient, SimInfo, SimObservation, SimStepInfo};
pub use transport::BridgeSession;

pub(crate) use peer::WorkerPeer;
pub(crate) use sim::handshake;
