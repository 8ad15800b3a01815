//! One file per command.

pub mod bench;
pub mod check;
pub mod dataset;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod grid;
pub mod infer;
pub mod record;
pub mod replay;
pub mod run;
pub mod view;
mod waiting;

use crate::cli::{Cli, Command, GridCommand};
use crate::exit::CommandResult;
use serde::Serialize;

/// Dispatches.
///
/// # Errors
/// Whatever the command returns.
pub fn run(cli: &Cli) -> CommandResult {
    match &cli.command {
        Command::Demo(args) => demo::run(&cli.common, args),
        Command::Run(args) => run::run(&cli.common, args),
        Command::Record(args) => record::run(args),
        Command::View(args) => view::run(&cli.common, args),
        Command::Replay(args) => replay::run(&cli.common, args),
        Command::Infer(args) => infer::run(&cli.common, args),
        Command::Check(args) => check::run(&cli.common, args),
        Command::Bench(args) => bench::run(&cli.common, args),
        Command::Doctor(args) => doctor::run(&cli.common, args),
        Command::Eval(args) => eval::run(&cli.common, args),
        Command::Dataset(command) => dataset::run(&cli.common, command),
        Command::Grid(GridCommand::Show(args)) => grid::show(args),
        Command::Grid(GridCommand::Fit(args)) => grid::fit(args),
        Command::Grid(GridCommand::Adapt(args)) => grid::adapt(&cli.common, args),
    }
}

/// One JSON object on stdout.
pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: could not write the result as JSON: {error}"),
    }
}
