//! `egogrid grid show` and `egogrid grid fit`.

mod picture;
mod quality;

use crate::assemble;
use crate::cli::{GridFitArgs, GridShowArgs};
use crate::commands::dataset::normalized::{Normalization, normalized_actions};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow};
use egogrid_action_grids::fit::{self, GridShape, Grids};
use egogrid_action_grids::quantization::quantization;
use egogrid_action_grids::{ActionGrid, ActionTokenizer, BinEdges, NormalizedAction};
use egogrid_policies::bundle::Bundle;
use quality::{Quality, quality, tokenizer_of};
use serde_json::{Value, json};
use std::path::Path;

const TRANSLATION_AXES: [&str; 3] = ["theta_rad", "phi_rad", "r"];
const ROTATION_AXES: [&str; 3] = ["roll", "pitch", "yaw"];
/// More data than this is sampled before it is worth fitting.
const ACTIONS_MAX: usize = 50_000_000;

/// `grid show`.
///
/// # Errors
/// A bundle that cannot be read, or one of a family without grids.
pub fn show(args: &GridShowArgs) -> CommandResult {
    let bundle = assemble::bundle(&args.bundle)?;
    if let Ok(bins) = bundle.action_bins() {
        return Err(CommandError::usage(anyhow!(
            "{} has no grids: its family has {} fixed bins of equal width per dimension, and nothing to fit or show",
            bundle.id(),
            bins.centers().len()
        )));
    }
    let tokenizer = bundle.action_tokenizer().map_err(CommandError::usage)?;
    let grids = [
        ("translation", tokenizer.translation_grid(), TRANSLATION_AXES),
        ("rotation", tokenizer.rotation_grid(), ROTATION_AXES),
    ];
    let measured = args.data.as_ref().map(|data| measured(args, &bundle, tokenizer, data)).transpose()?;
    if args.json {
        let described: serde_json::Map<String, Value> =
            grids.iter().map(|(name, grid, axes)| ((*name).to_owned(), describe(grid, *axes))).collect();
        print_json(&json!({ "bundle": bundle.id(), "grids": described, "data": measured }));
        return Ok(());
    }
    println!("{}", bundle.id());
    for (name, grid, axes) in grids {
        println!("\n{name}: {} cells", grid.cell_count());
        for (axis, edges) in axes.iter().zip(grid.axes()) {
            println!(
                "  {axis:<10} {:>3} bins  {:>8.4} .. {:<8.4} {}",
                edges.bin_count(),
                edges.low(),
                edges.high(),
                ruler(edges)
            );
        }
    }
    if let Some(quality) = measured {
        quality.print();
    }
    Ok(())
}

/// The bundle's grids against data: a `.npy` file of normalized actions, or a dataset that the bundle's statistics normalize.
fn measured(args: &GridShowArgs, bundle: &Bundle, own: &ActionTokenizer, data: &Path) -> CommandResult<Quality> {
    let is_dataset = data.is_dir();
    let key = if is_dataset || args.stats.is_some() {
        Some(assemble::stats_key(bundle, args.stats.as_deref())?)
    } else {
        None // normalized numbers of nobody knows which data: there are no units to tell
    };
    let stats = key.as_deref().map(|key| bundle.statistics().get(key)).transpose().map_err(CommandError::usage)?;
    let actions = if is_dataset {
        let by = Normalization::Bundle { bundle: args.bundle.clone(), stats: key.clone() };
        normalized_actions(data, args.action.as_deref().unwrap_or("action"), &by)?
    } else {
        read_actions(data)?
    };
    let quality = quality(own, &actions, stats)?;
    if let Some(path) = &args.picture {
        let shape =
            GridShape { translation: own.translation_grid().bin_counts(), rotation: own.rotation_grid().bin_counts() };
        let uniform = tokenizer_of(&fit::uniform(&shape).map_err(CommandError::usage)?)?;
        let title = format!("translation cells of {} against {} actions", bundle.id(), actions.len());
        let panels = [("this bundle", own), ("uniform, as many cells", &uniform)];
        let text = picture::svg(&title, &panels, &actions, &quality);
        std::fs::write(path, text).with_context(|| path.display().to_string()).map_err(CommandError::usage)?;
        eprintln!("drawn: {}", path.display());
    }
    Ok(quality)
}

