//! The safety gate: the only maker of [`SafeAction`], one file per rule.
//!
//! From: what the schedule has for this tick, the robot's state, signs of the operator, and the caller's clock. To: the
//! sink, one command per tick. Nothing in [`Gate::tick`] allocates, locks or logs.
//!
//! **Which rule goes first.** Rules that decide whether a tick may move at all: latched stop (and the dead-man switch that
//! latches it), clock, operator, action, state, age of the picture, expiry, confidence. The first that says no makes the
//! tick a hold. Rules that shape a motion: speed, then walls and cone (both look ahead to the end of a stop), then
//! acceleration and jerk, then the gripper.
//!
//! **When two bounds cannot both hold**: acceleration and jerk, then speed, then workspace and cone. Looking ahead keeps
//! that from happening to any motion of the gate's own making: a command passes only with a way to rest that keeps all of
//! them. It is left to happen when the robot's report moves it to where it can no longer stop in time; then it brakes as
//! hard as acceleration and jerk allow and says how far beyond the wall it comes.
//!
//! **A hold is a motion too**: the way to rest of the last command, within acceleration and jerk ([`stop_plan`]).

mod acceleration;
mod confidence;
mod config;
mod dead_man;
mod expiry;
mod gate;
mod gripper;
mod jerk;
mod limits;
mod motion;
mod orientation_cone;
mod pose;
mod reason;
mod safe_action;
mod shape;
mod speed;
mod stale;
mod stop;
mod stop_plan;
mod tick_clock;
mod workspace;

pub use config::{Bound, ConeConfig, SafetyConfig, Unbounded};
pub use gate::{Asked, Gate, GateCounters, Origin};
pub use limits::{Cone, GateLimits, GateLimitsError, MotionBounds};
pub use reason::{ClockFault, Intervention, Stamped, StopReason};
pub use safe_action::{INTERVENTIONS_MAX, SafeAction};
pub use stop::RearmRefused;
