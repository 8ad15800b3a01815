//! `egogrid dataset error`: open loop. At each recorded picture the policy is asked, and its answer compared with what was done.
//!
//! Nothing is executed, so an error does not add up as on a robot: a small figure here is needed for success, and does not prove it.

use super::eyes::{Eyes, Named};
use super::moments::composed;
use super::report::{Report, Trace};
use super::rig::Rig;
use super::{open, plot, refused};
use crate::assemble;
use crate::cli::{Common, DatasetErrorArgs};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::camera::{CameraIntrinsics, RgbImage, Stamp};
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_sim_bridge::dataset::{Dataset, Episode, Rows};
use indicatif::ProgressBar;

/// How the policy looks, and how its steps go into rows.
struct Setup {
    eyes: Eyes,
    /// That of the checkpoint, where nothing else is known: the same lens at any size.
    training_lens: Option<CameraIntrinsics>,
    /// Policy steps in one row of the dataset.
    steps_per_row: usize,
}

pub(super) fn run(common: &Common, args: &DatasetErrorArgs) -> CommandResult {
    let dataset = open(&args.dataset)?;
    let bundle = assemble::bundle(&args.bundle)?;
    assemble::warn_of_precision(&bundle);
    let stats_key = assemble::stats_key(&bundle, args.stats.as_deref())?;
    let stats = bundle.statistics().get(&stats_key).map_err(CommandError::usage)?.clone();
    let depth = DepthConfig { empty_share_max: args.empty_share_max, ..DepthConfig::default() };
    let rules = depth.checked().map_err(CommandError::usage)?;
    let environment = assemble::environment(common)?;
    let options =
        LoadOptions { stats_key: stats_key.clone(), graph: assemble::graph_options(common)?, preprocessing: None };
    let mut policy = assemble::policy_with(&environment, &bundle, &options, rules, false)?;
    let setup = Setup::of(common, args, &dataset, &bundle, &stats_key, policy.spec())?;
    let feature = dataset.info().feature(dataset.root(), &args.action).map_err(refused)?;
    if feature.values() != stats.dims() {
        return Err(CommandError::usage(anyhow!(
            "feature {:?} has {} numbers, and actions of {stats_key:?} have {}; name another feature (--action) or key (--stats)",
            args.action,
            feature.values(),
            stats.dims()
        )));
    }
    let horizon = usize::from(policy.spec().chunk_len) / setup.steps_per_row;
    let mut report = Report::new(&dataset, &bundle, &stats_key, &stats, horizon, setup.steps_per_row, &feature.names);
    let episodes = args.episodes.map_or(dataset.episodes().len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
    let episodes = &dataset.episodes()[..episodes.min(dataset.episodes().len())];
    let rows_all = episodes.iter().map(Episode::length).sum();
    let bar = ProgressBar::new(rows_all).with_style(assemble::style("{bar:30} {pos}/{len} rows  {eta} left"));
    let features: Vec<&str> = std::iter::once(args.action.as_str()).chain(setup.eyes.columns()).collect();
    let mut reader = dataset.rows(&features).map_err(refused)?;
    for episode in episodes {
        let rows = reader.episode(episode).map_err(refused)?;
        look_at(args, &dataset, episode, &rows, &setup, policy.as_mut(), &mut report, &bar)?;
    }
    bar.finish_and_clear();
    let report = report.finished();
    if let Some(out) = &args.out {
        let text = serde_json::to_string_pretty(&report).map_err(CommandError::usage)?;
        let svg = out.with_extension("svg");
        for (path, text) in [(out.as_path(), text), (svg.as_path(), plot::svg(&report))] {
            std::fs::write(path, text).with_context(|| path.display().to_string()).map_err(CommandError::usage)?;
        }
        eprintln!("written: {}, {}", out.display(), svg.display());
    }
    if args.json {
        print_json(&report);
    } else {
        report.print();
    }
    Ok(())
}

impl Setup {
    fn of(
        common: &Common,
        args: &DatasetErrorArgs,
        dataset: &Dataset,
        bundle: &Bundle,
        stats_key: &str,
        spec: &PolicySpec,
    ) -> CommandResult<Self> {
        let rig = Rig::read(dataset.root())?;
        let named =
            Named { picture: args.picture.as_deref(), depth: args.depth.as_deref(), camera: args.camera.as_deref() };
        let eyes = Eyes::of(common, dataset, &rig, named)?;
        let steps_per_row = steps_per_row(dataset.info().fps, spec)?;
        if !bundle.family().uses_geometry() {
            return Ok(Self { eyes: eyes.without_geometry(), training_lens: None, steps_per_row });
        }
        let training_lens = if eyes.lens.is_none() {
            let stored = bundle.intrinsics(stats_key).map_err(CommandError::usage)?;
            eprintln!("the dataset does not say what its camera is like: intrinsics of {} from the bundle", stored.key);
            Some(stored.intrinsics)
        } else {
            None
        };
        Ok(Self { eyes, training_lens, steps_per_row })
    }
}

/// A whole number, or the two cannot be compared.
fn steps_per_row(fps: f64, spec: &PolicySpec) -> CommandResult<usize> {
    let Some(control_hz) = spec.control_hz.map(f64::from) else { return Ok(1) };
    let steps = (control_hz / fps).round();
    if (control_hz / fps - steps).abs() > 0.01 * steps || !(1.0..=f64::from(spec.chunk_len)).contains(&steps) {
        return Err(CommandError::usage(anyhow!(
            "the dataset has {fps} rows per second, and policy {} {control_hz} steps per second in chunks of {}; \
             expected 1 to {} whole steps in a row",
            spec.id,
            spec.chunk_len,
            spec.chunk_len
        )));
    }
    Ok(steps as usize)
}

#[allow(clippy::too_many_arguments)] // one episode of everything above
fn look_at(
    args: &DatasetErrorArgs,
    dataset: &Dataset,
    episode: &Episode,
    rows: &Rows,
    setup: &Setup,
    policy: &mut dyn Policy,
    report: &mut Report,
    bar: &ProgressBar,
) -> CommandResult {
    let mut pictures = setup.eyes.pictures(dataset, episode, rows)?;
    let recorded = rows.numbers.get(&args.action).cloned().unwrap_or_default();
    let mut trace = Trace::default();
    policy.reset();
    for row in 0..rows.length {
        let rgb = pictures.next()?;
        bar.inc(1);
        if !(row as u64).is_multiple_of(args.every) {
            continue;
        }
        let observation = observation(setup, rows, row, rgb)?;
        match policy.infer(&observation).and_then(|chunk| predicted(&chunk, setup.steps_per_row)) {
            Ok(predicted) => {
                for (step, action) in predicted.iter().enumerate().take_while(|(step, _)| row + step < rows.length) {
                    report.add(step, action, recorded.row(row + step));
                }
                if let Some(first) = predicted.into_iter().next() {
                    trace.add(row, recorded.row(row), first);
                }
            }
            Err(
                error @ (PolicyError::Missing { .. } | PolicyError::Unwanted { .. } | PolicyError::Observation { .. }),
            ) => {
                return Err(CommandError::usage(
                    anyhow::Error::new(error).context(format!("episode {}, row {row}", episode.index)),
                ));
            }
            Err(error) => report.failed(error.kind()),
        }
    }
    report.trace(episode.index, trace);
    Ok(())
}

/// The answer in rows of the dataset.
fn predicted(chunk: &ActionChunk, steps_per_row: usize) -> Result<Vec<Vec<f64>>, PolicyError> {
    if steps_per_row == 1 {
        return Ok(chunk.actions.iter().map(|row| row.values().to_vec()).collect());
    }
    let deltas = chunk.deltas()?;
    // Chunks of at least one step are always composed.
    let rows = deltas.chunks_exact(steps_per_row).filter_map(|steps| composed(steps).ok());
    Ok(rows.map(|row| row.to_vec()).collect())
}

fn observation(setup: &Setup, rows: &Rows, row: usize, rgb: RgbImage) -> CommandResult<Observation> {
    let found = [rgb.width_px(), rgb.height_px()];
    let mut frame = setup.eyes.frame(rows, row, rgb, Stamp { ns: 0 })?;
    frame.intrinsics = frame.intrinsics.or_else(|| setup.training_lens.map(|lens| lens.resized(found)));
    let instruction = rows.tasks.get(row).cloned().unwrap_or_default();
    Ok(Observation { sequence: row as u64, frame, instruction, state: None })
}
