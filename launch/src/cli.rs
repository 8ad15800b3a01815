//! The command line: names, defaults and help texts, nothing else.

// A doc comment here is a help text; only what a user should read has one.
#![allow(missing_docs)]

mod dataset;
mod eval;
mod grid;

pub use dataset::{DatasetCommand, DatasetErrorArgs, DatasetRecordingArgs, DatasetShowArgs, DatasetWriteArgs};
pub use eval::{EvalArgs, EvalCommand, EvalCompareArgs, EvalJoinArgs, EvalReportArgs, LinkArgs, ServeArgs};
pub use grid::{CellRows, GridAdaptArgs, GridCommand, GridFitArgs, GridShowArgs};

use crate::view::live::Use;
use clap::{Args, Parser, Subcommand};
use egogrid_policies::bundle::manifest::PreprocessingSpec;
use std::path::PathBuf;

const PREPROCESSINGS: [&str; 3] = [
    PreprocessingSpec::Processor.name(),
    PreprocessingSpec::Evaluation.name(),
    PreprocessingSpec::EvaluationCenterCrop.name(),
];

/// Runs vision-language-action policies: camera frames and an instruction in, safe end-effector deltas out.
#[derive(Debug, Parser)]
#[command(name = "egogrid", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// libonnxruntime.so to load [default: third_party/onnxruntime/ of the checkout, where ./launch/demo puts it]
    #[arg(long, global = true, env = "EGOGRID_ORT_LIB", value_name = "FILE")]
    pub ort_lib: Option<PathBuf>,
    /// The checkout [default: found from the executable or the working directory]
    #[arg(long, global = true, env = "EGOGRID_ROOT", value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
    /// Threads of ONNX Runtime
    #[arg(long, global = true, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Where the graphs run: cpu, cuda:0, tensorrt:0, openvino, openvino:GPU. What is asked for and cannot start is an error
    /// [default: what --provider-config says, else cpu]
    #[arg(long, global = true, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// Settings of the providers: TOML with [cuda], [tensorrt], [openvino], see docs/providers.md
    #[arg(long, global = true, env = "EGOGRID_PROVIDER_CONFIG", value_name = "FILE")]
    pub provider_config: Option<PathBuf>,
    /// One setting of the provider, over what the file says; repeatable. Example: --provider-option tf32=true
    #[arg(long = "provider-option", global = true, value_name = "KEY=VALUE")]
    pub provider_options: Vec<String>,
    /// Which of the bundle's graphs: cpu, static [default: those made for the provider]
    #[arg(long, global = true, value_name = "FLAVOUR", value_parser = ["cpu", "static"])]
    pub graphs: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The main job: a simulator, the shipped policy, and a recording of what happened
    Demo(DemoArgs),
    /// The onboard daemon: real cameras, a real robot, real time
    Run(RunArgs),
    /// Everything that a running robot says, to MCAP files
    Record(RecordArgs),
    /// Look at a running robot in rerun
    View(ViewArgs),
    /// Run the policy again on a recording: are all tokens the same, and if not, from which stage on?
    Replay(ReplayArgs),
    /// One observation from files
    Infer(InferArgs),
    /// Replay a bundle's golden tensors; names the first stage that differs
    Check(CheckArgs),
    /// Time per stage, cold and warm
    Bench(BenchArgs),
    /// What this machine has and what it lacks
    Doctor(DoctorArgs),
    /// How good is a policy: many episodes, intervals, stress, comparison
    Eval(EvalArgs),
    /// Action grids: show those of a bundle, fit new ones to data
    #[command(subcommand)]
    Grid(GridCommand),
    /// LeRobot datasets: show one, measure a policy against it, make one of recordings
    #[command(subcommand)]
    Dataset(DatasetCommand),
}

/// The strategies of `runtime::schedule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One action per look
    Sync,
    /// The first actions of a chunk, then the next look
    Chunk,
    /// A look at every step, and the mean of the last four chunks as in SimplerEnv
    Ensemble,
    /// Look while executing; actions whose time has passed are skipped
    Overlap,
    /// The same, and the answer continues what is executed meanwhile
    Committed,
}

/// What a view may explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Why {
    /// How probable every cell was
    Cells,
    /// The same, and what each patch of the picture is worth to the chosen tokens: many inferences for each picture
    Occlusion,
}

