//! `egogrid grid fit`: grids for data.

use super::quality::tokenizer_of;
use super::{ROTATION_AXES, TRANSLATION_AXES, describe, read_actions};
use crate::assemble;
use crate::cli::GridFitArgs;
use crate::commands::dataset::normalized::{Normalization, normalized_actions};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow};
use egogrid_action_grids::fit::{self, GridShape};
use egogrid_action_grids::points::{CellPoints, cell_means};
use egogrid_action_grids::quantization::quantization;
use egogrid_action_grids::{ActionTokenizer, CellDecode, NormStats, NormalizedAction};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// Data that is not `[n, 7]` normalized actions, or a shape that cannot be fitted.
pub fn run(args: &GridFitArgs) -> CommandResult {
    let (actions, stats) = training_actions(args)?;
    let shape = shape(args)?;
    let grids = match args.method.as_str() {
        "quantile" => fit::from_quantiles(&actions, 0.0, &shape),
        _ => fit::gaussians_of(&actions).and_then(|gaussians| fit::from_gaussians(&gaussians, args.sigma_min, &shape)),
    }
    .map_err(CommandError::usage)?;
    let uniform = fit::uniform(&shape).map_err(CommandError::usage)?;
    let mut document = json!({
        "translation": describe(&grids.translation, TRANSLATION_AXES)["edges"],
        "rotation": describe(&grids.rotation, ROTATION_AXES)["edges"],
    });
    let mut tokenizer = tokenizer_of(&grids)?;
    if args.cell_points {
        let CellPoints { translation, rotation } = cell_means(&tokenizer, &actions).map_err(CommandError::usage)?;
        document["cell_points"] = json!({ "translation": translation, "rotation": rotation });
        let points = [translation, rotation].map(CellDecode::Points);
        let [translation, rotation] = points;
        tokenizer = tokenizer.with_cell_decode(translation, rotation).map_err(CommandError::usage)?;
    }
    let (fitted, even) = (error_of(&tokenizer, &actions)?, error_of(&tokenizer_of(&uniform)?, &actions)?);
    write(&args.out, &document)?;
    if let (Some(path), Some(key), Some(stats)) = (&args.statistics_out, &args.statistics_key, stats) {
        write(path, &json!({ key: { "action": { "q01": stats.q01(), "q99": stats.q99(), "mask": stats.mask() } } }))?;
    }
    if args.json {
        print_json(
            &json!({ "actions": actions.len(), "grid": document, "error_mean": fitted, "error_mean_uniform": even }),
        );
    } else {
        println!("{} actions, grid written to {}", actions.len(), args.out.display());
        println!("{:<10} {:>14} {:>14}", "axis", "mean error", "uniform grid");
        for (dim, name) in egogrid_action_grids::action::DIM_NAMES.iter().enumerate().take(6) {
            println!("{name:<10} {:>14.5} {:>14.5}", fitted[dim], even[dim]);
        }
    }
    Ok(())
}

/// Mean quantization error per dimension, in normalized units.
fn error_of(tokenizer: &ActionTokenizer, actions: &[NormalizedAction]) -> CommandResult<Vec<f64>> {
    let report = quantization(tokenizer, actions).map_err(CommandError::usage)?;
    Ok(report.dims.iter().map(|dim| dim.mean).collect())
}

fn write(path: &Path, document: &Value) -> CommandResult {
    let text = serde_json::to_string_pretty(document).map_err(CommandError::usage)?;
    std::fs::write(path, text).with_context(|| path.display().to_string()).map_err(CommandError::usage)
}

/// As many bins as were asked for, or as a bundle has: only then can the bundle be adapted to the grid.
fn shape(args: &GridFitArgs) -> CommandResult<GridShape> {
    let Some(like) = &args.like else {
        return Ok(GridShape {
            translation: three(&args.translation, "--translation")?,
            rotation: three(&args.rotation, "--rotation")?,
        });
    };
    let bundle = assemble::bundle(like)?;
    let tokenizer = bundle.action_tokenizer().map_err(CommandError::usage)?;
    Ok(GridShape::of(tokenizer))
}

fn three(bins: &[u32], option: &str) -> CommandResult<[u32; 3]> {
    <[u32; 3]>::try_from(bins)
        .map_err(|_| CommandError::usage(anyhow!("{option} wants three bin counts like 16,32,8, found {bins:?}")))
}

/// Of a file, or of a dataset with the normalization that was named; and that, if it is the dataset's own.
fn training_actions(args: &GridFitArgs) -> CommandResult<(Vec<NormalizedAction>, Option<NormStats>)> {
    let refuse = |what: &str| Err(CommandError::usage(anyhow!("{}: {what}", args.data.display())));
    let own = args.normalize_by.as_deref() == Some(Path::new("dataset"));
    if args.statistics_out.is_some() && !own {
        return refuse("--statistics-out is for --normalize-by dataset: other quantiles lie in a bundle already");
    }
    if !args.data.is_dir() {
        return match (&args.normalize_by, &args.stats, &args.action) {
            (None, None, None) => Ok((read_actions(&args.data)?, None)),
            _ => refuse("--normalize-by, --stats and --action are for a dataset; a .npy file is normalized already"),
        };
    }
    let normalization = match &args.normalize_by {
        None => {
            return refuse("its actions are not normalized: say whose quantiles count, --normalize-by dataset|BUNDLE");
        }
        Some(by) if by == Path::new("dataset") && args.stats.is_some() => {
            return refuse("--stats is a key of a bundle, and --normalize-by says dataset");
        }
        Some(by) if by == Path::new("dataset") => Normalization::Dataset,
        Some(bundle) => Normalization::Bundle { bundle: bundle.clone(), stats: args.stats.clone() },
    };
    let (actions, stats) = normalized_actions(&args.data, args.action.as_deref().unwrap_or("action"), &normalization)?;
    Ok((actions, own.then_some(stats)))
}
