//! Back-projection: depth of each sub-cell to a 3-D point, and its frequency encoding.
//!
//! From: [`super::depth`], `[patch_rows * s, patch_cols * s]` metres, and intrinsics already resized to the model's
//! picture. To: `points_m` `[patches, s * s * 3]` and the `freq_encoding` input `[patches, s * s * 3 * (1 + 2 *
//! frequencies)]`; patches row-major, in each (sub row, sub column, xyz). Axes: camera optical, metres: x right, y
//! down, z forward; or the robot's base when the bundle says so. Source: SpatialVLA, arXiv:2501.15830; float32 in the
//! official order of operations, so that points are equal bit for bit.

use super::arithmetic::Arithmetic;
use super::depth::{CELLS_MAX, SubCellDepth};
pub use super::encoding::FREQUENCIES_MAX;
use super::encoding::{encode, encoded_len};
use crate::camera::{CameraIntrinsics, IntrinsicsError};
use nalgebra::Isometry3;

/// Farthest normalized coordinate. Beyond it, float32 has no digits left for the angle; a camera that sees so far is
/// broken.
pub const NORMALIZED_MAX: f32 = 1e6;

/// In which axes the model takes its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointFrame {
    /// Camera optical axes: x right, y down, z forward.
    Camera,
    /// The robot's base: every frame must carry `base_from_camera`.
    Base,
}

/// What the bundle says about its 3-D encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ego3dSpec {
    /// Width, height of the picture inside the model.
    pub image_px: [u32; 2],
    /// Vision patches from top to bottom.
    pub patch_rows: u32,
    /// Vision patches from left to right.
    pub patch_cols: u32,
    /// A patch has this number squared of sample points.
    pub samples_per_patch_side: u32,
    /// Frequencies of the encoding.
    pub frequency_count: u32,
    /// Axes of the points.
    pub frame: PointFrame,
    /// Subtracted from each point, metres.
    pub center_m: [f32; 3],
    /// Then divided by this, metres.
    pub scale_m: f32,
    /// Where to round.
    pub arithmetic: Arithmetic,
}

/// Why there are no points.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Ego3dError {
    /// Numbers that make no grid.
    #[error(
        "{found:?} is no 3-D encoding: expected sides of at least 1, at most {cells_max} sample points and \
             {FREQUENCIES_MAX} frequencies, a finite center and a finite scale above 0; check `[ego3d]` and `[image]` in the bundle"
    )]
    BadSpec {
        /// As found.
        found: Ego3dSpec,
        /// Limit.
        cells_max: u32,
    },
    /// Depth of another grid.
    #[error(
        "depth has {found:?} sub-cells ({found_len} values), expected {expected:?} (rows, columns); \
         make `DepthCells` from the same spec"
    )]
    OtherGrid {
        /// Rows, columns.
        expected: [u32; 2],
        /// Rows, columns.
        found: [u32; 2],
        /// Values there.
        found_len: usize,
    },
    /// Intrinsics of another picture.
    #[error("intrinsics do not belong to the model's picture: {0}; resize them together with the picture")]
    Intrinsics(#[from] IntrinsicsError),
    /// No pose of the camera.
    #[error(
        "the policy takes its points in the robot's base, and the frame has no base_from_camera; \
         set the camera's extrinsics in the embodiment"
    )]
    NoExtrinsics,
    /// A buffer of the wrong length.
    #[error("{what} needs {expected} values, found {found}; size it with `Ego3d::{what}_len`")]
    BufferLength {
        /// Which.
        what: &'static str,
        /// Values needed.
        expected: usize,
        /// Values there.
        found: usize,
    },
    /// A point that cannot be encoded.
    #[error(
        "coordinate {coordinate} of patch {patch} is {found} after normalization, expected a finite number up to \
             ±{NORMALIZED_MAX}; check depth unit (metres), intrinsics and base_from_camera"
    )]
    OutOfReach {
        /// Vision patch, row-major.
        patch: usize,
        /// Index in the patch: (sub row, sub column, xyz).
        coordinate: usize,
        /// As found.
        found: f32,
    },
}

