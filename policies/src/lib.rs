//! Policy families: what turns an observation into a chunk of actions, and the bundles they are loaded from.
//!
//! [`bundle::Bundle`] is a verified export, [`registry::load`] makes a [`egogrid_runtime::policy::Policy`] of it, and
//! [`check::check`] replays the tensors that prove that it runs right. Format: `policies/BUNDLE.md`.

pub mod adapt;
pub mod bundle;
pub mod check;
mod compare;
mod decoder;
pub mod explain;
mod failure;
mod generation;
mod graph_tables;
mod greedy;
mod judge;
pub mod openvla;
pub mod precision;
mod prompt;
pub mod registry;
mod sketching;
pub mod spatialvla;
mod watch;

pub use prompt::{INSTRUCTION_BYTES_MAX, PromptError};
pub use watch::{StageOutput, Watch};
