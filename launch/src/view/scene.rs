//! The 3D world: camera, depth cloud, what the policy sampled, where the gripper was and is meant to go, and the gate.
//!
//! From: what was seen and done. To: entities below `world` (robot base, metres, z up) and, for a camera whose pose is
//! unknown, `camera_frame`: its points are never drawn into a world they may not belong to.

use super::event::{Done, Seen};
use super::log::LogError;
use super::{PointsFrame, cloud};
use egogrid_runtime::camera::{CameraIntrinsics, Frame};
use nalgebra::{Isometry3, Point3, Vector3};
use rerun::{
    Arrows3D, Boxes3D, Clear, FillMode, LineStrips3D, Mat3x3, Pinhole, Points3D, Radius, RecordingStream, Transform3D,
    ViewCoordinates,
};

const PATH_RGB: [u8; 3] = [90, 160, 255];
const EXECUTED_RGB: [u8; 3] = [255, 190, 0];
const REST_RGB: [u8; 3] = [255, 232, 160];
const SAMPLED_RGB: [u8; 3] = [0, 230, 190];
const ASKED_RGB: [u8; 3] = [255, 70, 70];
const ALLOWED_RGB: [u8; 3] = [80, 220, 100];
const BOX_RGB: [u8; 3] = [110, 110, 120];
/// So high above the gripper is the reason of a change: beside it, it would cover what it is about.
const LABEL_ABOVE_M: f32 = 0.25;
/// Points of the gripper's path that are kept: an episode is shorter.
const PATH_POINTS_MAX: usize = 4096;

/// Where the camera and everything measured by it hangs.
pub(super) fn camera_path(frame: &Frame) -> &'static str {
    if frame.base_from_camera.is_some() { "world/camera" } else { "camera_frame/camera" }
}

/// Draws, and remembers what must be drawn again or taken away.
pub(super) struct Scene {
    points_frame: PointsFrame,
    workspace_m: Option<([f64; 3], [f64; 3])>,
    path_m: Vec<[f32; 3]>,
    path_episode: Option<u32>,
    gate_shown: bool,
    camera: Option<Camera>,
    /// Of what the policy sampled: nearly as large as the cloud's points, which would hide it otherwise.
    sampled_radius: Radius,
}

/// What is written again only when it changes: most cameras stand still.
type Camera = (Option<Isometry3<f64>>, Option<CameraIntrinsics>);

impl Scene {
    pub(super) fn new(points_frame: PointsFrame, workspace_m: Option<([f64; 3], [f64; 3])>) -> Self {
        Self {
            points_frame,
            workspace_m,
            path_m: Vec::new(),
            path_episode: None,
            gate_shown: false,
            camera: None,
            sampled_radius: Radius::new_ui_points(1.5),
        }
    }

    pub(super) fn statics(&self, stream: &RecordingStream) -> Result<(), LogError> {
        stream.log_static("world", &ViewCoordinates::RIGHT_HAND_Z_UP())?;
        stream.log_static("camera_frame", &ViewCoordinates::RDF())?;
        self.workspace_m.map_or(Ok(()), |workspace_m| self.workspace(stream, workspace_m))
    }

    /// Corners of the gate's walls.
    pub(super) fn workspace(
        &self,
        stream: &RecordingStream,
        (min_m, max_m): ([f64; 3], [f64; 3]),
    ) -> Result<(), LogError> {
        let half = [0, 1, 2].map(|axis| (0.5 * (max_m[axis] - min_m[axis])) as f32);
        let center = [0, 1, 2].map(|axis| (0.5 * (max_m[axis] + min_m[axis])) as f32);
        let shape = Boxes3D::from_centers_and_half_sizes([center], [half]);
        let style = shape.with_colors([BOX_RGB]).with_radii([Radius::new_ui_points(0.6)]);
        stream.log_static("world/workspace", &style.with_fill_mode(FillMode::MajorWireframe))?;
        Ok(())
    }

