//! Frame to the inputs of the vision graph.
use crate::bundle::{BundleError, Manifest};
use egogrid_runtime::camera::{Frame, RgbImage};
use egogrid_runtime::perception::depth::DepthReport;
use egogrid_runtime::policy::PolicyError;
#[derive(Debug)]
pub(super) struct Inputs { patch_depth_m: Vec<f32>, points_xyz_m: Vec<f32>, max: Option<f32> }
impl Inputs {
    pub(super) fn new(_m: &Manifest) -> Result<Self, BundleError> { Ok(Self{patch_depth_m: vec![], points_xyz_m: vec![], max: None}) }
    pub(super) fn set_depth_max(&mut self, m: Option<f32>) { self.max = m; }
    pub(super) fn write_pixels(&mut self, _rgb: &RgbImage, _out: &mut [f32]) -> Result<(), PolicyError> { Ok(()) }
    pub(super) fn average_depth(&mut self, _f: &Frame) -> Result<DepthReport, PolicyError> { Err(PolicyError::Missing{what:"", remedy:""}) }
    pub(super) fn patch_depth_m(&self) -> &[f32] { &self.patch_depth_m }
    pub(super) fn write_encoding(&mut self, _f: &Frame, _out: &mut [f32]) -> Result<(), PolicyError> { Ok(()) }
    pub(super) fn points_xyz_m(&self) -> &[f32] { &self.points_xyz_m }
    pub(super) fn points(&self) -> Vec<[f32; 3]> { vec![] }
}
