//! `egogrid grid`: names, defaults and help texts, nothing else.

// A doc comment here is a help text; only what a user should read has one.
#![allow(missing_docs)]

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum GridCommand {
    /// The grids of a bundle: bins, edges, resolution
    #[command(after_help = "Example:\n  egogrid grid show policies/shipped/metaworld/bundle")]
    Show(GridShowArgs),
    /// Fit grids to actions: normalized ones, `[n, 7]` in a .npy file, or those of a LeRobot dataset
    #[command(
        after_help = "Example:\n  egogrid grid fit actions.npy --translation 16,32,8 --rotation 16,16,16 --out grid.json\n  \
        egogrid grid fit out/dataset --normalize-by dataset --out grid.json"
    )]
    Fit(GridFitArgs),
    /// Make a bundle for other grids of the same shape: embeddings and head are interpolated, nothing is trained
    #[command(
        after_help = "Example:\n  egogrid grid fit actions.npy --like policies/shipped/metaworld/bundle --sigma-min 0.01 --out grid.json\n  \
        egogrid grid adapt policies/shipped/metaworld/bundle --grid grid.json --out out/adapted"
    )]
    Adapt(GridAdaptArgs),
}

/// What becomes of the rows that belong to cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CellRows {
    /// Interpolate between the old cells around each new one
    Interpolate,
    /// Leave each with the number of its cell
    Keep,
}

#[derive(Debug, Clone, Args)]
pub struct GridAdaptArgs {
    /// A SpatialVLA bundle in fp32
    pub bundle: PathBuf,
    /// The new grids, as `egogrid grid fit` writes them
    #[arg(long, value_name = "F.json")]
    pub grid: PathBuf,
    /// More statistics keys for the new bundle, as `egogrid grid fit --statistics-out` writes them
    #[arg(long, value_name = "F.json")]
    pub statistics: Option<PathBuf>,
    /// Rows of the input table
    #[arg(long, value_enum, default_value_t = CellRows::Interpolate)]
    pub embeddings: CellRows,
    /// Rows of the head; the official code keeps them, because it trains afterwards
    #[arg(long, value_enum, default_value_t = CellRows::Interpolate)]
    pub head: CellRows,
    /// Where the new bundle goes; must not exist yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct GridShowArgs {
    /// Directory that the exporter wrote
    pub bundle: PathBuf,
    /// Measure them on this data: `[n, 7]` normalized actions in a .npy file, or a LeRobot dataset, which the bundle's statistics normalize
    #[arg(long, value_name = "F.npy|DATASET")]
    pub data: Option<PathBuf>,
    /// Statistics key of the bundle, for units and for a dataset; may be left out for a dataset when there is only one
    #[arg(long, value_name = "KEY", requires = "data")]
    pub stats: Option<String>,
    /// Of a dataset: the feature that holds the actions [default: action]
    #[arg(long, value_name = "FEATURE", requires = "data")]
    pub action: Option<String>,
    /// Draw the cells against the data, and the errors
    #[arg(long, value_name = "F.svg", requires = "data")]
    pub picture: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct GridFitArgs {
    /// `[n, 7]` normalized actions: x, y, z, roll, pitch, yaw, gripper; or a directory with a LeRobot dataset
    pub data: PathBuf,
    /// For a dataset: whose 1 % and 99 % quantiles become -1 and +1: `dataset`, or a bundle
    #[arg(long, value_name = "dataset|BUNDLE")]
    pub normalize_by: Option<PathBuf>,
    /// Statistics key of that bundle; may be left out when it has only one
    #[arg(long, value_name = "KEY")]
    pub stats: Option<String>,
    /// For a dataset: the feature that holds the actions [default: action]
    #[arg(long, value_name = "FEATURE")]
    pub action: Option<String>,
    /// Bins of theta, phi, r
    #[arg(long, value_delimiter = ',', num_args = 1, default_value = "16,32,8")]
    pub translation: Vec<u32>,
    /// Bins of roll, pitch, yaw
    #[arg(long, value_delimiter = ',', num_args = 1, default_value = "16,16,16")]
    pub rotation: Vec<u32>,
    /// As many bins as the grids of this bundle have
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["translation", "rotation"])]
    pub like: Option<PathBuf>,
    /// `gaussian`: equal mass under a fitted Gaussian, as the paper does it; `quantile`: equal mass of the data itself
    #[arg(long, default_value = "gaussian", value_parser = ["gaussian", "quantile"])]
    pub method: String,
    /// Smallest sigma of a Gaussian
    #[arg(long, default_value_t = 0.0)]
    pub sigma_min: f64,
    /// Let each cell decode to the mean of its data instead of its middle
    #[arg(long)]
    pub cell_points: bool,
    /// Where the grid goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// With `--normalize-by dataset`: write the quantiles too, for `egogrid grid adapt --statistics`
    #[arg(long, value_name = "FILE", requires = "statistics_key")]
    pub statistics_out: Option<PathBuf>,
    /// The key that they get
    #[arg(long, value_name = "KEY", requires = "statistics_out")]
    pub statistics_key: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
