//! What is kept of an evaluation: what was evaluated, and one record per episode.
//!
//! Written by [`super::journal`], read by [`super::report`] and `egogrid eval compare`. A record says enough to run its episode again and to
//! see that it was the same one.

use super::stopping::StopRule;
use crate::view::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the files of a run.
pub const FORMAT: u32 = 1;

/// What was evaluated, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalHeader {
    /// [`FORMAT`].
    pub format: u32,
    /// Of everything that decides what an episode is: arms, tasks, seeds, bundles, schedule.
    pub plan_sha256: String,
    /// `eval.toml`, word for word.
    pub plan: String,
    /// Of this program.
    pub egogrid_version: String,
    /// By arm, in the order they run: the policy and its digest; `expert` for the simulator's own.
    pub policies: Vec<ArmPolicy>,
    /// Name and version, as the worker says it.
    pub simulator: String,
    /// Tasks in the order they run.
    pub tasks: Vec<String>,
    /// Of each task and arm.
    pub episodes_per_task: u32,
    /// Of the first episode of each task.
    pub seed: u32,
    /// Longest episode.
    pub steps_max: u32,
    /// Simulated steps per second.
    pub control_hz: f64,
    /// When it may end before all episodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopRule>,
    /// Processor and cores.
    pub machine: String,
    /// When it was begun, seconds since the UNIX epoch.
    pub begun_unix_s: u64,
}

/// Who acts in one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmPolicy {
    /// Name of the arm; `base` is the one without stress.
    pub arm: String,
    /// Family and checkpoint, or `expert`.
    pub policy: String,
    /// Of the bundle; empty for the expert.
    pub bundle_sha256: String,
    /// Of its weights; empty for the expert.
    pub precision: String,
    /// What is different from `base`; none there.
    pub stress: Option<StressLabel>,
}

/// One point of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StressLabel {
    /// Key of `[sweep]`.
    pub axis: String,
    /// The value, as it was written.
    pub label: String,
    /// The same as a number, where it is one.
    pub value: Option<f64>,
}

/// Where the time of an episode went, milliseconds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeTime {
    /// Queries to the simulator: stepping, rendering, the wire.
    pub simulator_ms: f64,
    /// Inside ONNX Runtime.
    pub onnx_ms: f64,
    /// The policy's and the loop's own work: perception, decoding, schedule, gate.
    pub runtime_ms: f64,
    /// Waiting for another worker's look to be over.
    pub queue_ms: f64,
    /// Everything else: what the harness itself costs.
    pub harness_ms: f64,
}

/// One episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeRecord {
    /// Which variant.
    pub arm: String,
    /// Without simulator's endings, as in the plan.
    pub task: String,
    /// Of goal, start and stress.
    pub seed: u32,
    /// What the policy was told.
    pub instruction: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Executed.
    pub steps: u32,
    /// Asked of the policy.
    pub looks: u32,
    /// How often each rule of the gate acted.
    pub interventions: BTreeMap<String, u32>,
    /// Looks without a whole chunk, by kind.
    pub policy_errors: BTreeMap<String, u32>,
    /// Of every action that left, in order: the same episode has the same.
    pub actions_crc32: u32,
    /// How often it was tried; more than once only after harness failures.
    pub attempts: u32,
    /// Where the time went.
    pub time: EpisodeTime,
    /// From reset to end, seconds.
    pub wall_s: f64,
    /// Which node ran it; none: the process that kept the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What names an episode.
pub type EpisodeName = (String, String, u32);

impl EpisodeRecord {
    /// Arm, task and seed.
    pub fn name(&self) -> EpisodeName {
        (self.arm.clone(), self.task.clone(), self.seed)
    }

    /// Whether it says something about the policy.
    pub fn is_judged(&self) -> bool {
        !matches!(self.outcome, Outcome::Harness { .. })
    }

    /// Whether the task was solved.
    pub fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }
}

/// A run as it was read back.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalRun {
    /// What was evaluated.
    pub header: EvalHeader,
    /// In the order they ended.
    pub episodes: Vec<EpisodeRecord>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An episode that ended so.
    pub(crate) fn record(task: &str, seed: u32, success: bool) -> EpisodeRecord {
        let outcome = if success { Outcome::Success } else { Outcome::Failure };
        EpisodeRecord {
            arm: "base".to_owned(),
            task: task.to_owned(),
            seed,
            instruction: format!("do {task}"),
            outcome,
            steps: 80,
            looks: 20,
            interventions: BTreeMap::from([("speed".to_owned(), 2)]),
            policy_errors: BTreeMap::new(),
            actions_crc32: seed.wrapping_mul(0x9e37_79b9),
            attempts: 1,
            time: EpisodeTime { simulator_ms: 300.0, onnx_ms: 50.0, runtime_ms: 20.0, queue_ms: 0.0, harness_ms: 2.0 },
            wall_s: 0.4,
            node: None,
        }
    }

    pub(crate) fn header(plan: &str) -> EvalHeader {
        let policy = ArmPolicy {
            arm: "base".to_owned(),
            policy: "spatialvla/test".to_owned(),
            bundle_sha256: "ab".repeat(32),
            precision: "fp32".to_owned(),
            stress: None,
        };
        EvalHeader {
            format: FORMAT,
            plan_sha256: plan.repeat(64),
            plan: "simulator = \"metaworld\"".to_owned(),
            egogrid_version: "0.1.0".to_owned(),
            policies: vec![policy],
            simulator: "metaworld 3.1.1".to_owned(),
            tasks: vec!["reach".to_owned(), "push".to_owned()],
            episodes_per_task: 10,
            seed: 0,
            steps_max: 200,
            control_hz: 80.0,
            stop: None,
            machine: "a test, 2 cores".to_owned(),
            begun_unix_s: 0,
        }
    }
}
