//! `eval.toml`: which policy, which tasks, how many episodes, under which stress. Unknown keys are errors.
//!
//! From: the file and the simulator's own (`sim_bridge/simulators/<name>/simulator.toml`). To: arms ([`Arm`]), each a variant of the run that is
//! evaluated on the same tasks and seeds: `base`, and one for every value under `[sweep]`.

use super::arms::{Arm, arms};
use super::stopping::StopConfig;
use crate::cli::Strategy;
use egogrid_runtime::execution::THREADS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Name of the arm without stress.
pub const BASE: &str = "base";
const EPISODES_MAX: u32 = 100_000;
const WORKERS_MAX: usize = 256;
const BATCH_DELAY_MS_MAX: f64 = 1000.0;
const STEPS_MAX: u32 = 100_000;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// A folder of `sim_bridge/simulators`.
    pub simulator: String,
    /// A set of tasks of that simulator; or `tasks`.
    pub suite: Option<String>,
    /// Tasks by name; or `suite`.
    pub tasks: Option<Vec<String>>,
    /// Of each task and arm.
    pub episodes: u32,
    /// Of the first episode of each task; the others follow.
    pub seed: u32,
    /// Longest episode; absent: the simulator's.
    pub steps_max: Option<u32>,
    /// Embodiment file; absent: the simulator's.
    pub embodiment: Option<PathBuf>,
    /// Who acts.
    pub policy: PolicyConfig,
    /// How its chunks are executed.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// How it is run; decides nothing about an episode.
    #[serde(default)]
    pub run: RunConfig,
    /// When it may end before all episodes; absent: never.
    pub stop: Option<StopConfig>,
    /// Variants.
    #[serde(default)]
    pub sweep: Sweep,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum PolicyConfig {
    /// `"expert"`: the simulator's own scripted one.
    Named(String),
    /// A bundle.
    Bundle {
        /// Its directory.
        bundle: PathBuf,
        /// Key of its statistics; absent: the embodiment's.
        stats_key: Option<String>,
    },
}

/// As `egogrid demo --strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Strategy of `runtime::schedule`.
    pub strategy: Strategy,
    /// Actions of a chunk before the next look; absent: what the bundle recommends.
    pub steps_executed: Option<u16>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { strategy: Strategy::Chunk, steps_executed: None }
    }
}

/// Processes, threads, patience.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Simulator processes at once; absent: one more than there are cores.
    pub workers: usize,
    /// Loaded copies of a policy that share the workers' looks; absent: as many as there are cores.
    pub policies: usize,
    /// Looks that wait go through one pass of the policy together, the first of them at most so long; absent: each by itself, on whichever copy is
    /// free. Needs a bundle with batched graphs. Part of the plan: sums may be added in another order.
    pub batch_delay_ms: Option<f64>,
    /// Threads of each copy. Part of the plan: sums may be added in another order.
    pub threads: u16,
    /// How often an episode is tried that the harness fails in.
    pub attempts: u32,
    /// Longest wait for one reset or step of a simulator, seconds; a longer one is a failure of the harness.
    pub sim_s_max: u32,
    /// So many failures of `base` are run once more at the end, with film and recordings.
    pub record_failures: u32,
}

impl Default for RunConfig {
    fn default() -> Self {
        // A worker waits for its policy now and then: one more than there are cores keeps all of them busy.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let policies = cores.min(WORKERS_MAX - 1);
        Self {
            workers: policies + 1,
            policies,
            batch_delay_ms: None,
            threads: 1,
            attempts: 3,
            sim_s_max: 60,
            record_failures: 5,
        }
    }
}

/// Each list is an axis, each value of it an arm beside `base`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sweep {
    /// Every look takes so long while the world goes on.
    pub latency_ms: Vec<f64>,
    /// Every look takes anything from nothing to so long.
    pub jitter_ms: Vec<f64>,
    /// Share of looks at which the policy sees the picture before.
    pub frames_dropped: Vec<f64>,
    /// Standard deviation of depth, as a share of it.
    pub depth_noise: Vec<f64>,
    /// Share of depth pixels without a reading.
    pub depth_holes: Vec<f64>,
    /// The camera stands elsewhere, base frame, and the policy is told.
    pub camera_shift_m: Vec<[f64; 3]>,
    /// The same, and the policy is not told.
    pub camera_shift_untold_m: Vec<[f64; 3]>,
    /// The camera is turned to the left and up, and the policy is told.
    pub camera_turn_deg: Vec<[f64; 2]>,
    /// The same, and the policy is not told.
    pub camera_turn_untold_deg: Vec<[f64; 2]>,
    /// Factor of all light.
    pub light: Vec<f64>,
    /// Other colours of the world.
    pub colours_seed: Vec<u32>,
    /// Other words for the same: instruction to instruction.
    pub paraphrase: Vec<BTreeMap<String, String>>,
    /// Other schedules.
    pub strategy: Vec<Strategy>,
    /// Other bundles: another precision, another training.
    pub bundle: Vec<PathBuf>,
}

