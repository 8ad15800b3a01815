//! The loop, its ports and its compute: typed values only, never bytes.
//!
//! [`tick::LockstepLoop`] is one control step on one screen. What it talks to are four small traits: [`policy::Policy`]
//! (implemented in `policies`), [`endpoint::ObservationSource`] and [`endpoint::ActionSink`] (implemented in
//! `sim_bridge`) and [`tick::LoopObserver`] (the recorders in `launch`). Only [`safety::Gate`] makes a
//! [`safety::SafeAction`], and only that can be sent.

pub mod camera;
pub mod clock;
pub mod embodiment;
pub mod endpoint;
#[cfg(feature = "onnx")]
pub mod execution;
pub mod live;
pub mod observation;
pub mod observation_set;
pub mod perception;
pub mod policy;
mod rotation;
pub mod safety;
pub mod schedule;
pub mod sketch;
pub mod stage;
pub mod tick;
pub mod units;

pub use egogrid_action_grids as grids;
