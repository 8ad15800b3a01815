//! What the demo found: per task and per stage, as `summary.json` and as a table.

use super::episode::EpisodeResult;
use super::motion::{Motion, MotionReport};
use super::watch::RecordingReport;
use crate::cli::DemoArgs;
use crate::files::write_whole;
use crate::statistics::{Quantiles, wilson_95};
use crate::view::Outcome;
use anyhow::Context;
use egogrid_policies::bundle::Bundle;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::safety::Gate;
use egogrid_runtime::stage::Stage;
use egogrid_runtime::tick::Look;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// One task's figures.
#[derive(Debug, Default, Serialize)]
struct TaskSummary {
    /// Episodes that say something about the policy: harness failures are not among them.
    episodes: u32,
    successes: u32,
    harness_failures: u32,
    safety_stops: u32,
    /// Steps of the successful episodes, mean.
    mean_steps: Option<f64>,
    /// Wilson interval of the success rate, 95 %.
    interval_95: Option<[f64; 2]>,
    #[serde(skip)]
    steps_of_successes: u32,
}

/// One episode, so that it can be run again.
#[derive(Debug, Serialize)]
struct EpisodeRow {
    task: String,
    seed: u32,
    #[serde(flatten)]
    result: EpisodeResult,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    egogrid_version: &'static str,
    bundle: String,
    precision: String,
    seed: u32,
    steps_max: u32,
    tasks: BTreeMap<String, TaskSummary>,
    /// Milliseconds per look: every stage, `observation_to_chunk`, `outside_onnx`.
    latency_ms: BTreeMap<String, Quantiles>,
    /// From the start of the process to the first action at the sink.
    first_action_s: Option<f64>,
    wall_s: f64,
    /// How often each rule acted, over all actions.
    interventions: BTreeMap<&'static str, u64>,
    /// How smooth the commands were.
    motion: MotionReport,
    actions_asked: u64,
    actions_held: u64,
    /// Looks at which the policy had no whole chunk, by kind.
    policy_errors: BTreeMap<&'static str, u64>,
    peak_memory_mib: Option<f64>,
    recording: Option<RecordingReport>,
    episodes: Vec<EpisodeRow>,
    #[serde(skip)]
    samples_ms: BTreeMap<&'static str, Vec<f64>>,
    #[serde(skip)]
    started: Instant,
    #[serde(skip)]
    order: Vec<String>,
    #[serde(skip)]
    rate: ControlRate,
    #[serde(skip)]
    moved: Motion,
}

impl Summary {
    pub(super) fn new(args: &DemoArgs, bundle: &Bundle, rate: ControlRate, started: Instant) -> Self {
        Self {
            egogrid_version: env!("CARGO_PKG_VERSION"),
            bundle: bundle.id(),
            precision: bundle.manifest().precision.to_string(),
            seed: args.seed,
            steps_max: args.steps_max,
            tasks: args.tasks.iter().map(|task| (task.clone(), TaskSummary::default())).collect(),
            latency_ms: BTreeMap::new(),
            first_action_s: None,
            wall_s: 0.0,
            interventions: BTreeMap::new(),
            motion: MotionReport::default(),
            actions_asked: 0,
            actions_held: 0,
            policy_errors: BTreeMap::new(),
            peak_memory_mib: None,
            recording: None,
            episodes: Vec::new(),
            samples_ms: BTreeMap::new(),
            started,
            order: args.tasks.clone(),
            rate,
            moved: Motion::default(),
        }
    }

    pub(super) fn episodes_done(&self) -> u32 {
        self.episodes.len() as u32
    }

    pub(super) fn safety_stops(&self) -> u32 {
        self.tasks.values().map(|task| task.safety_stops).sum()
    }

    pub(super) fn harness_failures(&self) -> u32 {
        self.tasks.values().map(|task| task.harness_failures).sum()
    }

    /// Books one look.
    pub(super) fn look(&mut self, look: &Look<'_>) {
        self.first_action_s.get_or_insert_with(|| self.started.elapsed().as_secs_f64());
        let mut sample = |name, ms| self.samples_ms.entry(name).or_default().push(ms);
        for (stage, spent) in look.times.iter() {
            sample(stage.name(), spent.as_secs_f64() * 1e3);
        }
        sample("observation_to_chunk", look.latency.as_secs_f64() * 1e3);
        sample("outside_onnx", look.times.outside_onnx().as_secs_f64() * 1e3);
        look.sent.iter().for_each(|action| self.moved.add(action.linear_m_s(), self.rate));
        for intervention in look.sent.iter().flat_map(|action| action.interventions()) {
            *self.interventions.entry(intervention.kind()).or_default() += 1;
        }
        if let Err(error) = look.chunk {
            *self.policy_errors.entry(error.kind()).or_default() += 1;
        }
    }

