//! `egogrid grid`: `show` here, `fit` and `adapt` beside it.

mod adapt;
mod fit;
mod picture;
mod quality;

use crate::assemble;
use crate::cli::GridShowArgs;
use crate::commands::dataset::normalized::{Normalization, normalized_actions};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
pub use adapt::run as adapt;
use anyhow::{Context, anyhow};
use egogrid_action_grids::fit::{GridShape, uniform};
use egogrid_action_grids::{ActionGrid, ActionTokenizer, BinEdges, NormalizedAction};
use egogrid_policies::bundle::Bundle;
pub use fit::run as fit;
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
        normalized_actions(data, args.action.as_deref().unwrap_or("action"), &by)?.0
    } else {
        read_actions(data)?
    };
    let quality = quality(own, &actions, stats)?;
    if let Some(path) = &args.picture {
        let uniform = tokenizer_of(&uniform(&GridShape::of(own)).map_err(CommandError::usage)?)?;
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
