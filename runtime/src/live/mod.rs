//! The loop when the world does not wait: two clocks, two threads, and what goes between them.
//!
//! [`Control`] is one tick: signs of the operator, the robot's state and the policy's answer in; schedule; gate; one command
//! out. It takes no memory, waits for no lock and writes no log line. [`run`] calls it at absolute times of
//! `CLOCK_MONOTONIC`. [`Looker`] is the other thread: it infers when the tick asks for a look, against a deadline, and may
//! take as long as it likes. Between them are latest-value slots ([`slot`]) and flags ([`Signs`]).
//!
//! [`Assembler`] makes the sets of pictures that are looked at; whoever receives messages feeds it.

mod assembler;
pub mod clock;
mod control;
mod deadline;
mod histogram;
mod looker;
mod pace;
mod realtime;
mod signs;
mod slot;

pub use assembler::{Assembler, NewestSet, Shelf, StateReport};
pub use control::{Answer, Command, Control, ControlPorts, LookOrder, Snapshot};
pub use deadline::{CancelRun, Deadline};
pub use histogram::Histogram;
pub use looker::{LoadedPolicy, LookFailure, LookReport, Looker, LookerPorts};
pub use pace::run;
pub use realtime::{Realtime, lock_memory, raise_priority};
pub use signs::Signs;
pub use slot::{SlotReader, SlotWriter, slot};
