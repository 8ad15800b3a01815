//! Frame to the inputs of the vision graph: pixels, depth at the sub-cells, points and their encoding.
//!
//! From: [`Frame`] at the camera's own sizes. To: [`super::session`], straight into the memory of the graph. What the frame
//! lacks is an error here, before anything is computed with it.

use crate::bundle::manifest::{DepthSource, Ego3dSpec as Ego3dTable, PointFrame as TableFrame};
use crate::bundle::{BundleError, Manifest};
use crate::failure::observed;
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, Frame};
use egogrid_runtime::perception::arithmetic::Arithmetic;
use egogrid_runtime::perception::depth::{DepthCells, DepthReport, SensorRules, SubCellDepth};
use egogrid_runtime::perception::ego3d::{Ego3d, Ego3dSpec, PointFrame};
use egogrid_runtime::perception::pixel_norm::{PixelInput, PixelTable};
use egogrid_runtime::policy::PolicyError;
use egogrid_runtime::stage::Stage;
use nalgebra::Isometry3;

/// Everything between a frame and the vision graph.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) pixels: PixelInput,
    pub(super) depth: DepthInput,
    pub(super) points: PointInput,
}

/// Depth of a frame at the sub-cells.
#[derive(Debug)]
pub(super) struct DepthInput {
    cells: DepthCells,
    /// Of the picture inside the model, and so of the estimator's map.
    width_px: u32,
    takes_given: bool,
    estimates: bool,
}

/// Points of a frame and their encoding.
#[derive(Debug)]
pub(super) struct PointInput {
    ego3d: Ego3d,
    image_px: [u32; 2],
    needs_extrinsics: bool,
    points_m: Vec<f32>,
}

impl Inputs {
    /// Plans for the sizes of `manifest`; `rules` decide which pixels of a depth sensor count.
    pub(super) fn new(manifest: &Manifest, rules: SensorRules) -> Result<Self, BundleError> {
        let tables = manifest.spatialvla()?;
        let image_px = [manifest.image.width_px, manifest.image.height_px];
        let table = PixelTable::new(tables.image.rescale, Arithmetic::F32);
        let table =
            table.map_err(|error| BundleError::field("image.rescale", error.found, "a finite factor above 0"))?;
        let refused = |error: &dyn std::error::Error| BundleError::field("[ego3d]", error, "a grid of sample points");
        let ego3d = Ego3d::new(ego3d_spec(&tables.ego3d, image_px)).map_err(|error| refused(&error))?;
        let [rows, cols] = ego3d.cells();
        let cells = DepthCells::new(rows, cols, rules).map_err(|error| refused(&error))?;
        let points_m = vec![0.0; ego3d.points_len()];
        let needs_extrinsics = tables.ego3d.frame == TableFrame::Base;
        Ok(Self {
            pixels: PixelInput::new(image_px, table),
            depth: DepthInput {
                cells,
                width_px: image_px[0],
                takes_given: tables.depth.sources.contains(&DepthSource::Sensor),
                estimates: tables.depth.sources.contains(&DepthSource::Estimated),
            },
            points: PointInput { ego3d, image_px, needs_extrinsics, points_m },
        })
    }

    /// Goes on with other rules for sensors.
    pub(super) fn set_rules(&mut self, rules: SensorRules) -> Result<(), PolicyError> {
        let [rows, cols] = self.points.ego3d.cells();
        self.depth.cells = DepthCells::new(rows, cols, rules).map_err(observed(Stage::Depth))?;
        Ok(())
    }
}

impl DepthInput {
    /// The depth that the frame brings; `None` where the estimator is to make it of the picture.
    pub(super) fn given<'a>(&self, frame: &'a Frame) -> Result<Option<&'a DepthImage>, PolicyError> {
        match &frame.depth {
            Some(depth) if self.takes_given => Ok(Some(depth)),
            None if self.estimates => Ok(None),
            Some(_) => Err(PolicyError::Unwanted {
                what: "depth",
                remedy: "this bundle estimates depth from the picture, as its checkpoint was trained: leave depth out, \
                         or export the checkpoint with --depth both or --depth sensor",
            }),
            None => Err(PolicyError::Missing {
                what: "depth",
                remedy: "switch the camera's depth stream on, of the same view and exposure, \
                         or export a checkpoint that has an estimator with --depth both",
            }),
        }
    }

    /// A given map at every sub-cell, `[rows, cols]` metres.
    pub(super) fn average(&mut self, depth: &DepthImage) -> Result<(SubCellDepth<'_>, DepthReport), PolicyError> {
        self.cells.average(depth).map_err(observed(Stage::Depth))
    }

    /// The estimator's map, `[height, width]` metres at the size of the picture inside the model, at every sub-cell.
    pub(super) fn average_estimated(
        &mut self,
        depth_m: &[f32],
    ) -> Result<(SubCellDepth<'_>, DepthReport), PolicyError> {
        self.cells.average_estimated(self.width_px, depth_m).map_err(observed(Stage::Depth))
    }
}

impl PointInput {
    /// Points of `depth`, then their encoding, `[patches, numbers]`.
    pub(super) fn write(
        &mut self,
        frame: &Frame,
        depth: SubCellDepth<'_>,
        encoding: &mut [f32],
    ) -> Result<(), PolicyError> {
        let (intrinsics, pose) = (self.intrinsics(frame)?, self.extrinsics(frame)?);
        let points = self.ego3d.back_project(depth, intrinsics, pose, &mut self.points_m);
        points.map_err(observed(Stage::Ego3d))?;
        self.ego3d.encode(&self.points_m, encoding).map_err(observed(Stage::Ego3d))
    }

    /// Of the last frame, `[patches, samples, 3]` metres.
    pub(super) fn points_m(&self) -> &[f32] {
        &self.points_m
    }

    /// The same, one by one.
    pub(super) fn to_points(&self) -> Vec<[f32; 3]> {
        self.points_m.as_chunks().0.to_vec()
    }

    /// Of the picture inside the model. Those of the frame must be for exactly the picture that came with them.
    fn intrinsics(&self, frame: &Frame) -> Result<CameraIntrinsics, PolicyError> {
        let Some(intrinsics) = frame.intrinsics else {
            return Err(PolicyError::Missing {
                what: "the camera's intrinsics",
                remedy: "publish camera_info with the picture",
            });
        };
        let picture_px = [frame.rgb.width_px(), frame.rgb.height_px()];
        Ok(intrinsics.for_size(picture_px).map_err(observed(Stage::Ego3d))?.resized(self.image_px))
    }

    fn extrinsics<'a>(&self, frame: &'a Frame) -> Result<Option<&'a Isometry3<f64>>, PolicyError> {
        match (&frame.base_from_camera, self.needs_extrinsics) {
            (None, true) => {
                let remedy = "set the camera's pose in the robot's base in the embodiment file";
                Err(PolicyError::Missing { what: "base_from_camera", remedy })
            }
            (pose, _) => Ok(pose.as_ref()),
        }
    }
}

fn ego3d_spec(table: &Ego3dTable, image_px: [u32; 2]) -> Ego3dSpec {
    Ego3dSpec {
        image_px,
        patch_rows: table.patch_rows,
        patch_cols: table.patch_cols,
        samples_per_patch_side: table.samples_per_patch_side,
        frequency_count: table.frequency_count,
        frame: match table.frame {
            TableFrame::Camera => PointFrame::Camera,
            TableFrame::Base => PointFrame::Base,
        },
        center_m: table.center_m,
        scale_m: table.scale_m,
        arithmetic: Arithmetic::F32,
    }
}
