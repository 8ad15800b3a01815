//! `golden.safetensors`: inputs and every stage's output of a few cases, from the exporter's own reference network.
//!
//! To: [`crate::check`] and tests. Names and shapes: `policies/BUNDLE.md`.

use super::error::BundleError;
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, FrameError, RgbImage, Stamp};
use egogrid_runtime::observation::Observation;
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Most cases of one file.
pub const CASES_MAX: usize = 64;

/// Numbers of one stage.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names say it
pub enum GoldenValues {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    U8(Vec<u8>),
}

/// One case: what goes in, and what every stage made of it.
#[derive(Debug, Clone)]
pub struct GoldenCase {
    /// `case0`, `case1`, …
    pub name: String,
    /// The same as a number.
    pub number: usize,
    /// What goes in.
    pub observation: Observation,
    /// Statistics of the physical actions.
    pub stats_key: String,
    /// Readings beyond this are invalid; only with sensor depth.
    pub depth_max_m: Option<f32>,
    /// Tensors by name, inputs included.
    pub tensors: BTreeMap<String, GoldenValues>,
}

impl GoldenCase {
    /// Whether its depth is to be estimated from its picture.
    pub fn estimates_depth(&self) -> bool {
        self.observation.frame.depth.is_none() && self.tensors.contains_key("estimated_depth_m")
    }

    /// The `f32` tensor `name`.
    pub fn f32(&self, name: &str) -> Result<&[f32], BundleError> {
        match self.tensors.get(name) {
            Some(GoldenValues::F32(values)) => Ok(values),
            other => Err(self.unlike(name, other, "f32")),
        }
    }

    /// The `f64` tensor `name`.
    pub fn f64(&self, name: &str) -> Result<&[f64], BundleError> {
        match self.tensors.get(name) {
            Some(GoldenValues::F64(values)) => Ok(values),
            other => Err(self.unlike(name, other, "f64")),
        }
    }

    /// The `i64` tensor `name`.
    pub fn i64(&self, name: &str) -> Result<&[i64], BundleError> {
        match self.tensors.get(name) {
            Some(GoldenValues::I64(values)) => Ok(values),
            other => Err(self.unlike(name, other, "i64")),
        }
    }

    fn unlike(&self, name: &str, found: Option<&GoldenValues>, expected: &str) -> BundleError {
        let found = match found {
            None => "nothing",
            Some(GoldenValues::F32(_)) => "f32",
            Some(GoldenValues::F64(_)) => "f64",
            Some(GoldenValues::I64(_)) => "i64",
            Some(GoldenValues::U8(_)) => "u8",
        };
        wrong(format!("{}.{name}", self.name), found, expected)
    }
}

fn wrong(tensor: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> BundleError {
    BundleError::Golden { tensor: tensor.into(), found: found.to_string(), expected: expected.into() }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<GoldenCase>, BundleError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| wrong("header", error, "a safetensors file"))?;
    let mut cases = Vec::new();
    for number in 0..CASES_MAX {
        let prefix = format!("case{number}.");
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            if let Some(stage) = name.strip_prefix(&prefix) {
                tensors.insert(stage.to_owned(), (values(name, &view)?, view.shape().to_vec()));
            }
        }
        if tensors.is_empty() {
            break;
        }
        cases.push(Reader { number, case: format!("case{number}"), tensors }.case()?);
    }
    match cases.len() {
        0 | 1 => Err(wrong("cases", cases.len(), "at least 2")),
        _ => Ok(cases),
    }
}

fn values(name: &str, view: &TensorView<'_>) -> Result<GoldenValues, BundleError> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => GoldenValues::F32(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        Dtype::F64 => GoldenValues::F64(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        Dtype::I64 => GoldenValues::I64(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        Dtype::U8 => GoldenValues::U8(data.to_vec()),
        other => return Err(wrong(name, format!("{other:?}"), "f32, f64, i64 or u8")),
    })
}

/// The tensors of one case while it is put together.
struct Reader {
    number: usize,
    case: String,
    tensors: BTreeMap<String, (GoldenValues, Vec<usize>)>,
}

