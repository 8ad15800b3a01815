//! What a run says: rates with intervals for each task and the suite, for each arm, what failed, and where time went.
//!
//! From: an [`EvalRun`], whole or not. To: `report.json`, `report.html`. Harness failures are shown and in no rate.

mod compare_html;
mod failed;
mod html;
mod page;
mod plot;
mod time;

pub use compare_html::html as compare_html;
pub use html::html;
pub use time::{PartReport, TimeReport};

use super::artifacts;
use super::plan::BASE;
use super::record::{EpisodeRecord, EvalHeader, EvalRun};
use super::statistics::enough::{self, Warning};
use super::statistics::{Confidence, Counts, Interval, suite, wilson};
use super::stopping::{self, Decision};
use crate::view::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Of every interval in a report.
pub const CONFIDENCE: Confidence = Confidence::P95;

/// A rule that does not hold, its numbers, and the same in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warned {
    /// With its numbers.
    #[serde(flatten)]
    pub warning: Warning,
    /// In words.
    pub words: String,
}

impl From<Warning> for Warned {
    fn from(warning: Warning) -> Self {
        Self { words: warning.to_string(), warning }
    }
}

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
    /// Successes per episode; none without episodes.
    pub rate: Option<f64>,
    /// Wilson, 95 %.
    pub interval: Option<Interval>,
    /// Of the successes.
    pub mean_steps: Option<f64>,
    /// What to know before believing the rate.
    pub warnings: Vec<Warned>,
}

/// The mean over tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SuiteReport {
    /// Every task weighs the same. None while a task has no episode.
    pub mean: Option<f64>,
    /// 95 %; of a run that was stopped by its bar, of all rates that were not ruled out at any time.
    pub interval: Option<Interval>,
    /// As many episodes of one kind would be as sure.
    pub effective_episodes: Option<f64>,
    /// Of all tasks.
    pub successes: u32,
    /// Of all tasks.
    pub episodes: u32,
    /// Of all tasks.
    pub harness_failures: u32,
    /// What to know before believing the mean.
    pub warning: Option<Warned>,
}

/// One variant.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub arm: String,
    /// Mean over tasks.
    pub suite: SuiteReport,
    /// By name.
    pub tasks: BTreeMap<String, TaskReport>,
    /// Where the plan has a rule for stopping early: how it stands.
    pub stop: Option<Decision>,
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
    /// Whether it is in a rate.
    pub counted: bool,
    /// In words.
    pub why: String,
    /// Executed.
    pub steps: u32,
    /// Looks without a whole chunk, by kind.
    pub policy_errors: BTreeMap<String, u32>,
    /// What the gate did, by rule.
    pub interventions: BTreeMap<String, u32>,
    /// Its film, relative to the run.
    pub video: Option<String>,
    /// Its rerun recording, relative to the run.
    pub rrd: Option<String>,
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
    /// Of every interval.
    pub confidence: Confidence,
    /// Where time went.
    pub time: TimeReport,
    /// Failures of the policy first, then those of the harness.
    pub failures: Vec<FailureReport>,
    /// Of tasks that have one, relative to the run.
    pub pictures: BTreeMap<String, String>,
    /// Runs it again.
    pub command: String,
    /// What was evaluated.
    pub run: EvalHeader,
}

impl Report {
    /// Of whatever is done in the run at `dir`; `command` is what runs it again.
    pub fn of(run: &EvalRun, dir: &Path, command: &str) -> Self {
        let (mut decisions, episodes) = stopping::cut(run);
        let arms = run.header.policies.iter().map(|policy| {
            let stop = decisions.remove(&policy.arm);
            arm(&run.header.tasks, &episodes, &policy.arm, stop)
        });
        let arms: Vec<ArmReport> = arms.collect();
        // A decided arm is complete with the round that decided.
        let decided =
            |arm: &ArmReport| arm.stop.as_ref().filter(|stop| stop.last_seed.is_some()).map(|stop| stop.rounds);
        let rounds: u32 = arms.iter().map(|arm| decided(arm).unwrap_or(run.header.episodes_per_task)).sum();
        // A header has at least one arm; of a damaged one the report is empty.
        let base = arms.first().cloned().unwrap_or_default();
        let picture = |task: &String| Some((task.clone(), artifacts::found(dir, artifacts::picture_of(task))?));
        Self {
            suite: base.suite,
            tasks: base.tasks,
            arms,
            complete: episodes.len() == run.header.tasks.len() * rounds as usize,
            confidence: CONFIDENCE,
            time: TimeReport::of(&run.episodes),
            failures: failures(&episodes, dir),
            pictures: run.header.tasks.iter().filter_map(picture).collect(),
            command: command.to_owned(),
            run: run.header.clone(),
        }
    }

    /// Not counted, over all arms.
    pub fn harness_failures(&self) -> u32 {
        self.arms.iter().map(|arm| arm.suite.harness_failures).sum()
    }
}

