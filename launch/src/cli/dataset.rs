//! `egogrid dataset`: names, defaults and help texts, nothing else.

// A doc comment here is a help text; only what a user should read has one.
#![allow(missing_docs)]

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// What is in a dataset: features, episodes, tasks, the range of its actions
    #[command(after_help = "Example:\n  egogrid dataset show out/dataset")]
    Show(DatasetShowArgs),
    /// Open loop: what a policy would have done at each recorded picture, against what was done
    #[command(
        after_help = "Example:\n  egogrid dataset error out/dataset policies/shipped/metaworld/bundle --out out/error.json"
    )]
    Error(DatasetErrorArgs),
    /// Recordings to a dataset that LeRobot trains on
    #[command(after_help = "Example:\n  egogrid dataset write out/demo/demo.mcap out/dataset")]
    Write(DatasetWriteArgs),
    /// A dataset back to a recording, one step for each row
    #[command(after_help = "Example:\n  egogrid dataset recording out/dataset out/dataset.mcap")]
    Recording(DatasetRecordingArgs),
}

#[derive(Debug, Clone, Args)]
pub struct DatasetShowArgs {
    /// Directory with meta/info.json of version 3
    pub dataset: PathBuf,
    /// Feature that holds the actions
    #[arg(long, default_value = "action", value_name = "FEATURE")]
    pub action: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DatasetErrorArgs {
    /// Directory with meta/info.json of version 3
    pub dataset: PathBuf,
    /// Directory that the exporter wrote
    pub bundle: PathBuf,
    /// Statistics key of the policy; may be left out when the bundle has only one
    #[arg(long, value_name = "KEY")]
    pub stats: Option<String>,
    /// Feature that the policy sees [default: the only picture of three channels]
    #[arg(long, value_name = "FEATURE")]
    pub picture: Option<String>,
    /// Feature that holds its depth, 16-bit PNG in millimetres [default: what the dataset says in meta/egogrid.json]
    #[arg(long, value_name = "FEATURE")]
    pub depth: Option<String>,
    /// Feature that holds the recorded actions, in the policy's units and order
    #[arg(long, default_value = "action", value_name = "FEATURE")]
    pub action: String,
    /// Camera: TOML as for `egogrid infer` [default: meta/egogrid.json, else what the bundle holds for the statistics key]
    #[arg(long, value_name = "K.toml")]
    pub camera: Option<PathBuf>,
    /// Only so many episodes [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub episodes: Option<u64>,
    /// Look at every Nth row only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub every: u64,
    /// Largest share of depth sub-cells without one valid pixel
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub empty_share_max: f32,
    /// F.json: the result; beside it F.svg, the plot
    #[arg(long, value_name = "F.json")]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DatasetWriteArgs {
    /// Recordings, or directories of them
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,
    /// Where the dataset goes: empty, or not there
    pub dataset: PathBuf,
    /// Rows per second, for recordings in real time: at most as many as the camera has pictures
    #[arg(long, value_name = "HZ", value_parser = fps)]
    pub fps: Option<f64>,
    /// Only episodes that succeeded
    #[arg(long)]
    pub successes: bool,
    /// Name of the robot in the dataset [default: that of the recorded embodiment]
    #[arg(long, value_name = "NAME")]
    pub robot_type: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DatasetRecordingArgs {
    /// Directory with meta/info.json of version 3
    pub dataset: PathBuf,
    /// The recording, a new file
    #[arg(value_name = "F.mcap")]
    pub out: PathBuf,
    /// Feature of the camera [default: the only picture of three channels]
    #[arg(long, value_name = "FEATURE")]
    pub picture: Option<String>,
    /// Feature that holds its depth, 16-bit PNG in millimetres [default: what the dataset says in meta/egogrid.json]
    #[arg(long, value_name = "FEATURE")]
    pub depth: Option<String>,
    /// Feature that holds the actions: x, y, z in metres, roll, pitch, yaw in radians, gripper 0 to 1
    #[arg(long, default_value = "action", value_name = "FEATURE")]
    pub action: String,
    /// Camera: TOML as for `egogrid infer` [default: meta/egogrid.json]
    #[arg(long, value_name = "K.toml")]
    pub camera: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// As fast as any camera.
fn fps(text: &str) -> Result<f64, String> {
    let hz: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.1..=1000.0).contains(&hz) { Ok(hz) } else { Err("expected 0.1 to 1000".to_owned()) }
}