/// What `simulator.toml` says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    /// Run as `python -m MODULE`.
    pub module: String,
    /// Its interpreter, relative to the checkout; absent: the one of the checkout.
    pub python: Option<PathBuf>,
    /// Its own arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment, unless ours has it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The robot, relative to the checkout.
    pub embodiment: PathBuf,
    /// Longest episode.
    pub steps_max: u32,
    /// Where a set of tasks has another one.
    #[serde(default)]
    pub suite_steps_max: BTreeMap<String, u32>,
    /// Seeds that there are, from 0 on, of a benchmark with stored starts; absent: all.
    pub seeds: Option<u32>,
    /// Sets of tasks.
    pub suites: BTreeMap<String, Vec<String>>,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // as in EvalConfig
pub struct Plan {
    pub tasks: Vec<String>,
    pub arms: Vec<Arm>,
    pub episodes: u32,
    pub seed: u32,
    pub steps_max: u32,
    pub embodiment: PathBuf,
    /// Instead of the embodiment's.
    pub stats_key: Option<String>,
    pub stop: Option<StopConfig>,
    pub run: RunConfig,
    pub simulator: SimulatorConfig,
}

/// What is wrong with `eval.toml`.
#[derive(Debug, thiserror::Error)]
#[error("{key} is {found}, expected {expected}")]
pub struct PlanError {
    key: &'static str,
    found: String,
    expected: String,
}

pub(super) fn wrong(key: &'static str, found: impl ToString, expected: impl Into<String>) -> PlanError {
    PlanError { key, found: found.to_string(), expected: expected.into() }
}

pub(super) fn within<T: PartialOrd + ToString + Copy>(
    key: &'static str,
    found: T,
    low: T,
    high: T,
) -> Result<(), PlanError> {
    // Written so that NaN fails.
    if found >= low && found <= high {
        Ok(())
    } else {
        Err(wrong(key, found.to_string(), format!("{} to {}", low.to_string(), high.to_string())))
    }
}

impl EvalConfig {
    /// What the run may rely on.
    ///
    /// # Errors
    /// The first key that cannot be meant.
    pub fn checked(self, simulator: SimulatorConfig) -> Result<Plan, PlanError> {
        within("episodes", self.episodes, 1, EPISODES_MAX)?;
        within("run.workers", self.run.workers, 0, WORKERS_MAX)?;
        within("run.policies", self.run.policies, 1, WORKERS_MAX)?;
        if let Some(delay_ms) = self.run.batch_delay_ms {
            within("run.batch_delay_ms", delay_ms, 0.0, BATCH_DELAY_MS_MAX)?;
        }
        within("run.threads", self.run.threads, 1, THREADS_MAX)?;
        within("run.attempts", self.run.attempts, 1, 100)?;
        within("run.sim_s_max", self.run.sim_s_max, 1, 3600)?;
        within("run.record_failures", self.run.record_failures, 0, 1000)?;
        let of_suite = self.suite.as_ref().and_then(|suite| simulator.suite_steps_max.get(suite).copied());
        let steps_max = self.steps_max.or(of_suite).unwrap_or(simulator.steps_max);
        within("steps_max", steps_max, 1, STEPS_MAX)?;
        if self.seed.checked_add(self.episodes).is_none() {
            return Err(wrong("seed", self.seed, format!("at most {}", u32::MAX - self.episodes)));
        }
        if let Some(seeds) = simulator.seeds
            && self.seed + self.episodes > seeds
        {
            let found = format!("{} for the first of {} episodes", self.seed, self.episodes);
            return Err(wrong("seed", found, format!("seeds 0 to {} only: this simulator has no others", seeds - 1)));
        }
        if let Some(stop) = &self.stop {
            checked_stop(stop)?;
        }
        let tasks = tasks(&self, &simulator)?;
        let arms = arms(&self)?;
        let embodiment = self.embodiment.unwrap_or_else(|| simulator.embodiment.clone());
        let (episodes, seed, run) = (self.episodes, self.seed, self.run);
        let stats_key = match self.policy {
            PolicyConfig::Bundle { stats_key, .. } => stats_key,
            PolicyConfig::Named(_) => None,
        };
        Ok(Plan { tasks, arms, episodes, seed, steps_max, embodiment, stats_key, stop: self.stop, run, simulator })
    }
}

