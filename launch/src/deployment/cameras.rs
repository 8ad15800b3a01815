//! `[[cameras]]` and `[pictures]` of a deployment file: which pictures make a set, and which are not taken.

use super::{File, MS_MAX};
use crate::exit::CommandResult;
use egogrid_runtime::observation_set::{CameraSpec, SetRules};
use egogrid_runtime::safety::Bound;
use egogrid_sim_bridge::limits::IMAGE_SIDE_PX_MAX;
use egogrid_sim_bridge::session::RobotName;
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion};
use serde::Deserialize;

/// How far a rotation matrix may be from one: room for rounding in the file.
const ROTATION_SLACK: f64 = 1e-4;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CameraConfig {
    pub(super) name: String,
    size_px: [u32; 2],
    depth: bool,
    frozen_frames: Bound<u32>,
    dark_mean_min: Bound<f64>,
    /// `[4, 4]`, rows; of a camera that does not move.
    base_from_camera: Option<[[f64; 4]; 4]>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PicturesConfig {
    join_ms: f64,
    age_ms_max: f64,
    silent_ms_max: f64,
    future_ms_max: f64,
}

pub(super) fn pictures(
    cameras: Vec<CameraConfig>,
    config: &PicturesConfig,
    file: &File<'_>,
) -> CommandResult<SetRules> {
    const SECTION: &str = "pictures";
    if cameras.is_empty() {
        return Err(file.wrong("cameras", "name", cameras.len(), "at least one [[cameras]]"));
    }
    let mut specs: Vec<CameraSpec> = Vec::new();
    for camera in cameras {
        let camera = camera.checked(file)?;
        if specs.iter().any(|known| known.name == camera.name) {
            return Err(file.wrong("cameras", "name", camera.name, "a name that no other camera has"));
        }
        specs.push(camera);
    }
    Ok(SetRules {
        cameras: specs,
        join_max: file.ms(SECTION, "join_ms", config.join_ms, 0.0..=1000.0)?,
        age_max: file.ms(SECTION, "age_ms_max", config.age_ms_max, 1.0..=MS_MAX)?,
        silent_max: file.ms(SECTION, "silent_ms_max", config.silent_ms_max, 1.0..=MS_MAX)?,
        future_max: file.ms(SECTION, "future_ms_max", config.future_ms_max, 0.0..=1000.0)?,
    })
}

impl CameraConfig {
    fn checked(self, file: &File<'_>) -> CommandResult<CameraSpec> {
        const SECTION: &str = "cameras";
        // The same rule as for robots: it is part of a key.
        RobotName::new(&self.name)
            .map_err(|_| file.wrong(SECTION, "name", &self.name, "1 to 64 of a-z, 0-9, _ and -"))?;
        if !self.size_px.iter().all(|side| (1..=IMAGE_SIDE_PX_MAX).contains(side)) {
            let allowed = format!("[width, height], each 1 to {IMAGE_SIDE_PX_MAX}");
            return Err(file.wrong(SECTION, "size_px", self.size_px, allowed));
        }
        let frozen_frames = match self.frozen_frames {
            Bound::At(frames) if frames >= 2 => Some(frames),
            Bound::At(frames) => {
                return Err(file.wrong(
                    SECTION,
                    "frozen_frames",
                    frames,
                    "2 or more, or { unbounded = \"why pictures may repeat\" }",
                ));
            }
            Bound::Unbounded(_) => None,
        };
        let dark_mean_min = match self.dark_mean_min {
            Bound::At(mean) if (0.0..=255.0).contains(&mean) => Some(mean),
            Bound::At(mean) => {
                return Err(file.wrong(
                    SECTION,
                    "dark_mean_min",
                    mean,
                    "0 to 255, or { unbounded = \"why it may be dark\" }",
                ));
            }
            Bound::Unbounded(_) => None,
        };
        let base_from_camera = match self.base_from_camera {
            None => None,
            Some(rows) => Some(rigid(&rows).ok_or_else(|| {
                file.wrong(
                    SECTION,
                    "base_from_camera",
                    rows,
                    "4 rows of a rotation and a translation in metres, the last 0 0 0 1",
                )
            })?),
        };
        Ok(CameraSpec {
            name: self.name,
            size_px: self.size_px,
            depth: self.depth,
            frozen_frames,
            dark_mean_min,
            base_from_camera,
        })
    }
}

/// Rows of a homogeneous matrix; `None` if it is no rigid motion.
pub(super) fn rigid(rows: &[[f64; 4]; 4]) -> Option<Isometry3<f64>> {
    let rotation = Matrix3::from_fn(|row, column| rows[row][column]);
    let error = (rotation * rotation.transpose() - Matrix3::identity()).norm();
    // Written so that NaN fails.
    let right = error <= ROTATION_SLACK && rotation.determinant() > 0.0 && rows[3] == [0.0, 0.0, 0.0, 1.0];
    let translation = Translation3::new(rows[0][3], rows[1][3], rows[2][3]);
    let finite = translation.vector.iter().all(|value| value.is_finite());
    let turned = || UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix(&rotation));
    (right && finite).then(|| Isometry3::from_parts(translation, turned()))
}
