//! What a run says: rates with intervals for each task and the suite, for each arm, what failed, and where time went.
//!
//! From: an [`EvalRun`], whole or not. To: `report.json`, `report.html`. Harness failures are shown and in no rate.

mod html;
mod plot;

pub use html::html;

use super::record::{EpisodeRecord, EvalHeader, EvalRun};
use super::statistics::{Suite, TaskCount, suite, too_few, wilson_95};
use crate::statistics::Quantiles;
use crate::view::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;

/// One task of one arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TaskReport {
    /// Of `episodes`.
    pub successes: u32,
    /// That say something about the policy.
    pub episodes: u32,
    /// That do not, and are not counted.
    pub harness_failures: u32,
    /// Of the failures those in which the safety gate latched a stop.
    pub safety_stops: u32,
    /// Wilson, 95 %.
    pub interval: Option<[f64; 2]>,
    /// Of the successes.
    pub mean_steps: Option<f64>,
    /// Where the number of episodes is too small for its rate to be known.
    pub warning: Option<String>,
}

/// The mean over tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuiteReport {
    /// Every task weighs the same. None while a task has no episode.
    pub mean: Option<f64>,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
    /// Of all tasks.
    pub successes: u32,
    /// Of all tasks.
    pub episodes: u32,
    /// Of all tasks.
    pub harness_failures: u32,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub arm: String,
    /// Mean over tasks.
    pub suite: SuiteReport,
    /// By name.
    pub tasks: BTreeMap<String, TaskReport>,
}

/// Milliseconds of each part, per step and per look, over all episodes of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TimeReport {
    /// Shares of the time of all episodes, by part; they add up to 1.
    pub shares: BTreeMap<&'static str, f64>,
    /// Harness, per executed step: everything but simulator, rendering, policy and waiting.
    pub harness_ms_per_step: Option<Quantiles>,
    /// Policy and runtime, per look.
    pub policy_ms_per_look: Option<Quantiles>,
    /// Episodes per minute of one worker: of the time that an episode takes.
    pub episodes_per_minute_and_worker: Option<f64>,
}

/// One episode that was not solved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureReport {
    /// Which variant.
    pub arm: String,
    /// Which task.
    pub task: String,
    /// Its seed.
    pub seed: u32,
    /// In words.
    pub why: String,
    /// Executed.
    pub steps: u32,
    /// Looks without a whole chunk, by kind.
    pub policy_errors: BTreeMap<String, u32>,
    /// What the gate did, by rule.
    pub interventions: BTreeMap<String, u32>,
}

/// All of it. `suite` and `tasks` are those of the arm `base`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Mean over tasks.
    pub suite: SuiteReport,
    /// By name.
    pub tasks: BTreeMap<String, TaskReport>,
    /// Every variant, `base` first.
    pub arms: Vec<ArmReport>,
    /// Whether every episode of the plan is in it.
    pub complete: bool,
    /// Where time went.
    pub time: TimeReport,
    /// Failures of the policy first, then those of the harness.
    pub failures: Vec<FailureReport>,
    /// What was evaluated.
    pub run: EvalHeader,
}

impl Report {
    /// Of whatever is done.
    pub fn of(run: &EvalRun) -> Self {
        let arms: Vec<ArmReport> = run.header.policies.iter().map(|policy| arm(run, &policy.arm)).collect();
        let planned = arms.len() * run.header.tasks.len() * run.header.episodes_per_task as usize;
        // A header has at least one arm; of a damaged one the report is empty.
        let base = arms.first().cloned().unwrap_or_else(|| arm(run, super::plan::BASE));
        Self {
            suite: base.suite,
            tasks: base.tasks,
            arms,
            complete: run.episodes.len() == planned,
            time: time(&run.episodes),
            failures: failures(&run.episodes),
            run: run.header.clone(),
        }
    }

    /// Not counted, over all arms.
    pub fn harness_failures(&self) -> u32 {
        self.arms.iter().map(|arm| arm.suite.harness_failures).sum()
    }
}

