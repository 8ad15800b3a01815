//! `egogrid grid adapt`: a bundle for other grids.

use crate::assemble;
use crate::cli::{CellRows, Common, GridAdaptArgs};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::Context;
use egogrid_policies::adapt::{AdaptBundleError, Adaptation, adapt};
use egogrid_policies::bundle::RowsSpec;
use indicatif::ProgressBar;
use serde_json::json;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Largest `grid.json` or statistics file that is read.
const JSON_BYTES_MAX: u64 = 16 << 20;

/// Runs the command.
///
/// # Errors
/// Exit code 3 when the old bundle does not pass its own check, or the new one is not what was to be written.
pub fn run(common: &Common, args: &GridAdaptArgs) -> CommandResult {
    let bundle = assemble::bundle(&args.bundle)?;
    let environment = assemble::environment(common)?;
    let grid_json = read(&args.grid)?;
    let statistics_json = args.statistics.as_deref().map(read).transpose()?;
    let new = Adaptation {
        grid_json: &grid_json,
        statistics_json: statistics_json.as_deref(),
        embeddings: rows(args.embeddings),
        head: rows(args.head),
    };
    let bar = ProgressBar::new_spinner().with_style(assemble::style("{spinner} {msg}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let adapted = adapt(&environment, &bundle, &new, &args.out, &mut |step| bar.set_message(step.to_owned()));
    bar.finish_and_clear();
    let adapted = adapted.map_err(failed)?;
    if args.json {
        print_json(&json!({
            "bundle": args.out.display().to_string(), "digest": adapted.digest, "from": bundle.digest(),
            "cells": adapted.cells, "cells_moved": adapted.cells_moved,
            "golden_cases": adapted.cases, "golden_cases_with_other_ids": adapted.cases_changed,
        }));
        return Ok(());
    }
    println!("{} is {} for other grids, sha256 {}", args.out.display(), bundle.id(), &adapted.digest[..16]);
    println!(
        "{} of {} cells are between old ones now, the others are at their place",
        adapted.cells_moved, adapted.cells
    );
    println!("{} of {} golden cases are answered with other ids", adapted.cases_changed, adapted.cases);
    println!("nothing was trained: measure it before you rely on it, with `egogrid demo --bundle` or on your own data");
    Ok(())
}

fn rows(asked: CellRows) -> RowsSpec {
    match asked {
        CellRows::Interpolate => RowsSpec::Interpolated,
        CellRows::Keep => RowsSpec::Kept,
    }
}

fn failed(error: AdaptBundleError) -> CommandError {
    if error.is_check() { CommandError::check(error) } else { CommandError::missing_if(error.is_missing(), error) }
}

fn read(path: &Path) -> CommandResult<Vec<u8>> {
    let bytes = std::fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = bytes.with_context(|| path.display().to_string()).map_err(CommandError::usage)?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        return Err(CommandError::usage(anyhow::anyhow!(
            "{} has more than {JSON_BYTES_MAX} bytes, expected a grid or statistics file",
            path.display()
        )));
    }
    Ok(bytes)
}
