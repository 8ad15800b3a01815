//! Open-loop errors: per dimension and per step ahead, in the dataset's units and normalized, beside what the mean action would do.

use egogrid_action_grids::action::DIM_NAMES;
use egogrid_action_grids::{ACTION_DIMS, RowStats};
use egogrid_policies::bundle::Bundle;
use egogrid_sim_bridge::dataset::{Dataset, quantile};
use serde::Serialize;
use std::collections::BTreeMap;

const UNITS: [&str; ACTION_DIMS] = ["m", "m", "m", "rad", "rad", "rad", ""];
/// Episodes that are drawn.
const TRACES_MAX: usize = 1;

/// Absolute errors of one sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Errors {
    pub(super) n: usize,
    pub(super) mean: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

impl Errors {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64;
        let at = |share| quantile(&sorted, share).unwrap_or(f64::NAN);
        Self { n: sorted.len(), mean, median: at(0.5), p90: at(0.9) }
    }

    fn scaled(self, scale: f64) -> Self {
        Self { n: self.n, mean: self.mean * scale, median: self.median * scale, p90: self.p90 * scale }
    }
}

/// One dimension.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DimReport {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// The first action of each answer, in the dataset's units.
    pub(super) first: Errors,
    /// The same where q01 is -1 and q99 is +1; null for a dimension that the policy's statistics know as constant.
    pub(super) first_normalized: Errors,
    /// Of always answering with the mean of the recorded actions.
    pub(super) mean_action: Errors,
    /// By row ahead, from the first on.
    pub(super) ahead: Vec<Errors>,
}

/// First answers over one episode.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Trace {
    pub(super) rows: Vec<usize>,
    pub(super) recorded: Vec<Vec<f64>>,
    pub(super) predicted: Vec<Vec<f64>>,
}

impl Trace {
    pub(super) fn add(&mut self, row: usize, recorded: &[f64], predicted: Vec<f64>) {
        self.rows.push(row);
        self.recorded.push(recorded.to_vec());
        self.predicted.push(predicted);
    }
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) dataset: String,
    pub(super) policy: String,
    pub(super) stats_key: String,
    pub(super) fps: f64,
    pub(super) steps_per_row: usize,
    /// Answers.
    pub(super) looks: usize,
    /// Pictures without one, by reason.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) dims: Vec<DimReport>,
    pub(super) traces: BTreeMap<u64, Trace>,
    #[serde(skip)]
    scales: Vec<f64>,
    /// `[rows ahead][dimension]`, absolute.
    #[serde(skip)]
    errors: Vec<Vec<Vec<f64>>>,
    /// `[dimension]`.
    #[serde(skip)]
    recorded: Vec<Vec<f64>>,
}

impl Report {
    pub(super) fn new(
        dataset: &Dataset,
        bundle: &Bundle,
        stats_key: &str,
        stats: &RowStats,
        horizon: usize,
        steps_per_row: usize,
        names: &[String],
    ) -> Self {
        let count = stats.dims();
        let one_arm = count == ACTION_DIMS;
        let dim = |dim: usize| DimReport {
            name: match names.get(dim) {
                Some(name) => name.clone(),
                None if one_arm => DIM_NAMES[dim].to_owned(),
                None => format!("[{dim}]"),
            },
            unit: if one_arm { UNITS[dim] } else { "" },
            first: Errors::default(),
            first_normalized: Errors::default(),
            mean_action: Errors::default(),
            ahead: Vec::new(),
        };
        // A row of several steps moves that many times as far; the gripper does not.
        let per_row = |dim: usize| if one_arm && dim + 1 < ACTION_DIMS { steps_per_row as f64 } else { 1.0 };
        let scale = |dim: usize| stats.normalized_per_unit(dim).unwrap_or(f64::NAN) / per_row(dim);
        Self {
            dataset: dataset.root().display().to_string(),
            policy: bundle.id(),
            stats_key: stats_key.to_owned(),
            fps: dataset.info().fps,
            steps_per_row,
            looks: 0,
            failures: BTreeMap::new(),
            dims: (0..count).map(dim).collect(),
            traces: BTreeMap::new(),
            scales: (0..count).map(scale).collect(),
            errors: vec![vec![Vec::new(); count]; horizon],
            recorded: vec![Vec::new(); count],
        }
    }

    /// What was answered for `ahead` rows later, and what was done there.
    pub(super) fn add(&mut self, ahead: usize, predicted: &[f64], recorded: &[f64]) {
        let Some(errors) = self.errors.get_mut(ahead) else { return };
        for ((errors, predicted), recorded) in errors.iter_mut().zip(predicted).zip(recorded) {
            errors.push((predicted - recorded).abs());
        }
        if ahead == 0 {
            self.looks += 1;
            self.recorded.iter_mut().zip(recorded).for_each(|(all, value)| all.push(*value));
        }
    }

    pub(super) fn failed(&mut self, kind: &str) {
        *self.failures.entry(kind.to_owned()).or_default() += 1;
    }

    pub(super) fn trace(&mut self, episode: u64, trace: Trace) {
        if self.traces.len() < TRACES_MAX {
            self.traces.insert(episode, trace);
        }
    }

    pub(super) fn finished(mut self) -> Self {
        for (dim, report) in self.dims.iter_mut().enumerate() {
            report.ahead = self.errors.iter().map(|errors| Errors::of(&errors[dim])).collect();
            report.first = report.ahead.first().copied().unwrap_or_default();
            report.first_normalized = report.first.scaled(self.scales[dim]);
            let recorded = &self.recorded[dim];
            let mean = recorded.iter().sum::<f64>() / recorded.len().max(1) as f64;
            let from_mean: Vec<f64> = recorded.iter().map(|value| (value - mean).abs()).collect();
            report.mean_action = Errors::of(&from_mean);
        }
        self
    }

    pub(super) fn print(&self) {
        println!("{} on {}: {} answers at {} Hz", self.policy, self.dataset, self.looks, self.fps);
        println!("absolute error of the first action\n");
        println!(
            "{:<10} {:>10} {:>10} {:>10}   {:>10} {:>10}   {:>12}",
            "", "mean", "median", "p90", "normalized", "p90", "mean action"
        );
        for DimReport { name, unit, first, first_normalized, mean_action, .. } in &self.dims {
            let normalized = |value: f64| if value.is_nan() { "constant".to_owned() } else { format!("{value:.4}") };
            println!(
                "{:<10} {:>10.5} {:>10.5} {:>10.5}   {:>10} {:>10}   {:>12.5}",
                format!("{name} {unit}"),
                first.mean,
                first.median,
                first.p90,
                normalized(first_normalized.mean),
                normalized(first_normalized.p90),
                mean_action.mean
            );
        }
        if let Some(ahead) = self.dims.first().map(|dim| dim.ahead.len()).filter(|ahead| *ahead > 1) {
            println!("\nmean error by row ahead\n");
            let header: String = self.dims.iter().map(|dim| format!(" {:>10}", dim.name)).collect();
            println!("{:<5}{header}", "");
            for step in 0..ahead {
                let row: String = self.dims.iter().map(|dim| format!(" {:>10.5}", dim.ahead[step].mean)).collect();
                println!("{:<5}{row}", step + 1);
            }
        }
        for (kind, count) in &self.failures {
            println!("\n{count} pictures without an answer: {kind}");
        }
    }
}
