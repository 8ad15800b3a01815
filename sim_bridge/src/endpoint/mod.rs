//! One file per way in and out of the process. `transport` opens the session that the others share.

mod commands;
mod credentials;
mod listeners;
mod onboard;
mod peer;
mod refusal;
mod sim;
mod transport;
mod wire_watch;

pub use commands::{CommandSender, command_to_twist, command_to_wire};
pub use listeners::Listeners;
pub use onboard::{AskPolicy, Onboard, RefusalKind};
pub use sim::{ActionLabel, SimClient, SimInfo, SimObservation, SimStepInfo};
pub use transport::BridgeSession;
pub use wire_watch::{WireRefusals, WireWatch, wire_refusals};

pub(crate) use peer::WorkerPeer;
pub(crate) use sim::handshake;
