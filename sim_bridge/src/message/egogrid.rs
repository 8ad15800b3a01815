//! Our own topics: what leaves the policy process, and what a robot reports. See `sim_bridge/msg`.

use super::{Header, Pose, Time, Twist, Vector3, message};

message! {
    /// One end-effector delta: `ActionStep.msg`.
    #[derive(Copy, Default)]
    ActionStep = "egogrid_msgs/msg/ActionStep" {
        /// Metres.
        translation_m: Vector3,
        /// Roll, pitch, yaw.
        rotation_rad: Vector3,
        /// 0 = closed, 1 = open.
        gripper: f64,
    }
}
message! {
    /// One change that the safety gate made: `SafetyReason.msg`.
    SafetyReason = "egogrid_msgs/msg/SafetyReason" {
        /// Index of the step.
        step: u16,
        /// Stable short name.
        kind: String,
        /// For people.
        detail: String,
    }
}
message! {
    /// Actions behind the safety gate: `ActionChunk.msg`.
    ActionChunk = "egogrid_msgs/msg/ActionChunk" {
        /// When it left, and the axes of the deltas.
        header: Header,
        /// Exposure of the frame.
        observed: Time,
        /// Of the observation.
        sequence: u64,
        /// Who decided.
        policy_id: String,
        /// Rate of the steps.
        control_hz: f64,
        /// In order.
        steps: Vec<ActionStep>,
        /// Probability of each token; empty = not reported.
        confidence: Vec<f32>,
        /// What the gate changed.
        reasons: Vec<SafetyReason>,
    }
}
message! {
    /// The end effector as measured: `EndEffectorState.msg`.
    EndEffectorState = "egogrid_msgs/msg/EndEffectorState" {
        /// Time of measurement, and the base.
        header: Header,
        /// Metres.
        base_from_ee: Pose,
        /// 0 = closed, 1 = open.
        gripper: f64,
        /// Empty = not reported.
        joints_rad: Vec<f64>,
    }
}
message! {
    /// Time that one stage took: `StageTime.msg`.
    StageTime = "egogrid_msgs/msg/StageTime" {
        /// Name of the stage.
        stage: String,
        /// Milliseconds.
        ms: f64,
    }
}
message! {
    /// How often something happened: `Count.msg`.
    Count = "egogrid_msgs/msg/Count" {
        /// Stable short name.
        name: String,
        /// Since the process began.
        count: u64,
    }
}
message! {
    /// What the robot does from now on: `Command.msg`.
    Command = "egogrid_msgs/msg/Command" {
        /// When it left, and the axes of the twist.
        header: Header,
        /// Of the sender's process.
        session: u64,
        /// Counts up by one with every tick.
        sequence: u64,
        /// m/s and rad/s.
        twist: Twist,
        /// 0 = closed, 1 = open.
        gripper: f64,
        /// From its arrival.
        valid_ms: f64,
        /// The gate brakes or stands still.
        hold: bool,
        /// Exposure to when it left; `None` = it answers no picture.
        age_ms: Option<f64>,
        /// What the gate changed first.
        reason: String,
    }
}
message! {
    /// Whether the dead-man switch is held: `OperatorSign.msg`.
    OperatorSign = "egogrid_msgs/msg/OperatorSign" {
        /// When it was read.
        header: Header,
        /// Held.
        held: bool,
    }
}
message! {
    /// How the policy process is doing: `PolicyStatus.msg`.
    PolicyStatus = "egogrid_msgs/msg/PolicyStatus" {
        /// When.
        header: Header,
        /// `running`, `holding`, `stopped` or `ending`.
        mode: String,
        /// Why.
        detail: String,
        /// Who decides.
        policy_id: String,
        /// What it does; empty = nothing yet.
        instruction: String,
        /// Exposure to now.
        observation_age_ms: f64,
        /// Observation to chunk.
        latency_ms: f64,
        /// Of the newest chunk.
        stages: Vec<StageTime>,
        /// Ages and quantiles by name.
        timings: Vec<StageTime>,
        /// Looks, answers, refusals by name.
        counts: Vec<Count>,
        /// In words.
        remarks: Vec<String>,
        /// Observations answered.
        looks: u64,
        /// Of those, without a chunk.
        policy_failures: u64,
        /// Replaced by a standstill.
        actions_held: u64,
        /// Let through, but changed.
        actions_changed: u64,
    }
}
