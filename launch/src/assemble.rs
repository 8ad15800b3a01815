//! Configuration to running parts: where the checkout is, the ONNX Runtime library, a bundle, a policy, a robot.

use crate::cli::Common;
use crate::exit::{CommandError, CommandResult};
use crate::provider_config;
use anyhow::{Context, anyhow};
use egogrid_action_grids::RowStats;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::bundle::manifest::{PointFrame, PrecisionCheck};
use egogrid_policies::registry::{self, LoadError, LoadOptions};
use egogrid_runtime::embodiment::{Embodiment, EmbodimentConfig};
use egogrid_runtime::execution::{Environment, ExecutionError, Flavour, GraphOptions, Provider, ProviderConfig};
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::{BatchPolicy, Policy};
use egogrid_runtime::units::{ActionUnits, in_units};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// The largest TOML file that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The checkout: given, or the nearest parent of the executable or the working directory that has the marker.
///
/// # Errors
/// Neither is inside a checkout.
pub fn root(common: &Common) -> CommandResult<PathBuf> {
    const MARKER: &str = "launch/embodiments/metaworld.toml";
    if let Some(root) = &common.root {
        return Ok(root.clone());
    }
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    let found = starts.iter().flatten().flat_map(|start| start.ancestors()).find(|dir| dir.join(MARKER).is_file());
    found.map(Path::to_path_buf).ok_or_else(|| {
        CommandError::missing(anyhow!(
            "no Egogrid checkout around the executable or the working directory; set EGOGRID_ROOT to it"
        ))
    })
}

/// One line on stderr where the weights of `bundle` change actions beyond their bound, or where nobody knows.
pub fn warn_of_precision(bundle: &Bundle) {
    let manifest = bundle.manifest();
    if let Some(warning) = manifest.precision_check.as_ref().and_then(PrecisionCheck::warning) {
        eprintln!("warning: {} is {}: {warning}", bundle.id(), manifest.precision);
    }
}

/// The library: given, or where `./launch/demo` puts it.
///
/// # Errors
/// No such file, or not a usable ONNX Runtime.
pub fn environment(common: &Common) -> CommandResult<Environment> {
    let library = match &common.ort_lib {
        Some(library) => library.clone(),
        None => root(common)?.join("third_party/onnxruntime/libonnxruntime.so"),
    };
    Environment::load(&library).map_err(execution_error)
}

/// What `--threads`, `--provider` and the options around it ask for.
///
/// # Errors
/// An unknown provider or setting; lists the known.
pub fn graph_options(common: &Common) -> CommandResult<GraphOptions> {
    let flavour = common.graphs.as_deref().map(|name| match name {
        "static" => Flavour::Static,
        _ => Flavour::Cpu, // the only other one that the command line takes
    });
    Ok(GraphOptions { provider: provider(common)?, flavour, threads: common.threads, ..GraphOptions::default() })
}

/// The provider: settings of the file, then of the command line. Directories are relative to the working directory.
///
/// # Errors
/// An unknown provider or setting; lists the known.
pub fn provider(common: &Common) -> CommandResult<Provider> {
    let mut table = match &common.provider_config {
        Some(path) => toml_file::<toml::Table>(path)?,
        None => toml::Table::new(),
    };
    if let Some(provider) = &common.provider {
        table.insert("provider".to_owned(), provider.clone().into());
    }
    provider_config::set(&mut table, &common.provider_options).map_err(CommandError::usage)?;
    let named = |error: anyhow::Error| match &common.provider_config {
        Some(path) => CommandError::usage(error.context(path.display().to_string())),
        None => CommandError::usage(error),
    };
    let config: ProviderConfig = table.try_into().map_err(|error: toml::de::Error| named(error.into()))?;
    config.checked().map_err(|error| named(error.into()))
}

fn execution_error(error: ExecutionError) -> CommandError {
    CommandError::missing_if(error.is_missing(), error)
}

/// Reads and verifies a bundle, with a progress bar when it takes long and somebody watches.
///
/// # Errors
/// Everything that [`Bundle::open`] refuses.
pub fn bundle(dir: &Path) -> CommandResult<Bundle> {
    if !dir.is_dir() {
        return Err(CommandError::missing(anyhow!(
            "no bundle at {}; make one with `python -m egogrid_export CHECKPOINT_DIR BUNDLE_DIR`",
            dir.display()
        )));
    }
    // Drawn only on a terminal, and only once it has taken a moment.
    let bar = ProgressBar::new(0).with_style(style("verifying {bar:30} {bytes}/{total_bytes}"));
    let opened = Bundle::open_with_progress(dir, &mut |progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
    });
    bar.finish_and_clear();
    opened.map_err(CommandError::usage)
}

