//! `egogrid eval`: runs an evaluation, or goes on with it; `compare` and `report` read what it wrote.

mod compare;
mod nodes;

use crate::cli::{Common, EvalArgs, EvalCommand, EvalReportArgs};
use crate::commands::print_json;
use crate::commands::waiting::interrupt_flag;
use crate::evaluation::journal;
use crate::evaluation::record::EvalRun;
use crate::evaluation::report::{self, Report, TaskReport};
use crate::evaluation::{Settings, evaluate, table};
use crate::exit::{CommandError, CommandResult, Failure};
use crate::files::write_whole;
use anyhow::{Context, anyhow};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// Exit code 3 for harness failures, 4 for something missing, 130 when interrupted: what is done is kept then.
pub fn run(common: &Common, args: &EvalArgs) -> CommandResult {
    match &args.command {
        Some(EvalCommand::Compare(args)) => return compare::run(args),
        Some(EvalCommand::Report(args)) => return again(args),
        Some(EvalCommand::Join(args)) => return nodes::join(common, args),
        None => {}
    }
    // clap asks for both where there is no subcommand.
    let (Some(config), Some(out)) = (&args.config, &args.out) else {
        return Err(CommandError::usage(anyhow!("eval wants EVAL.toml and --out DIR")));
    };
    let interrupted = interrupt_flag();
    let serve = nodes::served(&args.serve)?;
    let settings = Settings { config, out, workers: args.workers, serve: serve.as_ref(), interrupted: &interrupted };
    let evaluated = evaluate(common, &settings)?;
    if evaluated.resumed > 0 {
        eprintln!("{} episodes were done already", evaluated.resumed);
    }
    if evaluated.complete {
        evaluated.again.record(&evaluated.run.episodes, &mut |record| {
            eprintln!("recording {} with seed {}, which failed", record.task, record.seed);
        });
    }
    let report = write(out, &evaluated.run, &format!("egogrid eval {} --out {}", config.display(), out.display()))?;
    tell(&report, out, args.json);
    if !evaluated.complete {
        let error =
            anyhow!("interrupted; {} episodes are done, the same command goes on", evaluated.run.episodes.len());
        return Err(CommandError { failure: Failure::Interrupted, error });
    }
    match report.harness_failures() {
        0 => Ok(()),
        failures => Err(CommandError::check(anyhow!(
            "{failures} episodes failed in the harness and were not counted; the reasons are in report.html. A new --out tries them again"
        ))),
    }
}

/// `eval report`.
fn again(args: &EvalReportArgs) -> CommandResult {
    let run = journal::read(&args.run).map_err(CommandError::usage)?;
    let report = write(&args.run, &run, &format!("egogrid eval EVAL.toml --out {}", args.run.display()))?;
    tell(&report, &args.run, args.json);
    Ok(())
}

fn write(dir: &Path, run: &EvalRun, command: &str) -> CommandResult<Report> {
    let report = Report::of(run, dir, command);
    let json = serde_json::to_vec_pretty(&report).map_err(CommandError::usage)?;
    let page = report::html(&report, dir);
    for (name, bytes) in [("report.json", json.as_slice()), ("report.html", page.as_bytes())] {
        let path = dir.join(name);
        write_whole(&path, bytes).with_context(|| path.display().to_string()).map_err(CommandError::usage)?;
    }
    table::write(dir, run).map_err(CommandError::usage)?;
    Ok(report)
}

fn tell(report: &Report, dir: &Path, json: bool) {
    if json {
        print_json(report);
        return;
    }
    for arm in &report.arms {
        println!(
            "\n{:<28} {:>9}  {:>7}  {:<18} {:>6} {:>8}",
            arm.arm, "solved", "rate", "95 % interval", "steps", "harness"
        );
        for (name, task) in report.run.tasks.iter().filter_map(|name| Some((name, arm.tasks.get(name)?))) {
            println!("{name:<28} {}", row(task));
        }
        if let (Some(mean), Some([low, high])) = (arm.suite.mean, arm.suite.interval) {
            println!(
                "{:<28} {:>4}/{:<4}  {:>5.1} %  {:>5.1} … {:>5.1} %  {:>6} {:>8}",
                "mean over tasks",
                arm.suite.successes,
                arm.suite.episodes,
                100.0 * mean,
                100.0 * low,
                100.0 * high,
                "",
                arm.suite.harness_failures
            );
        }
        if let Some(stop) = &arm.stop {
            println!("{}", stop.words);
        }
    }
    let few = report.tasks.values().filter(|task| !task.warnings.is_empty()).count();
    if few > 0 {
        println!(
            "\n{few} of {} tasks have rates that stand on too little; report.html says which and how much they need",
            report.tasks.len()
        );
    }
    println!("\nreport: {}", dir.join("report.html").display());
}

fn row(task: &TaskReport) -> String {
    let rate = task.rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", 100.0 * rate));
    let interval = task
        .interval
        .map_or_else(|| "-".to_owned(), |[low, high]| format!("{:>5.1} … {:>5.1} %", 100.0 * low, 100.0 * high));
    let steps = task.mean_steps.map_or_else(|| "-".to_owned(), |steps| format!("{steps:.0}"));
    format!(
        "{:>4}/{:<4}  {rate:>7}  {interval:<18} {steps:>6} {:>8}",
        task.successes, task.episodes, task.harness_failures
    )
}