    /// Camera, cloud, gripper. The path begins anew with each episode.
    pub(super) fn seen(&mut self, stream: &RecordingStream, seen: &Seen, episode: Option<u32>) -> Result<(), LogError> {
        self.camera(stream, &seen.frame)?;
        if let Some(cloud) = cloud::sample(&seen.frame) {
            let radius = Radius::new_scene_units(0.75 * cloud.spacing_m);
            self.sampled_radius = Radius::new_scene_units(0.65 * cloud.spacing_m);
            let (path, points_m) = match &seen.frame.base_from_camera {
                Some(pose) => ("world/cloud", transformed(pose, &cloud.points_m)),
                None => ("camera_frame/cloud", cloud.points_m),
            };
            let colors = cloud.colors_rgb.into_iter().map(|[r, g, b]| rerun::Color::from_rgb(r, g, b));
            stream.log(path, &Points3D::new(points_m).with_colors(colors).with_radii([radius]))?;
        }
        if let Some(state) = &seen.state {
            let position_m = to_f32(&state.base_from_ee.translation.vector);
            if self.path_episode != episode {
                self.path_m.clear();
                self.path_episode = episode;
            }
            if self.path_m.len() == PATH_POINTS_MAX {
                self.path_m.remove(0);
            }
            self.path_m.push(position_m);
            let path = LineStrips3D::new([self.path_m.clone()]);
            let style = path.with_colors([PATH_RGB]).with_radii([Radius::new_ui_points(1.6)]);
            stream.log("world/gripper/path", &style)?;
            let point = Points3D::new([position_m]).with_colors([PATH_RGB]).with_radii([Radius::new_ui_points(5.0)]);
            stream.log("world/gripper/now", &point)?;
        }
        Ok(())
    }

    fn camera(&mut self, stream: &RecordingStream, frame: &Frame) -> Result<(), LogError> {
        let now = (frame.base_from_camera, frame.intrinsics);
        if self.camera == Some(now) {
            return Ok(());
        }
        let path = camera_path(frame);
        if let Some(pose) = &frame.base_from_camera {
            stream.log(path, &transform(pose))?;
        }
        if let Some(lens) = frame.intrinsics {
            let [fx, skew, cx, _, fy, cy, ..] = lens.matrix();
            let columns = Mat3x3([fx, 0.0, 0.0, skew, fy, 0.0, cx, cy, 1.0]);
            let size = lens.size_px().map(|px| px as f32);
            let pinhole = Pinhole::new(columns).with_resolution(size);
            let pinhole = pinhole.with_camera_xyz(rerun::components::ViewCoordinates::RDF);
            stream.log(path, &pinhole.with_image_plane_distance(0.1))?;
        }
        self.camera = Some(now);
        Ok(())
    }

    /// What the policy sampled, what it plans, and what the gate did to that.
    pub(super) fn done(&mut self, stream: &RecordingStream, seen: &Seen, done: &Done) -> Result<(), LogError> {
        if let Ok(chunk) = &done.answer
            && !chunk.points_xyz_m.is_empty()
        {
            let pose = seen.frame.base_from_camera.as_ref();
            let (path, points_m) = match (self.points_frame, pose) {
                (PointsFrame::Base, _) => ("world/ego3d", chunk.points_xyz_m.clone()),
                (PointsFrame::Camera, Some(pose)) => ("world/ego3d", transformed(pose, &chunk.points_xyz_m)),
                (PointsFrame::Camera, None) => ("camera_frame/ego3d", chunk.points_xyz_m.clone()),
            };
            let style = Points3D::new(points_m).with_colors([SAMPLED_RGB]).with_radii([self.sampled_radius]);
            stream.log(path, &style)?;
        }
        match &seen.state {
            Some(state) => self.plan(stream, state.base_from_ee.translation.vector, done),
            None => Ok(()), // without a position there is no place to draw it at
        }
    }

    fn plan(&mut self, stream: &RecordingStream, start_m: Vector3<f64>, done: &Done) -> Result<(), LogError> {
        let executed_m = accumulated(start_m, done.sent.iter().map(|action| action.action().translation_m()));
        let rest = done.planned.get(done.sent.len()..).unwrap_or(&[]);
        let end_m = executed_m.last().copied().unwrap_or(start_m);
        let rest_m = accumulated(end_m, rest.iter().map(|action| action.translation_m()));
        for (path, points_m, rgb, width) in
            [("world/chunk/rest", &rest_m, REST_RGB, 2.0), ("world/chunk/executed", &executed_m, EXECUTED_RGB, 3.5)]
        {
            let strip: Vec<[f32; 3]> = points_m.iter().map(to_f32).collect();
            let line = LineStrips3D::new([strip.clone()]).with_colors([rgb]).with_radii([Radius::new_ui_points(width)]);
            stream.log(path, &line)?;
            let ends = Points3D::new(strip).with_colors([rgb]).with_radii([Radius::new_ui_points(1.6 * width)]);
            stream.log(format!("{path}/steps"), &ends)?;
        }
        self.gate(stream, &executed_m, done)
    }

