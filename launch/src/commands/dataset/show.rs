//! `egogrid dataset show`: what is in a dataset, from its description and the numbers of one feature.

use super::{open, refused};
use crate::cli::DatasetShowArgs;
use crate::commands::print_json;
use crate::exit::CommandResult;
use egogrid_sim_bridge::dataset::{Dataset, quantile};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Shown {
    version: String,
    robot_type: Option<String>,
    fps: f64,
    rows: u64,
    features: Vec<ShownFeature>,
    /// Episodes by task.
    tasks: BTreeMap<String, u64>,
    episode_rows: Vec<u64>,
    action: Vec<ActionRange>,
}

#[derive(Serialize)]
struct ShownFeature {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    names: Vec<String>,
}

/// One dimension over all rows.
#[derive(Serialize)]
struct ActionRange {
    name: String,
    min: f64,
    q01: f64,
    q50: f64,
    q99: f64,
    max: f64,
}

/// Every value of `feature`, in order of the rows, `[rows, dims]`.
pub(super) fn all_numbers(dataset: &Dataset, feature: &str) -> CommandResult<(usize, Vec<f64>)> {
    let mut reader = dataset.rows(&[feature]).map_err(refused)?;
    let (mut dims, mut all) = (0, Vec::new());
    for episode in dataset.episodes() {
        let mut rows = reader.episode(episode).map_err(refused)?;
        if let Some(numbers) = rows.numbers.remove(feature) {
            dims = numbers.per_row;
            all.extend(numbers.values);
        }
    }
    Ok((dims, all))
}

/// One dimension, sorted.
pub(super) fn sorted_column(values: &[f64], dims: usize, dim: usize) -> Vec<f64> {
    let mut column: Vec<f64> = values.iter().skip(dim).step_by(dims.max(1)).copied().collect();
    column.sort_unstable_by(f64::total_cmp);
    column
}

pub(super) fn run(args: &DatasetShowArgs) -> CommandResult {
    let dataset = open(&args.dataset)?;
    let info = dataset.info();
    let names = &info.feature(dataset.root(), &args.action).map_err(refused)?.names;
    let (dims, values) = all_numbers(&dataset, &args.action)?;
    let range = |dim: usize| {
        let column = sorted_column(&values, dims, dim);
        let at = |share| quantile(&column, share).unwrap_or(f64::NAN);
        let name = names.get(dim).cloned().unwrap_or_else(|| format!("[{dim}]"));
        ActionRange { name, min: at(0.0), q01: at(0.01), q50: at(0.5), q99: at(0.99), max: at(1.0) }
    };
    let mut tasks: BTreeMap<String, u64> = BTreeMap::new();
    for task in dataset.episodes().iter().flat_map(|episode| &episode.tasks) {
        *tasks.entry(task.clone()).or_default() += 1;
    }
    let shown = Shown {
        version: info.version.clone(),
        robot_type: info.robot_type.clone(),
        fps: info.fps,
        rows: info.frames,
        features: info
            .features
            .iter()
            .map(|(name, feature)| ShownFeature {
                name: name.clone(),
                dtype: feature.dtype.name(),
                shape: feature.shape.clone(),
                names: feature.names.clone(),
            })
            .collect(),
        tasks,
        episode_rows: dataset.episodes().iter().map(egogrid_sim_bridge::dataset::Episode::length).collect(),
        action: (0..dims).map(range).collect(),
    };
    if args.json {
        print_json(&shown);
    } else {
        print(&shown, &args.action);
    }
    Ok(())
}

fn print(shown: &Shown, action: &str) {
    let robot = shown.robot_type.as_deref().unwrap_or("unnamed robot");
    println!(
        "LeRobot {}, {robot}: {} episodes, {} rows at {} Hz",
        shown.version,
        shown.episode_rows.len(),
        shown.rows,
        shown.fps
    );
    println!();
    for feature in &shown.features {
        println!("  {:<32} {:<8} {:?} {}", feature.name, feature.dtype, feature.shape, feature.names.join(" "));
    }
    println!("\n{:<10} {:>10} {:>10} {:>10} {:>10} {:>10}", action, "min", "q01", "median", "q99", "max");
    for dim in &shown.action {
        let ActionRange { name, min, q01, q50, q99, max } = dim;
        println!("{name:<10} {min:>10.5} {q01:>10.5} {q50:>10.5} {q99:>10.5} {max:>10.5}");
    }
    println!();
    for (task, episodes) in &shown.tasks {
        println!("{episodes:>5} episodes: {task}");
    }
}
