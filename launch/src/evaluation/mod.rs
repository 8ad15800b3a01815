//! The evaluation harness: how good is this policy, is B better than A, how many more episodes does it take to know.
//!
//! From: `eval.toml` ([`plan`]). To: one line per episode ([`journal`]), and what they say together ([`report`], [`statistics`]). The runtime
//! that drives a robot is what is evaluated: same policy, schedule, gate and wire. An episode is named by arm, task and seed, and is the same
//! each time it runs.

pub mod arms;
pub mod artifacts;
mod batcher;
pub mod comparison;
mod counter;
mod crew;
mod desk;
mod driver;
mod join;
pub mod journal;
mod keeper;
pub mod plan;
mod pool;
mod prepared;
pub mod record;
pub mod recorded;
pub mod report;
mod run;
pub mod statistics;
pub mod stopping;
mod stress;
pub mod table;

pub use counter::Link;
pub use join::{Joining, join};
pub use run::{Evaluation, Settings, evaluate};
