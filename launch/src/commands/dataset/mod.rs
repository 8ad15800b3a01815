//! `egogrid dataset`: LeRobot datasets shown, measured against and made.

mod error;
mod eyes;
mod live;
mod moments;
pub(crate) mod normalized;
mod plot;
mod recording;
mod report;
mod rig;
mod show;
mod timeline;
mod write;

use crate::assemble;
use crate::cli::{Common, DatasetCommand};
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_sim_bridge::dataset::{Dataset, DatasetError};
use egogrid_sim_bridge::worker::python_path;
use std::path::{Path, PathBuf};

/// Dispatches.
///
/// # Errors
/// Whatever the command returns.
pub fn run(common: &Common, command: &DatasetCommand) -> CommandResult {
    match command {
        DatasetCommand::Show(args) => show::run(args),
        DatasetCommand::Error(args) => error::run(common, args),
        DatasetCommand::Write(args) => write::run(common, args),
        DatasetCommand::Recording(args) => recording::run(common, args),
    }
}

pub(crate) fn refused(error: DatasetError) -> CommandError {
    CommandError::missing_if(error.is_missing(), error)
}

pub(crate) fn open(dir: &Path) -> CommandResult<Dataset> {
    Dataset::open(dir).map_err(refused)
}

/// The ffmpeg binary that the locked Python environment brings.
pub(crate) fn ffmpeg_path(common: &Common) -> CommandResult<PathBuf> {
    let python = python_path(&assemble::root(common)?).map_err(CommandError::missing)?;
    let script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
    let output = std::process::Command::new(&python).args(["-c", script]).output().map_err(CommandError::missing)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CommandError::missing(anyhow!(
            "no ffmpeg for films: {message}; run ./launch/demo, which installs it"
        )));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
