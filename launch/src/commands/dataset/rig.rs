//! `meta/egogrid.json`: what a LeRobot dataset has no place for: the camera's lens and pose, where its depth is, what ran.
//!
//! Others leave the file alone; without it the camera is named on the command line.

use crate::commands::infer::CameraFile;
use crate::exit::{CommandError, CommandResult};
use anyhow::Context;
use egogrid_runtime::camera::Frame;
use nalgebra::Isometry3;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const BYTES_MAX: u64 = 1 << 20;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rig {
    /// By feature.
    pub(super) cameras: BTreeMap<String, RigCamera>,
    /// What ran, and where it was recorded.
    pub(super) source: BTreeMap<String, String>,
}

/// One camera.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RigCamera {
    /// Lens and pose; absent where the recording has none, or where the camera moves.
    pub(super) camera: Option<CameraFile>,
    /// Feature with its depth.
    pub(super) depth: Option<String>,
}

impl Rig {
    /// Of a dataset; empty where it has none.
    pub(super) fn read(root: &Path) -> CommandResult<Self> {
        let path = root.join("meta/egogrid.json");
        let Ok(about) = std::fs::metadata(&path) else { return Ok(Self::default()) };
        let name = || path.display().to_string();
        if about.len() > BYTES_MAX {
            return Err(CommandError::usage(anyhow::anyhow!("{}: {} bytes, at most {BYTES_MAX}", name(), about.len())));
        }
        let text = std::fs::read_to_string(&path).with_context(name).map_err(CommandError::usage)?;
        serde_json::from_str(&text).with_context(name).map_err(CommandError::usage)
    }
}

/// Lens and pose of a frame as a file says them.
pub(super) fn camera_of(frame: &Frame) -> Option<CameraFile> {
    let lens = frame.intrinsics?;
    let matrix = lens.matrix().map(f64::from);
    let [width_px, height_px] = [frame.rgb.width_px(), frame.rgb.height_px()];
    let rows = |row: usize| [matrix[3 * row], matrix[3 * row + 1], matrix[3 * row + 2]];
    let base_from_camera = frame.base_from_camera.as_ref().map(four_by_four);
    Some(CameraFile { width_px, height_px, matrix: [rows(0), rows(1), rows(2)], base_from_camera })
}

fn four_by_four(pose: &Isometry3<f64>) -> [[f64; 4]; 4] {
    let matrix = pose.to_homogeneous();
    std::array::from_fn(|row| std::array::from_fn(|col| matrix[(row, col)]))
}