/// Longer is no latency but a policy that does not answer.
fn latency_ms(text: &str) -> Result<f64, String> {
    let ms: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=10_000.0).contains(&ms) { Ok(ms) } else { Err("expected 0 to 10000".to_owned()) }
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  ./launch/demo --tasks drawer-open,door-open --episodes 1 --seed 7 --out out/demo")]
pub struct DemoArgs {
    /// Meta-World tasks, without -v3
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "drawer-open,button-press-topdown,window-open",
        value_name = "A,B"
    )]
    pub tasks: Vec<String>,
    /// Episodes of each task
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub episodes: u32,
    /// Seed of the first episode of each task; the next ones count up
    #[arg(long, default_value_t = 100_000)]
    pub seed: u32,
    /// Where summary.json, demo.rrd, demo.mcap and demo.mp4 go
    #[arg(long, default_value = "out/demo", value_name = "DIR")]
    pub out: PathBuf,
    /// Steps after which an episode is a failure
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub steps_max: u32,
    /// Actions of a chunk that are executed before the next look [default: what the bundle recommends]; with overlap and
    /// committed the fewest from look to look [default: 1]
    #[arg(long, value_name = "N")]
    pub steps_executed: Option<u16>,
    /// How looks and actions go together
    #[arg(long, value_enum, default_value_t = Strategy::Chunk)]
    pub strategy: Strategy,
    /// Makes every look take that long while the world goes on: what a slow policy does
    #[arg(long, default_value_t = 0.0, value_parser = latency_ms, value_name = "MS")]
    pub latency_ms: f64,
    /// Another bundle than the shipped one
    #[arg(long, value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
    /// Another robot than launch/embodiments/metaworld.toml
    #[arg(long, value_name = "FILE")]
    pub embodiment: Option<PathBuf>,
    /// Side of the camera picture in pixels
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u32).range(32..=1024))]
    pub image_px: u32,
    /// Write summary.json only: for long evaluations
    #[arg(long)]
    pub no_recording: bool,
    /// Also stream to a running rerun viewer, e.g. rerun+http://127.0.0.1:9876/proxy
    #[arg(long, value_name = "URL")]
    pub connect: Option<String>,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid run launch/deployments/metaworld.toml --check")]
pub struct RunArgs {
    /// One robot, its cameras, its policy and how they run together
    pub deployment: PathBuf,
    /// Load and check everything, then end: nothing is opened and nothing moves
    #[arg(long)]
    pub check: bool,
    /// Print a summary as one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// A running robot to listen to.
#[derive(Debug, Clone, Args)]
pub struct Wire {
    /// Where its daemon listens: tcp/127.0.0.1:PORT; tls/HOST:PORT beyond this machine
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp/127.0.0.1:7447")]
    pub connect: String,
    /// Its name in every key
    #[arg(long, value_name = "NAME", default_value = "sim0")]
    pub robot: String,
    /// Its cameras
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "front")]
    pub cameras: Vec<String>,
    /// Its deployment file, which knows name, cameras and mapped keys
    #[arg(long, value_name = "FILE", conflicts_with_all = ["robot", "cameras"])]
    pub deployment: Option<PathBuf>,
    #[command(flatten)]
    pub certificates: Certificates,
    /// Name in the daemon's certificate
    #[arg(long, value_name = "CN", default_value = "daemon")]
    pub daemon_name: String,
}

/// Three files for tls/HOST:PORT.
#[derive(Debug, Clone, Args)]
pub struct Certificates {
    /// Certificate of the authority, for tls/HOST:PORT
    #[arg(long, value_name = "F.pem")]
    pub root_ca_certificate: Option<PathBuf>,
    /// Our own certificate; its name must be in the other side's access list
    #[arg(long, value_name = "F.pem")]
    pub certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "F.pem")]
    pub private_key: Option<PathBuf>,
}