fn arm(tasks: &[String], episodes: &[EpisodeRecord], name: &str, stop: Option<Decision>) -> ArmReport {
    let task = |task: &String| {
        let episodes = episodes.iter().filter(|record| record.arm == name && record.task == *task);
        (task.clone(), TaskReport::of(episodes))
    };
    let tasks: BTreeMap<String, TaskReport> = tasks.iter().map(task).collect();
    let counts: Vec<Counts> = tasks.values().map(TaskReport::counts).collect();
    let mean = suite::mean(&counts, CONFIDENCE);
    let sum = |of: fn(&TaskReport) -> u32| tasks.values().map(of).sum();
    let episodes = sum(|task| task.episodes);
    let suite = SuiteReport {
        mean: mean.map(|suite| suite.mean),
        interval: stop.as_ref().and_then(|stop| stop.of_mean).or(mean.map(|suite| suite.interval)),
        effective_episodes: mean.map(|suite| suite.effective_episodes),
        successes: sum(|task| task.successes),
        episodes,
        harness_failures: sum(|task| task.harness_failures),
        warning: mean.and_then(|mean| enough::suite(&mean, u64::from(episodes), CONFIDENCE)).map(Warned::from),
    };
    ArmReport { arm: name.to_owned(), suite, tasks, stop }
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
        let counts = report.counts();
        report.rate = counts.rate();
        report.interval = wilson::interval(counts, CONFIDENCE);
        report.mean_steps = (report.successes > 0).then(|| f64::from(steps) / f64::from(report.successes));
        let warnings = enough::task(counts, u64::from(report.harness_failures), CONFIDENCE);
        report.warnings = warnings.into_iter().map(Warned::from).collect();
        report
    }

    fn counts(&self) -> Counts {
        // Counted together: never more successes than episodes.
        Counts::new(u64::from(self.successes), u64::from(self.episodes)).unwrap_or_default()
    }
}

fn failures(episodes: &[EpisodeRecord], dir: &Path) -> Vec<FailureReport> {
    let mut failed: Vec<&EpisodeRecord> = episodes.iter().filter(|record| !record.is_success()).collect();
    failed.sort_by_key(|record| (!record.is_judged(), record.arm != BASE, record.name()));
    let report = |record: &EpisodeRecord| {
        let file =
            |ending| artifacts::found(dir, artifacts::of_episode(&record.arm, &record.task, record.seed, ending));
        FailureReport {
            arm: record.arm.clone(),
            task: record.task.clone(),
            seed: record.seed,
            counted: record.is_judged(),
            why: match &record.outcome {
                Outcome::Success => String::new(),
                Outcome::Failure => format!("not solved within {} steps", record.steps),
                Outcome::SafetyStop { reason } => format!("the safety gate latched a stop: {reason}"),
                Outcome::Harness { reason } => {
                    format!("not counted: the harness failed in {} attempts, at last with: {reason}", record.attempts)
                }
            },
            steps: record.steps,
            policy_errors: record.policy_errors.clone(),
            interventions: record.interventions.clone(),
            video: file("mp4"),
            rrd: file("rrd"),
        }
    };
    failed.into_iter().map(report).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::{header, record};

    /// The names that scripts rely on.
    #[test]
    fn report_json_has_the_promised_names() {
        let mut episodes: Vec<EpisodeRecord> = (0..10).map(|seed| record("reach", seed, seed != 3)).collect();
        episodes.extend((0..10).map(|seed| record("push", seed, seed % 2 == 0)));
        episodes[13].outcome = Outcome::Harness { reason: "it died".to_owned() };
        let run = EvalRun { header: header("a"), episodes };
        let report = serde_json::to_value(Report::of(&run, Path::new("nowhere"), "egogrid eval x")).unwrap();
        assert_eq!(report["tasks"]["push"]["successes"], 5);
        assert_eq!(report["tasks"]["push"]["episodes"], 9, "a harness failure is in no denominator");
        assert_eq!(report["tasks"]["push"]["harness_failures"], 1);
        let mean = (0.9 + 5.0 / 9.0) / 2.0;
        assert!((report["suite"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
        for interval in [&report["suite"]["interval"], &report["tasks"]["reach"]["interval"]] {
            let [low, high] = [0, 1].map(|end| interval[end].as_f64().unwrap());
            assert!(0.0 < low && low < high && high < 1.0, "{interval}");
        }
        assert_eq!(report["tasks"]["push"]["warnings"][0]["rule"], "too_wide");
        assert_eq!((&report["complete"], &report["confidence"]), (&true.into(), &0.95.into()));
        assert_eq!(report["command"], "egogrid eval x");
        let last = report["failures"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["counted"], &last["seed"]), (&false.into(), &3.into()), "the harness's come last");
    }

    #[test]
    fn a_task_without_episodes_leaves_no_mean_and_says_so() {
        let run = EvalRun { header: header("a"), episodes: vec![record("reach", 0, true)] };
        let report = Report::of(&run, Path::new("nowhere"), "");
        assert_eq!((report.suite.mean, report.suite.interval, report.complete), (None, None, false));
        assert!(matches!(report.tasks["push"].warnings[0].warning, Warning::NoEpisodes { .. }));
    }

    #[test]
    fn files_of_an_episode_are_named_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let video = artifacts::of_episode("base", "reach", 3, "mp4");
        for file in [video.as_str(), "tasks/push.png"] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        let run = EvalRun { header: header("a"), episodes: vec![record("reach", 3, false), record("reach", 4, false)] };
        let report = Report::of(&run, dir.path(), "");
        assert_eq!(report.failures[0].video, Some(video));
        assert_eq!((&report.failures[0].rrd, &report.failures[1].video), (&None, &None));
        assert_eq!(report.pictures.get("push").map(String::as_str), Some("tasks/push.png"));
    }
}