/// Makes points and their encoding. Made once; no frame allocates.
#[derive(Debug, Clone)]
pub struct Ego3d {
    spec: Ego3dSpec,
    rays_of: Option<CameraIntrinsics>,
    /// x and y at depth 1 of every sub-cell, `[rows, cols]`.
    rays: Vec<[f32; 2]>,
    normalized: Vec<f32>,
}

impl Ego3d {
    /// # Errors
    /// A spec without points, with too many, or with numbers that are not finite.
    pub fn new(spec: Ego3dSpec) -> Result<Self, Ego3dError> {
        let product = |factors: [u32; 4]| factors.into_iter().try_fold(1u32, u32::checked_mul);
        let side = spec.samples_per_patch_side;
        let cells =
            product([spec.patch_rows, spec.patch_cols, side, side]).filter(|cells| (1..=CELLS_MAX).contains(cells));
        let numbers_fine =
            spec.center_m.iter().all(|center| center.is_finite()) && spec.scale_m.is_finite() && spec.scale_m > 0.0;
        let sides_fine = !spec.image_px.contains(&0) && (1..=FREQUENCIES_MAX).contains(&spec.frequency_count);
        match cells {
            Some(cells) if numbers_fine && sides_fine => {
                let cells = cells as usize;
                Ok(Self { spec, rays_of: None, rays: vec![[0.0; 2]; cells], normalized: vec![0.0; 3 * cells] })
            }
            _ => Err(Ego3dError::BadSpec { found: spec, cells_max: CELLS_MAX }),
        }
    }

    /// Rows and columns of sub-cells: what [`super::depth::DepthCells`] has to be made for.
    pub fn cells(&self) -> [u32; 2] {
        [self.spec.patch_rows, self.spec.patch_cols].map(|patches| patches * self.spec.samples_per_patch_side)
    }

    /// Values of `points`, `[patches, s * s * 3]`.
    pub fn points_len(&self) -> usize {
        3 * self.rays.len()
    }

    /// Values of `encoding`, `[patches, s * s * 3 * (1 + 2 * frequencies)]`.
    pub fn encoding_len(&self) -> usize {
        self.points_len() * encoded_len(self.spec.frequency_count as usize)
    }

    /// One point per sub-cell, metres. `intrinsics` are those of the model's picture.
    ///
    /// # Errors
    /// Depth, intrinsics or a buffer of another size, or no `base_from_camera` where the model needs it.
    pub fn back_project(
        &mut self,
        depth: SubCellDepth<'_>,
        intrinsics: CameraIntrinsics,
        base_from_camera: Option<&Isometry3<f64>>,
        points_m: &mut [f32],
    ) -> Result<(), Ego3dError> {
        let expected = self.cells();
        if [depth.rows, depth.cols] != expected || depth.depth_m.len() != self.rays.len() {
            return Err(Ego3dError::OtherGrid {
                expected,
                found: [depth.rows, depth.cols],
                found_len: depth.depth_m.len(),
            });
        }
        check_len("points", self.points_len(), points_m.len())?;
        let base_from_camera = match self.spec.frame {
            PointFrame::Camera => None,
            PointFrame::Base => Some(base_from_camera.ok_or(Ego3dError::NoExtrinsics)?),
        };
        self.aim_rays(intrinsics.for_size(self.spec.image_px)?);
        let mut points = points_m.as_chunks_mut::<3>().0.iter_mut();
        for (cell, point) in cells_by_patch(&self.spec).zip(&mut points) {
            let depth_m = self.spec.arithmetic.round(depth.depth_m[cell]);
            let [x, y] = self.rays[cell];
            *point = [x * depth_m, y * depth_m, depth_m];
        }
        if let Some(pose) = base_from_camera {
            to_base(pose, points_m);
        }
        Ok(())
    }

