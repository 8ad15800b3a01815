//! `egogrid check`: replays the bundle's golden tensors and names the first stage that differs; where the weights are not
//! fp32, also what they do to tokens and actions, over all observations of the bundle.

use crate::assemble;
use crate::cli::{CheckArgs, Common};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::check::{CheckError, CheckReport, check};
use egogrid_policies::precision::{PrecisionReport, measure};
use egogrid_runtime::execution::{Environment, GraphOptions};
use indicatif::ProgressBar;
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// Exit code 3 when a stage differs, or actions differ by more than the bundle says.
pub fn run(common: &Common, args: &CheckArgs) -> CommandResult {
    let bundle = assemble::bundle(&args.bundle)?;
    let environment = assemble::environment(common)?;
    let graph = assemble::graph_options(common)?;
    let report = check(&environment, &bundle, &graph).map_err(failed)?;
    let precision = precision(&environment, &bundle, &graph, args.observations)?;
    let ok = report.ok() && precision.as_ref().is_none_or(PrecisionReport::ok);
    if args.json {
        print_json(&json!({
            "bundle": bundle.id(), "ok": ok, "rows": report.rows, "first_difference": report.first_difference(),
            "precision": precision,
        }));
    } else {
        print(&report, precision.as_ref());
    }
    verdict(&bundle, &report, precision.as_ref())
}

fn failed(error: CheckError) -> CommandError {
    CommandError::missing_if(error.is_missing(), error)
}

fn precision(
    environment: &Environment,
    bundle: &Bundle,
    graph: &GraphOptions,
    count_max: Option<u32>,
) -> CommandResult<Option<PrecisionReport>> {
    let bar = ProgressBar::new(0).with_style(assemble::style("{bar:30} {pos}/{len} observations, {eta} left"));
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let count_max = count_max.map_or(usize::MAX, |count| count as usize);
    let report = measure(environment, bundle, graph, count_max, &mut progress).map_err(failed);
    bar.finish_and_clear();
    report
}

fn print(report: &CheckReport, precision: Option<&PrecisionReport>) {
    println!("{:<8} {:<20} {:>12} {:>12}", "case", "stage", "difference", "tolerance");
    for row in &report.rows {
        let tolerance = row.tolerance.map_or_else(|| "not judged".to_owned(), |tolerance| format!("{tolerance:.3e}"));
        let mark = if row.ok { "" } else { "  differs" };
        println!("{:<8} {:<20} {:>12.3e} {tolerance:>12}{mark}", row.case, row.stage, row.largest_abs_difference);
    }
    let Some(found) = precision else { return };
    let recorded = &found.recorded;
    println!("\n{:<36} {:>12} {:>12}", "against fp32", "here", "at export");
    let counts = [
        ("observations", found.observations, recorded.observations),
        ("observations that differ", found.observations_differ, recorded.observations_differ),
        ("ids", found.ids, recorded.ids),
        ("ids that differ", found.ids_differ, recorded.ids_differ),
        ("chunks on one side only", found.chunks_differ, recorded.chunks_differ),
    ];
    for (name, here, at_export) in counts {
        println!("{name:<36} {here:>12} {at_export:>12}");
    }
    let differences = [
        ("largest difference of logits", found.logit_difference_max, recorded.logit_difference_max),
        ("largest difference, normalized action", found.action_difference_max, recorded.action_difference_max),
    ];
    for (name, here, at_export) in differences {
        println!("{name:<36} {here:>11.4} {at_export:>12.4}");
    }
    println!("{:<36} {:>12.4}", "largest difference, physical action", found.physical_difference_max);
    println!("{:<36} {:>12} {:>12}", "bound of normalized actions", found.action_bound, recorded.action_bound);
}

fn verdict(bundle: &Bundle, report: &CheckReport, precision: Option<&PrecisionReport>) -> CommandResult {
    if let Some(row) = report.first_difference() {
        return Err(CommandError::check(anyhow!(
            "{} differs from its golden tensors first at stage {} of {}: by {:.3e}, allowed {:.3e}; \
             the bundle, the ONNX Runtime library or the provider is not what it was exported with",
            bundle.id(),
            row.stage,
            row.case,
            row.largest_abs_difference,
            row.tolerance.unwrap_or_default()
        )));
    }
    if let Some(found) = precision.filter(|found| !found.ok()) {
        return Err(CommandError::check(anyhow!(
            "{} changes normalized actions by {:.4} here, and says that it stays within {}: {} of {} ids differ; \
             run it on the processor or library that it was measured on, or export it again here",
            bundle.id(),
            found.action_difference_max,
            found.action_bound,
            found.ids_differ,
            found.ids
        )));
    }
    match bundle.manifest().precision_check {
        None => eprintln!("{}: every stage agrees with its golden tensors", bundle.id()),
        Some(_) => {
            eprintln!("{}: every stage is as near to its golden tensors as it was at export", bundle.id());
            assemble::warn_of_precision(bundle);
        }
    }
    Ok(())
}