/// A progress style; the templates are constants of this crate.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The statistics key: given, or the only one there is.
///
/// # Errors
/// Several keys and none chosen; lists them.
pub fn stats_key(bundle: &Bundle, asked: Option<&str>) -> CommandResult<String> {
    if let Some(key) = asked {
        return Ok(key.to_owned());
    }
    let keys: Vec<&str> = bundle.statistics().keys().collect();
    match keys.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(CommandError::usage(anyhow!("this bundle has statistics for {keys:?}; choose one with --stats"))),
    }
}

/// Whether a bundle's statistics under `key` are of one arm with one gripper: a policy for another robot would only ever be held.
///
/// # Errors
/// No such key, or statistics of another robot.
pub fn require_one_arm(bundle: &Bundle, key: &str) -> CommandResult {
    let statistics = bundle.statistics().get(key).and_then(RowStats::one_arm);
    let statistics = statistics.with_context(|| format!("{} cannot drive this robot", bundle.id()));
    statistics.map(|_| ()).map_err(CommandError::usage)
}

/// Whether the policy's 3D points are in the robot's base; else in the camera's axes, or there are none.
pub fn points_in_base(bundle: &Bundle) -> bool {
    bundle.manifest().spatialvla().is_ok_and(|tables| tables.ego3d.frame == PointFrame::Base)
}

/// A warm policy; `depth` says which readings of the depth camera count, for families that look at it.
///
/// # Errors
/// Everything that keeps the graphs from starting.
pub fn policy(
    common: &Common,
    environment: &Environment,
    bundle: &Bundle,
    stats_key: &str,
    depth: SensorRules,
) -> CommandResult<Box<dyn Policy>> {
    let options = LoadOptions { stats_key: stats_key.to_owned(), graph: graph_options(common)?, preprocessing: None };
    policy_with(environment, bundle, &options, depth, false)
}

/// The same with all options given; `sketching`: its chunks say what each stage put out.
///
/// # Errors
/// As [`policy`].
pub fn policy_with(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    depth: SensorRules,
    sketching: bool,
) -> CommandResult<Box<dyn Policy>> {
    let load = if sketching { registry::load_sketching } else { registry::load_with_depth };
    load(environment, bundle, options, depth).map_err(not_loaded)
}

/// The policy for several observations at once.
///
/// # Errors
/// As [`policy`], and a bundle without batched graphs.
pub fn batched(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    depth: SensorRules,
) -> CommandResult<Box<dyn BatchPolicy>> {
    registry::load_batched(environment, bundle, options, depth).map_err(not_loaded)
}

fn not_loaded(error: LoadError) -> CommandError {
    CommandError::missing_if(error.is_missing(), error)
}

/// [`policy_with`], for a robot: its depth camera and its units.
///
/// # Errors
/// As [`policy`].
pub fn policy_of_robot(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    (depth, units): (SensorRules, ActionUnits),
    sketching: bool,
) -> CommandResult<Box<dyn Policy>> {
    policy_with(environment, bundle, options, depth, sketching).map(|policy| in_units(policy, units))
}

/// Reads a small TOML file into `T`; the error names file, line and key.
///
/// # Errors
/// Missing, too large, or not what the schema says.
pub fn toml_file<T: serde::de::DeserializeOwned>(path: &Path) -> CommandResult<T> {
    toml::from_str(&small_text(path)?).with_context(|| path.display().to_string()).map_err(CommandError::usage)
}

/// Reads a small text file.
///
/// # Errors
/// Missing, too large, or not text.
pub fn small_text(path: &Path) -> CommandResult<String> {
    let size =
        std::fs::metadata(path).map_err(|error| CommandError::missing(anyhow!("{}: {error}", path.display())))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(CommandError::usage(anyhow!(
            "{}: {size} bytes; a configuration has at most {CONFIG_BYTES_MAX}",
            path.display()
        )));
    }
    std::fs::read_to_string(path).with_context(|| path.display().to_string()).map_err(CommandError::usage)
}

/// Names of the folders of `dir` that hold a file called `file`, sorted.
pub(crate) fn folders_with(dir: &Path, file: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join(file).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Where the robot's file is: given, or Meta-World's.
///
/// # Errors
/// Not given, and not inside a checkout.
pub fn embodiment_path(common: &Common, asked: Option<&Path>) -> CommandResult<PathBuf> {
    match asked {
        Some(path) => Ok(path.to_path_buf()),
        None => Ok(root(common)?.join("launch/embodiments/metaworld.toml")),
    }
}

/// The robot: given, or Meta-World's.
///
/// # Errors
/// An unreadable file, or a bound that cannot be meant.
pub fn embodiment(common: &Common, asked: Option<&Path>) -> CommandResult<Embodiment> {
    let path = embodiment_path(common, asked)?;
    let config: EmbodimentConfig = toml_file(&path)?;
    config.checked().with_context(|| path.display().to_string()).map_err(CommandError::usage)
}

/// The policy that ships with the checkout.
///
/// # Errors
/// Not inside a checkout.
pub fn shipped_bundle(common: &Common) -> CommandResult<PathBuf> {
    Ok(root(common)?.join("policies/shipped/metaworld/bundle"))
}
