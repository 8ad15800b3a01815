//! `egogrid eval`: names, defaults and help texts, nothing else.

// A doc comment here is a help text; only what a user should read has one.
#![allow(missing_docs)]

use super::Certificates;
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
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Nodes on other machines: docs/evaluate-cluster.md.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Let nodes join here: tcp/127.0.0.1:PORT; tls/0.0.0.0:PORT for other machines. Then --workers may be 0
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "router")]
    pub serve: Option<String>,
    /// Let nodes join through a zenoh router: tls/HOST:PORT
    #[arg(long, value_name = "ENDPOINT")]
    pub router: Option<String>,
    /// Names in the certificates of nodes, or of the router
    #[arg(long, value_name = "CN,CN", value_delimiter = ',', default_value = "node")]
    pub peers: Vec<String>,
    #[command(flatten)]
    pub link: LinkArgs,
}

/// What both sides of an evaluation on several machines have.
#[derive(Debug, Clone, Args)]
pub struct LinkArgs {
    /// Name of the evaluation, the same on both sides
    #[arg(long, value_name = "NAME", default_value = "eval")]
    pub name: String,
    #[command(flatten)]
    pub certificates: Certificates,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  egogrid eval launch/evals/mt10.toml --out out/mt10 --serve tcp/127.0.0.1:7450 --workers 0\n  egogrid eval join launch/evals/mt10.toml --connect tcp/127.0.0.1:7450"
)]
pub struct EvalJoinArgs {
    /// The same file as on the other side: bundles and versions must be the same, too
    #[arg(value_name = "EVAL.toml")]
    pub config: PathBuf,
    /// Where the evaluation or its router listens: tcp/127.0.0.1:PORT; tls/HOST:PORT beyond this machine
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: String,
    /// Name in the certificate of the other side
    #[arg(long, value_name = "CN", default_value = "counter")]
    pub peer: String,
    /// Name of this node, as results show it. Default: host and process id
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Simulator processes at once, instead of the file's
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How long it goes on without an answer, seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub patience_s: u64,
    #[command(flatten)]
    pub link: LinkArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub enum EvalCommand {
    /// Two runs over the same episodes: is one better, and how many more episodes would it take to know
    Compare(EvalCompareArgs),
    /// Write the report of a run again, also of one that is not finished
    Report(EvalReportArgs),
    /// Run episodes of an evaluation on another machine
    Join(EvalJoinArgs),
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