fn arm(run: &EvalRun, name: &str) -> ArmReport {
    let task = |task: &String| {
        let episodes = run.episodes.iter().filter(|record| record.arm == name && record.task == *task);
        (task.clone(), TaskReport::of(episodes))
    };
    let tasks: BTreeMap<String, TaskReport> = run.header.tasks.iter().map(task).collect();
    let counts: Vec<TaskCount> =
        tasks.values().map(|task| TaskCount { successes: task.successes, episodes: task.episodes }).collect();
    let mean: Option<Suite> = suite(&counts);
    let sum = |of: fn(&TaskReport) -> u32| tasks.values().map(of).sum();
    let suite = SuiteReport {
        mean: mean.map(|suite| suite.mean),
        interval: mean.map(|suite| suite.interval),
        successes: sum(|task| task.successes),
        episodes: sum(|task| task.episodes),
        harness_failures: sum(|task| task.harness_failures),
    };
    ArmReport { arm: name.to_owned(), suite, tasks }
}

impl TaskReport {
    fn of<'a>(episodes: impl Iterator<Item = &'a EpisodeRecord>) -> Self {
        let (mut report, mut steps) = (Self::default(), 0);
        for record in episodes {
            report.harness_failures += u32::from(!record.is_judged());
            report.episodes += u32::from(record.is_judged());
            report.safety_stops += u32::from(matches!(record.outcome, Outcome::SafetyStop { .. }));
            if record.is_success() {
                report.successes += 1;
                steps += record.steps;
            }
        }
        report.interval = wilson_95(report.successes, report.episodes);
        report.mean_steps = (report.successes > 0).then(|| f64::from(steps) / f64::from(report.successes));
        report.warning = too_few(report.successes, report.episodes);
        report
    }
}

fn time(episodes: &[EpisodeRecord]) -> TimeReport {
    let judged: Vec<&EpisodeRecord> = episodes.iter().filter(|record| record.is_judged()).collect();
    let sum = |of: fn(&EpisodeRecord) -> f64| judged.iter().map(|record| of(record)).sum::<f64>();
    let parts: [(&'static str, f64); 5] = [
        ("simulator", sum(|record| record.time.simulator_ms)),
        ("onnx", sum(|record| record.time.onnx_ms)),
        ("runtime", sum(|record| record.time.runtime_ms)),
        ("queue", sum(|record| record.time.queue_ms)),
        ("harness", sum(|record| record.time.harness_ms)),
    ];
    let all: f64 = parts.iter().map(|(_, spent)| spent).sum();
    let per =
        |of: &dyn Fn(&EpisodeRecord) -> f64| Quantiles::of(&judged.iter().map(|record| of(record)).collect::<Vec<_>>());
    let wall_s = sum(|record| record.wall_s);
    TimeReport {
        shares: parts.into_iter().map(|(name, spent)| (name, if all > 0.0 { spent / all } else { 0.0 })).collect(),
        harness_ms_per_step: per(&|record| record.time.harness_ms / f64::from(record.steps.max(1))),
        policy_ms_per_look: per(&|record| {
            (record.time.onnx_ms + record.time.runtime_ms) / f64::from(record.looks.max(1))
        }),
        episodes_per_minute_and_worker: (wall_s > 0.0).then(|| 60.0 * judged.len() as f64 / wall_s),
    }
}

fn failures(episodes: &[EpisodeRecord]) -> Vec<FailureReport> {
    let mut failed: Vec<&EpisodeRecord> = episodes.iter().filter(|record| !record.is_success()).collect();
    failed.sort_by_key(|record| (!record.is_judged(), record.arm != super::plan::BASE, record.name()));
    let report = |record: &EpisodeRecord| FailureReport {
        arm: record.arm.clone(),
        task: record.task.clone(),
        seed: record.seed,
        why: match &record.outcome {
            Outcome::Success => String::new(),
            Outcome::Failure => format!("not solved within {} steps", record.steps),
            Outcome::SafetyStop { reason } => format!("the safety gate latched a stop: {reason}"),
            Outcome::Harness { reason } => {
                format!("not counted, the harness failed {} times: {reason}", record.attempts)
            }
        },
        steps: record.steps,
        policy_errors: record.policy_errors.clone(),
        interventions: record.interventions.clone(),
    };
    failed.into_iter().map(report).collect()
}
