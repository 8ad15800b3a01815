//! Composition root: reads arguments, environment and configuration, names concrete types, prints to people.
//!
//! The only crate that does. `main` maps every error to a documented exit code, see [`exit`].

pub mod assemble;
mod background;
pub mod cli;
pub mod commands;
pub mod deployment;
pub mod exit;
pub mod machine;
pub mod npy;
mod provider_config;
pub mod statistics;
pub mod video;
pub mod view;

use clap::Parser;
use std::process::ExitCode;

/// Parses the command line, runs the command, prints its error, returns the exit code.
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EGOGRID_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,zenoh=error,re_sdk=error,ort=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match commands::run(&cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("error: {failed}");
            ExitCode::from(failed.failure.code())
        }
    }
}
