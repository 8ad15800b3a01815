//! One file of a lockstep run: messages that this process makes itself, one after the other.
//!
//! From: the demo's looks, or rows of a dataset. To: [`RecordingWriter`]. Nobody waits for it in real time, so what cannot be written is an
//! error at once and not a pause.

use egogrid_runtime::camera::Frame;
use egogrid_runtime::observation::EndEffectorState;
use egogrid_sim_bridge::codec::{self, Message};
use egogrid_sim_bridge::convert::{FrameWire, stamp_to_wire, state_to_wire};
use egogrid_sim_bridge::message::Header;
use egogrid_sim_bridge::recording::{Entry, Place, RecordingRules, RecordingWriter, topic_name};
use egogrid_sim_bridge::session::RobotName;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file under way.
pub(crate) struct LockstepFile {
    writer: RecordingWriter,
    robot: RobotName,
}

impl LockstepFile {
    /// Of whatever size the run takes. `about` stands in the file.
    ///
    /// # Errors
    /// A place that cannot be written.
    pub(crate) fn create(path: PathBuf, robot: RobotName, about: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let rules = RecordingRules { file_bytes_max: 1 << 40, disk_bytes_max: 1 << 40, ..RecordingRules::default() };
        Ok(Self { writer: RecordingWriter::create(Place::File(path), rules, about)?, robot })
    }

    /// Writes `message` to the topic `rest` of the robot.
    ///
    /// # Errors
    /// A message that is none, or a disk that takes no more.
    pub(crate) fn put<'a, T: Message<'a>>(
        &mut self,
        rest: &str,
        message: &T,
        latched: bool,
        log_ns: u64,
    ) -> anyhow::Result<()> {
        let payload = codec::encode(message)?;
        let topic = topic_name(&self.robot, rest);
        let entry =
            Entry { topic: &topic, ros_type: T::ROS_TYPE, log_ns, publish_ns: log_ns, payload: &payload, latched };
        self.writer.write(&entry)?;
        match self.writer.pause() {
            Some(pause) => Err(anyhow::anyhow!("{pause}")),
            None => Ok(()),
        }
    }

    /// What the robot saw at one moment: lens, depth, picture and state.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub(crate) fn seen(
        &mut self,
        frame: &Frame,
        camera: &str,
        state: Option<&EndEffectorState>,
        log_ns: u64,
    ) -> anyhow::Result<()> {
        let wire = FrameWire::new(frame, camera)?;
        if let Some(info) = &wire.camera_info {
            self.put(&format!("camera/{camera}/camera_info"), info, true, log_ns)?;
        }
        if let Some(depth) = &wire.depth {
            self.put(&format!("camera/{camera}/depth"), depth, false, log_ns)?;
        }
        self.put(&format!("camera/{camera}/image"), &wire.image, false, log_ns)?;
        let Some(state) = state else { return Ok(()) };
        let header = Header { stamp: stamp_to_wire(frame.stamp)?, frame_id: "base".to_owned() };
        self.put("state", &state_to_wire(state, header), false, log_ns)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Messages that are not in it.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self.writer.finish() {
            (_, None) => Ok(()),
            (figures, Some(pause)) => Err(anyhow::anyhow!("{pause}; {} messages are not in it", figures.lost)),
        }
    }
}