fn checked_stop(stop: &StopConfig) -> Result<(), PlanError> {
    let inside = |key, found: f64| {
        // Written so that NaN fails.
        if found > 0.0 && found < 1.0 { Ok(()) } else { Err(wrong(key, found, "a number between 0 and 1")) }
    };
    inside("stop.error", stop.error)?;
    match (stop.bar, &stop.against) {
        (Some(bar), None) => inside("stop.bar", bar),
        (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) => Err(wrong("stop.bar", "there, and stop.against too", "one of them")),
        (None, None) => {
            Err(wrong("stop.bar", "not there", "a rate between 0 and 1, or stop.against = \"DIR\" of a run"))
        }
    }
}

fn tasks(config: &EvalConfig, simulator: &SimulatorConfig) -> Result<Vec<String>, PlanError> {
    let tasks = match (&config.suite, &config.tasks) {
        (Some(suite), None) => simulator.suites.get(suite).cloned().ok_or_else(|| {
            wrong("suite", format!("{suite:?}"), format!("one of {:?}", simulator.suites.keys().collect::<Vec<_>>()))
        })?,
        (None, Some(tasks)) => tasks.clone(),
        (Some(_), Some(_)) => return Err(wrong("suite", "there, and tasks too", "one of them")),
        (None, None) => return Err(wrong("suite", "not there", "a set of tasks, or tasks = [...]")),
    };
    let names: BTreeSet<&String> = tasks.iter().collect();
    if tasks.is_empty() || names.len() != tasks.len() {
        return Err(wrong("tasks", format!("{tasks:?}"), "at least one, none of them twice"));
    }
    Ok(tasks)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn planned(rest: &str) -> Result<Plan, PlanError> {
        let simulator = "module = \"m\"\nembodiment = \"e.toml\"\nsteps_max = 200\nseeds = 50\n[suite_steps_max]\nlong = 520\n\
                         [suites]\nlong = [\"a\"]\nother = [\"a\", \"b\"]";
        let config: EvalConfig =
            toml::from_str(&format!("simulator = \"s\"\npolicy = {{ bundle = \"x\", stats_key = \"k\" }}\n{rest}"))
                .unwrap();
        config.checked(toml::from_str(simulator).unwrap())
    }

    /// Those of the checkout, with the simulators that they name.
    #[test]
    fn every_plan_that_ships_is_one() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files: Vec<_> =
            std::fs::read_dir(root.join("launch/evals")).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 10);
        for file in files {
            let named = file.display().to_string();
            let config: EvalConfig = toml::from_str(&std::fs::read_to_string(&file).unwrap()).expect(&named);
            let simulator = root.join("sim_bridge/simulators").join(&config.simulator).join("simulator.toml");
            let simulator: SimulatorConfig =
                toml::from_str(&std::fs::read_to_string(simulator).unwrap()).expect(&named);
            assert!(root.join(&simulator.embodiment).is_file(), "{named}");
            let plan = config.checked(simulator).unwrap_or_else(|error| panic!("{named}: {error}"));
            assert!(!plan.tasks.is_empty() && plan.steps_max >= 100, "{named}");
        }
    }

    #[test]
    fn a_suite_may_have_longer_episodes_and_the_file_the_last_word() {
        let steps = |rest: &str| planned(rest).unwrap().steps_max;
        assert_eq!(steps("suite = \"long\"\nepisodes = 5\nseed = 0"), 520);
        assert_eq!(steps("suite = \"other\"\nepisodes = 5\nseed = 0"), 200);
        assert_eq!(steps("suite = \"long\"\nepisodes = 5\nseed = 0\nsteps_max = 7"), 7);
    }

    #[test]
    fn seeds_that_a_benchmark_does_not_have_are_refused_before_anything_runs() {
        let plan = planned("suite = \"long\"\nepisodes = 50\nseed = 0").unwrap();
        assert_eq!(plan.stats_key.as_deref(), Some("k"));
        let error = planned("suite = \"long\"\nepisodes = 50\nseed = 1").unwrap_err().to_string();
        assert!(error.contains("0 to 49"), "{error}");
    }
}
