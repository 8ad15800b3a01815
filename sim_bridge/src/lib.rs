//! The process boundary: everything that turns values into bytes. The bytes are in PROTOCOL.md.
//!
//! `message`, `codec`, `convert` and `session` do no I/O and are fuzzed; `endpoint` talks zenoh; `worker` runs a
//! simulator's Python process. Calls block, each for a bounded time.

pub mod codec;
pub mod convert;
pub mod dataset;
pub mod endpoint;
pub mod follower;
pub mod limits;
pub mod message;
pub mod recording;
pub mod session;
pub mod worker;
