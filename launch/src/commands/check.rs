//! `egogrid check`: replays the bundle's golden tensors and names the first stage that differs.

use crate::assemble;
use crate::cli::{CheckArgs, Common};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_policies::check::check;
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// Exit code 3 when a stage differs.
pub fn run(common: &Common, args: &CheckArgs) -> CommandResult {
    let bundle = assemble::bundle(&args.bundle)?;
    let environment = assemble::environment(common)?;
    let report = check(&environment, &bundle, &assemble::graph_options(common)?)
        .map_err(|error| CommandError::missing_if(error.is_missing(), error))?;
    if args.json {
        print_json(&json!({
            "bundle": bundle.id(), "ok": report.ok(), "rows": report.rows, "first_difference": report.first_difference(),
        }));
    } else {
        println!("{:<8} {:<20} {:>12} {:>12}", "case", "stage", "difference", "tolerance");
        for row in &report.rows {
            let mark = if row.ok { "" } else { "  differs" };
            println!(
                "{:<8} {:<20} {:>12.3e} {:>12.3e}{mark}",
                row.case, row.stage, row.largest_abs_difference, row.tolerance
            );
        }
    }
    match report.first_difference() {
        None => {
            eprintln!("{}: every stage agrees with its golden tensors", bundle.id());
            Ok(())
        }
        Some(row) => Err(CommandError::check(anyhow!(
            "{} differs from its golden tensors first at stage {} of {}: by {:.3e}, allowed {:.3e}; \
             the bundle, the ONNX Runtime library or the provider is not what it was exported with",
            bundle.id(),
            row.stage,
            row.case,
            row.largest_abs_difference,
            row.tolerance
        ))),
    }
}