    /// For each step that the gate changed: what was asked and what was let through.
    fn gate(&mut self, stream: &RecordingStream, executed_m: &[Vector3<f64>], done: &Done) -> Result<(), LogError> {
        let (mut origins, mut asked, mut allowed, mut labels) = (vec![], vec![], vec![], vec![]);
        for (step, (sent, origin_m)) in done.sent.iter().zip(executed_m).enumerate() {
            let reasons: Vec<String> = sent.interventions().map(ToString::to_string).collect();
            if reasons.is_empty() {
                continue;
            }
            let planned = done.planned.get(step);
            let nothing = [0.0; 3];
            origins.push(to_f32(origin_m));
            asked.push(planned.map_or(nothing, |action| action.translation_m()).map(|value| value as f32));
            allowed.push(sent.action().translation_m().map(|value| value as f32));
            labels.push(reasons.join("; "));
        }
        if origins.is_empty() {
            return self.clear_gate(stream);
        }
        self.gate_shown = true;
        // One label: several would lie on each other, and the log has them all.
        let label =
            if labels.len() == 1 { labels.remove(0) } else { format!("{} (+{} more)", labels[0], labels.len() - 1) };
        let at = origins[0];
        let above = [at[0], at[1], at[2] + LABEL_ABOVE_M];
        let thin = Radius::new_ui_points(0.8);
        let why = LineStrips3D::new([[at, above]]).with_colors([ASKED_RGB]).with_radii([thin]);
        stream.log("world/gate/why", &why)?;
        let text = Points3D::new([above]).with_labels([label]).with_colors([ASKED_RGB]).with_radii([thin]);
        stream.log("world/gate/why/text", &text.with_show_labels(true))?;
        let width = Radius::new_ui_points(2.0);
        for (path, vectors, rgb) in
            [("world/gate/asked", asked, ASKED_RGB), ("world/gate/allowed", allowed, ALLOWED_RGB)]
        {
            let arrows = Arrows3D::from_vectors(vectors).with_origins(origins.clone());
            stream.log(path, &arrows.with_colors([rgb]).with_radii([width]))?;
        }
        Ok(())
    }

    /// The episode is over: nothing is planned any more.
    pub(super) fn clear_plan(&mut self, stream: &RecordingStream) -> Result<(), LogError> {
        stream.log("world/chunk", &Clear::recursive())?;
        self.clear_gate(stream)
    }

    fn clear_gate(&mut self, stream: &RecordingStream) -> Result<(), LogError> {
        if self.gate_shown {
            stream.log("world/gate", &Clear::recursive())?;
            self.gate_shown = false;
        }
        Ok(())
    }
}

/// `start`, and where each delta leads from there.
fn accumulated(start_m: Vector3<f64>, deltas_m: impl Iterator<Item = [f64; 3]>) -> Vec<Vector3<f64>> {
    let positions = deltas_m.scan(start_m, |position, delta| {
        *position += Vector3::from(delta);
        Some(*position)
    });
    std::iter::once(start_m).chain(positions).collect()
}

fn to_f32(vector: &Vector3<f64>) -> [f32; 3] {
    [vector.x as f32, vector.y as f32, vector.z as f32]
}

pub(super) fn transformed(base_from_camera: &Isometry3<f64>, points_m: &[[f32; 3]]) -> Vec<[f32; 3]> {
    let pose = base_from_camera.cast::<f32>();
    points_m.iter().map(|&point| (pose * Point3::from(point)).coords.into()).collect()
}

fn transform(pose: &Isometry3<f64>) -> Transform3D {
    let [x, y, z, w] = pose.rotation.coords.cast::<f32>().into();
    Transform3D::from_translation_rotation(to_f32(&pose.translation.vector), rerun::Quaternion([x, y, z, w]))
}
