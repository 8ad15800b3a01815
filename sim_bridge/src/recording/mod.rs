//! Recordings: MCAP files with ROS 2 message definitions, that Foxglove and every other reader open without Egogrid.
//!
//! [`RecordingWriter`] takes messages as they are on the wire and never lets the disk fill up; [`RecordingReader`] gives them back
//! from any file, whole or cut, with the byte where it ends or goes wrong. Neither knows what a policy is.
//! Format: MCAP version 0 (mcap.dev/spec), `cdr` with `ros2msg` schemas.

mod disk;
mod fields;
mod reader;
mod schema;
mod topics;
mod writer;

pub use reader::{ReadError, ReadProblem, RecordedMessage, RecordingReader};
pub use schema::{UnknownType, known_types, ros2msg};
pub use topics::{Topic, run_info_topic, topic_name, topics};
pub use writer::{Entry, Pause, Place, RecordingFigures, RecordingRules, RecordingWriter, WriteError};
