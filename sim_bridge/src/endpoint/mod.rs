//! One file per way in and out of the process. `transport` opens the session that the others share.

mod commands;
mod listeners;
mod onboard;
mod peer;
mod sim;
mod transport;

pub use commands::{CommandSender, command_to_wire};
pub use listeners::Listeners;
pub use onboard::{AskPolicy, Onboard, RefusalKind};
pub use sim::{ActionLabel, SimClient, SimInfo, SimObservation, SimStepInfo};
pub use transport::BridgeSession;

pub(crate) use peer::WorkerPeer;
pub(crate) use sim::handshake;
