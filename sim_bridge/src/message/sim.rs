//! The three queries of a simulator worker, their answers, and the error reply. See `sim_bridge/msg`.

use super::{ActionStep, CameraFrame, EndEffectorState, message};

message! {
    /// Who the worker is: `SimInfo.msg`.
    SimInfo = "egogrid_msgs/msg/SimInfo" {
        /// Always the first field.
        protocol: u32,
        /// As in its liveliness token.
        instance: String,
        /// Name and version.
        simulator: String,
        /// What `SimReset.task` may be.
        tasks: Vec<String>,
        /// Simulated steps per second.
        control_hz: f64,
        /// Per axis and step.
        translation_m_max: f64,
        /// Per axis and step; 0 = it does not rotate.
        rotation_rad_max: f64,
        /// Of the picture.
        width: u32,
        /// Of the picture.
        height: u32,
        /// Whether every observation has depth.
        depth: bool,
    }
}
message! {
    /// Begin an episode: `SimReset.msg`.
    SimReset = "egogrid_msgs/msg/SimReset" {
        /// Ours.
        protocol: u32,
        /// One of `SimInfo.tasks`.
        task: String,
        /// Names the episode together with the task.
        seed: u32,
    }
}
message! {
    /// Execute, then look: `SimStep.msg`.
    SimStep = "egogrid_msgs/msg/SimStep" {
        /// Ours.
        protocol: u32,
        /// Of the answer to the reset.
        episode: u64,
        /// Steps executed in this episode so far.
        first_step: u32,
        /// Empty = only look.
        steps: Vec<ActionStep>,
    }
}
message! {
    /// What the simulator shows: `SimObservation.msg`.
    SimObservation<'payload> = "egogrid_msgs/msg/SimObservation" {
        /// Counts up by one with every reset of the worker.
        episode: u64,
        /// Of this query.
        steps_executed: u32,
        /// Of this episode.
        steps_total: u32,
        /// The benchmark's own signal.
        success: bool,
        /// Of this episode.
        task: String,
        /// Of this episode.
        instruction: String,
        /// What the camera sees.
        camera: CameraFrame<'payload>,
        /// The end effector.
        state: Option<EndEffectorState>,
    }
}
message! {
    /// Payload of every error reply: `ErrorReply.msg`.
    ErrorReply = "egogrid_msgs/msg/ErrorReply" {
        /// Theirs.
        protocol: u32,
        /// Stable short name.
        kind: String,
        /// Found, expected, what to do.
        detail: String,
    }
}