/// Longer is meant to have no end.
fn duration_s(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.1..=1e7).contains(&seconds) { Ok(seconds) } else { Err("expected 0.1 to 10000000".to_owned()) }
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  egogrid record out/run.mcap --connect tcp/127.0.0.1:7447 --robot sim0 --duration-s 60"
)]
pub struct RecordArgs {
    /// F.mcap: one file. Anything else: a directory of files whose oldest ones are deleted at the limit
    pub out: PathBuf,
    #[command(flatten)]
    pub wire: Wire,
    /// Ends by itself after so long [default: at Ctrl-C]
    #[arg(long, value_name = "S", value_parser = duration_s)]
    pub duration_s: Option<f64>,
    /// A file ends when it is that large, MiB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    pub file_mb_max: u64,
    /// All recordings in the directory together, MiB
    #[arg(long, value_name = "MB", default_value_t = 8192, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    pub disk_mb_max: u64,
    /// What stays free on the disk for others, MiB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(0..=1 << 24))]
    pub free_mb_min: u64,
    /// Print a summary as one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  egogrid view --connect tcp/127.0.0.1:7447 --bundle policies/shipped/metaworld/bundle --for decision"
)]
pub struct ViewArgs {
    #[command(flatten)]
    pub wire: Wire,
    /// The policy's bundle: without it there are no action cells and no patches to show
    #[arg(long, value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
    /// Say why the policy chose that, with a policy of this process that runs on the same pictures; needs --bundle
    #[arg(long, value_enum, value_name = "WHAT", requires = "bundle")]
    pub explain: Option<Why>,
    /// Patches a side of each block that occlusion covers: 1 is finest and slowest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub occlusion_patches: u32,
    /// Show a recording instead of a running robot: F.mcap, or a directory of them
    #[arg(long, value_name = "F.mcap", conflicts_with_all = ["explain", "duration_s", "connect", "deployment"])]
    pub recording: Option<PathBuf>,
    /// Which arrangement
    #[arg(long = "for", value_enum, default_value_t)]
    pub layout: Use,
    /// Write a file instead of showing it
    #[arg(long, value_name = "F.rrd", conflicts_with = "viewer")]
    pub save: Option<PathBuf>,
    /// A viewer that runs already, e.g. rerun+http://127.0.0.1:9876/proxy [default: one is started]
    #[arg(long, value_name = "URL")]
    pub viewer: Option<String>,
    /// Ends by itself after so long [default: at Ctrl-C]
    #[arg(long, value_name = "S", value_parser = duration_s)]
    pub duration_s: Option<f64>,
    /// Print what was shown and left out as one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid replay out/demo/demo.mcap policies/shipped/metaworld/bundle")]
pub struct ReplayArgs {
    /// A recording, or a directory of them
    pub recording: PathBuf,
    /// The bundle that was recorded, another precision of it, or another policy of the same kind
    pub bundle: PathBuf,
    /// Only so many looks [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub looks: Option<u64>,
    /// Every stage must be bit-equal, not only the tokens
    #[arg(long)]
    pub exact: bool,
    /// Statistics key [default: the recorded one]
    #[arg(long, value_name = "KEY")]
    pub stats: Option<String>,
    /// Make a regression test of it, e.g. tests/recordings/NAME
    #[arg(long, value_name = "DIR")]
    pub freeze: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  egogrid infer policies/shipped/metaworld/bundle --image frame.png --depth depth.npy \\\n      \
    --instruction 'open the drawer' --stats metaworld_mt5/1.0.0 --json"
)]
pub struct InferArgs {
    /// Directory that the exporter wrote
    pub bundle: PathBuf,
    /// Picture, PNG or JPEG of 8 bits per channel; gray is replicated and alpha dropped, as in the official code
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// What to do
    #[arg(long, value_name = "TEXT")]
    pub instruction: String,
    /// Depth: .npy in metres (float) or millimetres (uint16), or 16-bit PNG in millimetres. Left out, a bundle with an estimator
    /// makes it of the picture
    #[arg(long, value_name = "FILE")]
    pub depth: Option<PathBuf>,
    /// `sensor`: holes (0, NaN) are left out of every mean; `dense`: an estimator's map, used as it is; `auto`: sensor, except
    /// for a float map of the model's own picture size with negative values, which only an estimator makes
    #[arg(long, default_value = "auto", value_parser = ["auto", "sensor", "dense"])]
    pub depth_kind: String,
    /// Nearest and farthest sensor reading that counts, metres [default: every finite depth above 0]
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "MIN,MAX")]
    pub depth_range_m: Option<Vec<f32>>,
    /// Largest share of sub-cells without one valid pixel; those take the depth of the nearest valid one and are counted
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub empty_share_max: f32,
    /// Camera: TOML with width_px, height_px, matrix = 3x3 and, where the policy wants it, base_from_camera = 4x4
    /// [default: the intrinsics that the checkpoint holds for the statistics key]
    #[arg(long, value_name = "K.toml")]
    pub camera: Option<PathBuf>,
    /// Statistics key; may be left out when the bundle has only one
    #[arg(long, value_name = "KEY")]
    pub stats: Option<String>,
    /// What comes before the model's own processor, for families that have a choice [default: the bundle's]
    #[arg(long, value_name = "NAME", value_parser = PREPROCESSINGS)]
    pub preprocessing: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid check policies/shipped/metaworld/bundle")]
pub struct CheckArgs {
    /// Directory that the exporter wrote
    pub bundle: PathBuf,
    /// At most so many observations of a bundle that is not fp32; 0 leaves them out [default: all of the bundle's]
    #[arg(long, value_name = "N")]
    pub observations: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid bench policies/shipped/metaworld/bundle --json")]
pub struct BenchArgs {
    /// Directory that the exporter wrote
    pub bundle: PathBuf,
    /// Warm runs
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(3..=100_000))]
    pub runs: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  egogrid doctor")]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