/// The edges of one axis as a line of text: a mark where an edge is, over the axis' range.
fn ruler(edges: &BinEdges) -> String {
    const WIDTH: usize = 64;
    let mut line = vec!['·'; WIDTH];
    let span = edges.high() - edges.low();
    for edge in edges.as_slice() {
        let place = ((edge - edges.low()) / span * (WIDTH - 1) as f64).round() as usize;
        line[place.min(WIDTH - 1)] = '|';
    }
    line.into_iter().collect()
}

fn describe(grid: &ActionGrid, axes: [&str; 3]) -> Value {
    let edges: serde_json::Map<String, Value> =
        axes.iter().zip(grid.axes()).map(|(axis, edges)| ((*axis).to_owned(), json!(edges.as_slice()))).collect();
    json!({ "cells": grid.cell_count(), "bins": grid.bin_counts(), "edges": edges })
}

/// `grid fit`.
///
/// # Errors
/// Data that is not `[n, 7]` normalized actions, or a shape that cannot be fitted.
pub fn fit(args: &GridFitArgs) -> CommandResult {
    let actions = training_actions(args)?;
    let shape = GridShape {
        translation: three(&args.translation, "--translation")?,
        rotation: three(&args.rotation, "--rotation")?,
    };
    let grids = match args.method.as_str() {
        "quantile" => fit::from_quantiles(&actions, 0.0, &shape),
        _ => fit::gaussians_of(&actions).and_then(|gaussians| fit::from_gaussians(&gaussians, args.sigma_min, &shape)),
    }
    .map_err(CommandError::usage)?;
    let uniform = fit::uniform(&shape).map_err(CommandError::usage)?;
    let document = json!({
        "translation": describe(&grids.translation, TRANSLATION_AXES)["edges"],
        "rotation": describe(&grids.rotation, ROTATION_AXES)["edges"],
    });
    let (fitted, even) = (error_of(&grids, &actions)?, error_of(&uniform, &actions)?);
    let text = serde_json::to_string_pretty(&document).map_err(CommandError::usage)?;
    std::fs::write(&args.out, text).with_context(|| args.out.display().to_string()).map_err(CommandError::usage)?;
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
fn error_of(grids: &Grids, actions: &[NormalizedAction]) -> CommandResult<Vec<f64>> {
    let report = quantization(&tokenizer_of(grids)?, actions).map_err(CommandError::usage)?;
    Ok(report.dims.iter().map(|dim| dim.mean).collect())
}

fn three(bins: &[u32], option: &str) -> CommandResult<[u32; 3]> {
    <[u32; 3]>::try_from(bins)
        .map_err(|_| CommandError::usage(anyhow!("{option} wants three bin counts like 16,32,8, found {bins:?}")))
}

/// Of a file, or of a dataset with the normalization that was named.
fn training_actions(args: &GridFitArgs) -> CommandResult<Vec<NormalizedAction>> {
    let refuse = |what: &str| Err(CommandError::usage(anyhow!("{}: {what}", args.data.display())));
    if !args.data.is_dir() {
        return match (&args.normalize_by, &args.stats, &args.action) {
            (None, None, None) => read_actions(&args.data),
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
    normalized_actions(&args.data, args.action.as_deref().unwrap_or("action"), &normalization)
}

fn read_actions(path: &Path) -> CommandResult<Vec<NormalizedAction>> {
    let (shape, values) = crate::npy::read_f64(path, ACTIONS_MAX * 7).map_err(CommandError::usage)?;
    let [_, 7] = shape.as_slice() else {
        return Err(CommandError::usage(anyhow!(
            "{}: shape {shape:?}; expected [n, 7] normalized actions",
            path.display()
        )));
    };
    let rows = values.as_chunks::<7>().0.iter().enumerate();
    rows.map(|(row, values)| {
        NormalizedAction::new(*values)
            .with_context(|| format!("{}: row {row}", path.display()))
            .map_err(CommandError::usage)
    })
    .collect()
}