    /// Normalizes `points_m` (`(p - center) / scale`) and encodes them into `encoding`.
    ///
    /// # Errors
    /// A buffer of another size, or a point that is not finite or beyond [`NORMALIZED_MAX`].
    pub fn encode(&mut self, points_m: &[f32], encoding: &mut [f32]) -> Result<(), Ego3dError> {
        check_len("points", self.points_len(), points_m.len())?;
        check_len("encoding", self.encoding_len(), encoding.len())?;
        let (points, _) = points_m.as_chunks::<3>();
        let (normalized, _) = self.normalized.as_chunks_mut::<3>();
        for (n, point) in normalized.iter_mut().zip(points) {
            for axis in 0..3 {
                n[axis] = (point[axis] - self.spec.center_m[axis]) / self.spec.scale_m;
            }
        }
        let in_reach = |n: &f32| n.abs() <= NORMALIZED_MAX; // false for NaN
        if let Some(at) = self.normalized.iter().position(|n| !in_reach(n)) {
            let per_patch = 3 * self.spec.samples_per_patch_side.pow(2) as usize;
            return Err(Ego3dError::OutOfReach {
                patch: at / per_patch,
                coordinate: at % per_patch,
                found: self.normalized[at],
            });
        }
        encode(&self.normalized, self.spec.frequency_count as usize, self.spec.arithmetic, encoding);
        Ok(())
    }

    /// `K^-1 [u, v, 1]` at every sub-cell's centre. Recomputed only when the camera changes.
    fn aim_rays(&mut self, intrinsics: CameraIntrinsics) {
        if self.rays_of == Some(intrinsics) {
            return;
        }
        let round = |value: f32| self.spec.arithmetic.round(value);
        let [fx, skew, cx, _, fy, cy, ..] = intrinsics.matrix().map(round);
        // Back substitution with reciprocals: the order in which LAPACK inverts an upper triangle.
        let (inverse_x, inverse_y) = (1.0 / fx, 1.0 / fy);
        let from_v = -(skew * inverse_y) * inverse_x;
        let y_offset = -(cy * inverse_y);
        let x_offset = -((cx + skew * y_offset) * inverse_x);
        let [rows, cols] = self.cells();
        let center =
            |index: u32, cells: u32, side_px: u32| round((index as f32 + 0.5) * (side_px as f32 / cells as f32));
        let centers = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        for (ray, (row, col)) in self.rays.iter_mut().zip(centers) {
            let u = center(col, cols, self.spec.image_px[0]);
            let v = center(row, rows, self.spec.image_px[1]);
            *ray = [inverse_x * u + from_v * v + x_offset, inverse_y * v + y_offset];
        }
        self.rays_of = Some(intrinsics);
    }
}

/// Index of every sub-cell in `[rows, cols]`, in the order of the model: patch by patch, in each row by row.
fn cells_by_patch(spec: &Ego3dSpec) -> impl Iterator<Item = usize> {
    let (patch_cols, side) = (spec.patch_cols as usize, spec.samples_per_patch_side as usize);
    let cols = patch_cols * side;
    (0..spec.patch_rows as usize * patch_cols).flat_map(move |patch| {
        let first = patch / patch_cols * side * cols + patch % patch_cols * side;
        (0..side * side).map(move |sample| first + sample / side * cols + sample % side)
    })
}

fn to_base(base_from_camera: &Isometry3<f64>, points_m: &mut [f32]) {
    let rotation = base_from_camera.rotation.to_rotation_matrix();
    for point in points_m.as_chunks_mut::<3>().0 {
        let moved = rotation * nalgebra::Vector3::from(point.map(f64::from)) + base_from_camera.translation.vector;
        *point = [moved.x as f32, moved.y as f32, moved.z as f32];
    }
}

fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Ego3dError> {
    if found == expected { Ok(()) } else { Err(Ego3dError::BufferLength { what, expected, found }) }
}
