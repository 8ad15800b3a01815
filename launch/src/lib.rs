//! Composition root: reads arguments, environment and configuration, names concrete types, prints to people.
//!
//! The only crate that does. `main` maps every error to a documented exit code, see [`exit`].

pub mod assemble;
mod background;
pub mod cli;
pub mod commands;
pub mod deployment;
pub mod evaluation;
pub mod exit;
mod files;
mod lockstep;
pub mod machine;
mod markup;
pub mod npy;
mod provider_config;
pub mod recording;
pub mod statistics;
pub mod video;
pub mod view;
mod wire;

use clap::Parser;
use egogrid_sim_bridge::endpoint::WireWatch;
use std::process::ExitCode;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Parses the command line, runs the command, prints its error, returns the exit code.
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EGOGRID_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,zenoh=error,re_sdk=error,ort=error"));
    let told = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(told).with(WireWatch::layer()).init();
    match commands::run(&cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("error: {failed}");
            ExitCode::from(failed.failure.code())
        }
    }
}
