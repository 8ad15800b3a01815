//! What the policy did, for recorders and viewers: one look, one episode, one run. See `sim_bridge/msg`.

use super::{EndEffectorState, Header, Pose, StageTime, Time, message};

message! {
    /// One id that the policy chose: `PolicyToken.msg`.
    #[derive(Copy, Default)]
    PolicyToken = "egogrid_msgs/msg/PolicyToken" {
        /// Vocabulary id.
        id: u32,
        /// Softmax probability over the whole vocabulary.
        confidence: f32,
        /// The second most probable id.
        runner_up: u32,
        /// Its probability.
        runner_up_confidence: f32,
    }
}
message! {
    /// One action as the policy's own numbers: `ActionRow.msg`.
    ActionRow = "egogrid_msgs/msg/ActionRow" {
        /// As many as the data set has.
        values: Vec<f64>,
    }
}
message! {
    /// One stage's output in few bytes: `StageSketch.msg`.
    StageSketch = "egogrid_msgs/msg/StageSketch" {
        /// As in golden tensors.
        stage: String,
        /// Values.
        count: u64,
        /// Of all of them.
        crc32: u32,
        /// Root of the mean square.
        rms: f64,
        /// At evenly spaced places.
        samples: Vec<f32>,
    }
}
message! {
    /// Which picture the policy saw: `LookInput.msg`.
    LookInput = "egogrid_msgs/msg/LookInput" {
        /// Name.
        camera: String,
        /// Exposure.
        stamp: Time,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Of the `rgb8` rows.
        rgb_crc32: u32,
        /// Of the depth in metres.
        depth_crc32: Option<u32>,
        /// `[3, 3]`, or empty.
        intrinsics: Vec<f64>,
        /// Pose of the optical axes in the base.
        base_from_camera: Option<Pose>,
        /// The robot's last report.
        state: Option<EndEffectorState>,
    }
}
message! {
    /// One look of the policy: `PolicyLook.msg`.
    PolicyLook = "egogrid_msgs/msg/PolicyLook" {
        /// When the answer was there.
        header: Header,
        /// Counts up by one.
        look: u64,
        /// Of the observation.
        sequence: u64,
        /// Counts up with every episode.
        episode: u32,
        /// Who decided.
        policy_id: String,
        /// Of `bundle.toml`.
        bundle_sha256: String,
        /// Statistics.
        stats_key: String,
        /// What to do.
        instruction: String,
        /// What it saw.
        input: Option<LookInput>,
        /// What the answer had to begin with.
        committed: Vec<PolicyToken>,
        /// Stable short name; empty = there is a chunk.
        failure: String,
        /// For people.
        failure_detail: String,
        /// Chosen.
        tokens: Vec<PolicyToken>,
        /// One per action.
        normalized: Vec<ActionRow>,
        /// The same in units of the training data.
        actions: Vec<ActionRow>,
        /// Time per stage.
        stages: Vec<StageTime>,
        /// Stage outputs; empty = not taken.
        sketches: Vec<StageSketch>,
        /// `sensor`, `dense`, `estimated`, or empty.
        depth_source: String,
        /// The look alone.
        took_ms: f64,
        /// Exposure to answer.
        age_ms: f64,
        /// Looks that were not told of so far.
        dropped: u64,
    }
}
message! {
    /// An episode begins or ends: `EpisodeMark.msg`.
    EpisodeMark = "egogrid_msgs/msg/EpisodeMark" {
        /// When.
        header: Header,
        /// As in [`PolicyLook`].
        episode: u32,
        /// Empty = a robot has none.
        task: String,
        /// Of the simulator.
        seed: u32,
        /// What to do.
        instruction: String,
        /// Empty = it begins.
        outcome: String,
        /// For people.
        detail: String,
    }
}
message! {
    /// What runs: `RunInfo.msg`.
    RunInfo<'payload> = "egogrid_msgs/msg/RunInfo" {
        /// When.
        header: Header,
        /// Of this contract.
        protocol: u32,
        /// Of egogrid.
        version: String,
        /// As in `Command`; 0 = lockstep.
        session: u64,
        /// Who decides.
        policy_id: String,
        /// Of `bundle.toml`.
        bundle_sha256: String,
        /// Statistics.
        stats_key: String,
        /// Of the weights.
        precision: String,
        /// Where the graphs run.
        provider: String,
        /// Ticks per second.
        control_hz: f64,
        /// Calendar minus monotonic clock.
        clock_offset_s: f64,
        /// The file as it was read.
        deployment: &'payload [u8],
        /// The file as it was read.
        embodiment: &'payload [u8],
    }
}
