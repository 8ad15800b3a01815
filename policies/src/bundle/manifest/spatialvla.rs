//! What only SpatialVLA has in its manifest.

use serde::Deserialize;

/// Tables of family `spatialvla`, without the keys that every family has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpatialVlaTables {
    /// How pictures become the model's numbers.
    pub image: PixelSpec,
    /// Where depth may come from.
    pub depth: DepthSpec,
    /// Geometry of the sample points.
    pub ego3d: Ego3dSpec,
    /// Nothing beyond what every family has.
    pub prompt: NoMoreKeys,
    /// Where the action tokens lie.
    pub tokens: CellSpec,
}

/// A table whose keys every family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoMoreKeys {}

/// How pictures become the model's numbers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelSpec {
    /// How pictures of other sizes get there.
    pub resample: Resample,
    /// Factor from bytes to the model's numbers.
    pub rescale: f64,
}

/// How pictures are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// 8-bit, antialiased, a = -0.5.
    PillowBicubic,
}

/// Where depth may come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthSpec {
    /// At least one.
    pub sources: Vec<DepthSource>,
}

/// Where depth comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepthSource {
    /// With every frame.
    Sensor,
    /// From the picture, by the graph `depth.onnx`.
    Estimated,
}

/// Geometry of the sample points.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ego3dSpec {
    /// Patches from top to bottom.
    pub patch_rows: u32,
    /// Patches from left to right.
    pub patch_cols: u32,
    /// Sample points along one side of a patch.
    pub samples_per_patch_side: u32,
    /// Frequencies of the encoding.
    pub frequency_count: u32,
    /// Where the points live.
    pub frame: PointFrame,
    /// Subtracted from every point.
    pub center_m: [f32; 3],
    /// Divides every point.
    pub scale_m: f32,
}

/// Where sample points live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointFrame {
    /// Camera optical: x right, y down, z forward.
    Camera,
    /// The robot's base; needs `base_from_camera` with every frame.
    Base,
}

/// Where the action tokens lie in the vocabulary: translation, rotation, gripper, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// First action id.
    pub action_begin_id: u32,
    /// Cells of the translation grid.
    pub translation_cells: u32,
    /// Cells of the rotation grid.
    pub rotation_cells: u32,
    /// Closed and open.
    pub gripper_cells: u32,
}
