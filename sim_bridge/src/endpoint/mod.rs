//! One file per way in and out of the process. `transport` opens the session that the others share.

mod commands;
mod credentials;
mod errands;
mod listeners;
mod onboard;
mod peer;
mod refusal;
mod run_info;
mod sim;
mod tap;
mod transport;
mod wire_watch;

pub use commands::{CommandSender, command_to_twist, command_to_wire};
pub use errands::{ERRAND_BYTES_MAX, Errand, ErrandServer, run_errand};
pub use listeners::Listeners;
pub use onboard::{AskPolicy, Onboard, RefusalKind};
pub use run_info::{RunInfoServer, ask_run_info};
pub use sim::{ActionLabel, SimClient, SimInfo, SimObservation, SimStepInfo};
pub use tap::{Heard, Tap};
pub use transport::BridgeSession;
pub use wire_watch::{WireRefusals, WireWatch, wire_refusals};

pub(crate) use peer::WorkerPeer;
pub(crate) use sim::handshake;