impl Reader {
    fn at(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.case)
    }

    fn case(self) -> Result<GoldenCase, BundleError> {
        let frame = self.frame()?;
        let depth_max_m = if self.tensors.contains_key("depth_max_m") {
            self.numbers("depth_max_m")?.first().map(|value| *value as f32)
        } else {
            None
        };
        let observation = Observation { sequence: 0, frame, instruction: self.text("instruction")?, state: None };
        let stats_key = self.text("stats_key")?;
        let tensors = self.tensors.into_iter().map(|(stage, (values, _))| (stage, values)).collect();
        Ok(GoldenCase { name: self.case, number: self.number, observation, stats_key, depth_max_m, tensors })
    }

    fn frame(&self) -> Result<Frame, BundleError> {
        let rgb = self.rgb()?;
        // A case without depth is one whose depth is estimated, or of a family that looks at the picture only.
        let has = |tensor| self.tensors.contains_key(tensor);
        let depth = if has("depth_m") { Some(self.depth()?) } else { None };
        let picture_px = [rgb.width_px(), rgb.height_px()];
        let intrinsics = if has("intrinsic") { Some(self.intrinsics(picture_px)?) } else { None };
        let base_from_camera = if has("base_from_camera") {
            Some(pose(&self.at("base_from_camera"), &self.numbers("base_from_camera")?)?)
        } else {
            None
        };
        Ok(Frame { stamp: Stamp::default(), rgb, depth, intrinsics, base_from_camera })
    }

    fn rgb(&self) -> Result<RgbImage, BundleError> {
        match self.tensors.get("image_u8") {
            Some((GoldenValues::U8(data), shape)) if shape.len() == 3 && shape[2] == 3 => {
                let [width_px, height_px] = sides(&self.at("image_u8"), shape)?;
                RgbImage::new(width_px, height_px, data.as_slice()).map_err(|source| self.no_frame(source))
            }
            _ => Err(wrong(self.at("image_u8"), "no such tensor", "u8 [height, width, 3]")),
        }
    }

    fn depth(&self) -> Result<DepthImage, BundleError> {
        let kind = match self.text("depth_kind")?.as_str() {
            "sensor" => DepthKind::Sensor,
            "dense" => DepthKind::Dense,
            other => return Err(wrong(self.at("depth_kind"), format!("{other:?}"), "sensor or dense")),
        };
        match self.tensors.get("depth_m") {
            Some((GoldenValues::F32(data), shape)) if shape.len() == 2 => {
                let [width_px, height_px] = sides(&self.at("depth_m"), shape)?;
                DepthImage::new(width_px, height_px, kind, data.as_slice()).map_err(|source| self.no_frame(source))
            }
            _ => Err(wrong(self.at("depth_m"), "no such tensor", "f32 [height, width]")),
        }
    }

    /// Of the picture at its native size, whatever size the matrix is for.
    fn intrinsics(&self, picture_px: [u32; 2]) -> Result<CameraIntrinsics, BundleError> {
        let name = self.at("intrinsic_size_px");
        let size_px = match self.tensors.get("intrinsic_size_px") {
            None => picture_px,
            Some((GoldenValues::I64(size), _)) if size.len() == 2 => {
                let side = |px: i64| u32::try_from(px).map_err(|_| wrong(name.as_str(), px, "pixels"));
                [side(size[0])?, side(size[1])?]
            }
            Some(_) => return Err(wrong(name, "another tensor", "i64 [2]")),
        };
        let matrix = <[f64; 9]>::try_from(self.numbers("intrinsic")?);
        let matrix = matrix.map_err(|found| wrong(self.at("intrinsic"), found.len(), "9 numbers"))?;
        let intrinsics = CameraIntrinsics::from_matrix(matrix, size_px);
        let intrinsics = intrinsics.map_err(|source| BundleError::Intrinsics { key: self.at("intrinsic"), source })?;
        Ok(if size_px == picture_px { intrinsics } else { intrinsics.resized(picture_px) })
    }

    fn text(&self, tensor: &str) -> Result<String, BundleError> {
        match self.tensors.get(tensor) {
            Some((GoldenValues::U8(bytes), _)) => {
                String::from_utf8(bytes.clone()).map_err(|_| wrong(self.at(tensor), "other bytes", "UTF-8"))
            }
            _ => Err(wrong(self.at(tensor), "no such u8 tensor", "text as UTF-8")),
        }
    }

    fn numbers(&self, tensor: &str) -> Result<Vec<f64>, BundleError> {
        match self.tensors.get(tensor) {
            Some((GoldenValues::F32(values), _)) => Ok(values.iter().map(|value| f64::from(*value)).collect()),
            Some((GoldenValues::F64(values), _)) => Ok(values.clone()),
            _ => Err(wrong(self.at(tensor), "no such f32 or f64 tensor", "numbers")),
        }
    }

    fn no_frame(&self, source: FrameError) -> BundleError {
        BundleError::GoldenFrame { case: self.case.clone(), source }
    }
}

/// `[width, height]` of a shape that starts `[height, width]`.
fn sides(name: &str, shape: &[usize]) -> Result<[u32; 2], BundleError> {
    let side =
        |axis: usize| u32::try_from(shape[axis]).map_err(|_| wrong(name, format!("{shape:?}"), "a picture's size"));
    Ok([side(1)?, side(0)?])
}

/// A rigid transform from a row-major 4×4 matrix; its rotation must be one to 1e-6.
fn pose(name: &str, m: &[f64]) -> Result<Isometry3<f64>, BundleError> {
    rigid(m).ok_or_else(|| wrong(name, format!("{m:?}"), "a rigid 4x4 transform"))
}

/// The same, or nothing.
pub(super) fn rigid(m: &[f64]) -> Option<Isometry3<f64>> {
    let m: &[f64; 16] = m.try_into().ok()?;
    let rotation = Matrix3::new(m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]);
    let orthonormal =
        (rotation * rotation.transpose() - Matrix3::identity()).amax() <= 1e-6 && rotation.determinant() > 0.0;
    if !orthonormal || m[12..] != [0.0, 0.0, 0.0, 1.0] {
        return None;
    }
    let rotation = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(rotation));
    Some(Isometry3::from_parts(Translation3::new(m[3], m[7], m[11]), rotation))
}