    /// Books one episode.
    pub(super) fn add(&mut self, task: &str, seed: u32, result: EpisodeResult) {
        self.moved.episode();
        let row = self.tasks.entry(task.to_owned()).or_default();
        match result.outcome {
            Outcome::Success => {
                row.successes += 1;
                row.steps_of_successes += result.steps;
            }
            Outcome::Failure => {}
            Outcome::SafetyStop { .. } => row.safety_stops += 1,
            Outcome::Harness { .. } => row.harness_failures += 1,
        }
        if !matches!(result.outcome, Outcome::Harness { .. }) {
            row.episodes += 1;
        }
        row.mean_steps = (row.successes > 0).then(|| f64::from(row.steps_of_successes) / f64::from(row.successes));
        row.interval_95 = wilson_95(row.successes, row.episodes);
        self.episodes.push(EpisodeRow { task: task.to_owned(), seed, result });
    }

    pub(super) fn finish(&mut self, gate: &Gate, recording: Option<RecordingReport>) {
        self.latency_ms = self
            .samples_ms
            .iter()
            .filter_map(|(name, samples)| Some(((*name).to_owned(), Quantiles::of(samples)?)))
            .collect();
        self.wall_s = self.started.elapsed().as_secs_f64();
        self.motion = self.moved.report();
        self.actions_asked = gate.counters().asked;
        self.actions_held = gate.counters().held;
        self.peak_memory_mib = crate::machine::peak_memory_mib();
        self.recording = recording;
    }

    /// Writes `summary.json`, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_whole(path, &serde_json::to_vec_pretty(self)?).with_context(|| {
            format!(
                "{} was not written; what it would say is printed above. Free the disk, or give another --out",
                path.display()
            )
        })
    }

    /// The table.
    pub(super) fn print(&self) {
        println!("\n{:<26} {:>9}  {:<17} {:>10}  {:>7}", "task", "success", "95 % interval", "mean steps", "harness");
        for task in &self.order {
            let Some(row) = self.tasks.get(task) else { continue };
            let interval = row
                .interval_95
                .map_or_else(String::new, |[low, high]| format!("{:.0} .. {:.0} %", low * 100.0, high * 100.0));
            let steps = row.mean_steps.map_or_else(|| "-".to_owned(), |steps| format!("{steps:.0}"));
            println!(
                "{task:<26} {:>4}/{:<4}  {interval:<17} {steps:>10}  {:>7}",
                row.successes, row.episodes, row.harness_failures
            );
        }
        println!("\n{:<26} {:>8} {:>8} {:>8} {:>8}   ms per look", "stage", "p50", "p90", "p99", "max");
        let stages = Stage::ALL.iter().map(|stage| stage.name()).chain(["outside_onnx", "observation_to_chunk"]);
        for (name, q) in stages.filter_map(|name| Some((name, self.latency_ms.get(name)?))) {
            println!("{name:<26} {:>8.2} {:>8.2} {:>8.2} {:>8.2}", q.p50, q.p90, q.p99, q.max);
        }
        let acted: Vec<String> = self.interventions.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!(
            "\nsafety gate: {} actions, {} held; {}",
            self.actions_asked,
            self.actions_held,
            if acted.is_empty() { "no interventions".to_owned() } else { acted.join(", ") }
        );
        let jerk = self.motion.jerk_rms_m_s3.map_or_else(|| "-".to_owned(), |jerk| format!("{jerk:.0}"));
        println!("commands: jerk {jerk} m/s^3 rms, {:.0} m/s^3 at most", self.motion.jerk_max_m_s3);
        let memory = self.peak_memory_mib.map_or_else(String::new, |mib| format!(", peak memory {mib:.0} MiB"));
        println!(
            "policy {}, {:.1} s in all, first action after {:.1} s{memory}",
            self.bundle,
            self.wall_s,
            self.first_action_s.unwrap_or(f64::NAN)
        );
        if let Some(recording) = &self.recording {
            recording.print();
        }
    }
}
