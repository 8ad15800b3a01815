//! `egogrid eval`: names, defaults and help texts, nothing else.

// A doc comment here is a help text; only what a user should read has one.
#![allow(missing_docs)]

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  egogrid eval launch/evals/mt5.toml --out out/mt5\n  egogrid eval compare out/mt5 out/mt5-int8"
)]
pub struct EvalArgs {
    #[command(subcommand)]
    pub command: Option<EvalCommand>,
    /// What to evaluate: policy, tasks, episodes, stress
    #[arg(required = true, value_name = "EVAL.toml")]
    pub config: Option<PathBuf>,
    /// Where the run goes; with the same plan it goes on where it was
    #[arg(long, value_name = "DIR", required = true)]
    pub out: Option<PathBuf>,
    /// Simulator processes at once, instead of the file's
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum EvalCommand {
    /// Two runs over the same episodes: is one better, and how many more episodes would it take to know
    Compare(EvalCompareArgs),
    /// Write the report of a run again, also of one that is not finished
    Report(EvalReportArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid eval compare out/fp32 out/int8")]
pub struct EvalCompareArgs {
    /// A run
    pub a: PathBuf,
    /// Another one, of the same tasks and seeds
    pub b: PathBuf,
    /// Which variant of the first
    #[arg(long, value_name = "ARM", default_value = "base")]
    pub arm_a: String,
    /// Which variant of the second
    #[arg(long, value_name = "ARM", default_value = "base")]
    pub arm_b: String,
    /// Write a page, too
    #[arg(long, value_name = "F.html")]
    pub html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid eval report out/mt5")]
pub struct EvalReportArgs {
    /// A run
    pub run: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
