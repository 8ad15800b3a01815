//! What is known of a robot from its messages: the newest of everything that is drawn together.
//!
//! From: payloads, each read with the limits of the wire. To: [`super::draw`]. A payload that cannot be read is counted, and never
//! ends the view.

use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, Frame, RgbImage, Stamp};
use egogrid_runtime::observation::EndEffectorState;
use egogrid_sim_bridge::codec::{Message, decode};
use egogrid_sim_bridge::convert::{
    wire_to_depth, wire_to_intrinsics, wire_to_look_intrinsics, wire_to_pose, wire_to_rgb, wire_to_stamp, wire_to_state,
};
use egogrid_sim_bridge::message::{CameraInfo, EndEffectorState as StateWire, Image, PolicyLook};
use nalgebra::Isometry3;
use std::collections::{BTreeMap, VecDeque};

/// Pictures of each kind, to find those of one exposure.
const KEPT: usize = 3;

/// One camera's newest.
#[derive(Debug, Default)]
pub(super) struct CameraNow {
    rgb: VecDeque<(Stamp, RgbImage)>,
    depth: VecDeque<(Stamp, DepthImage)>,
    pub(super) intrinsics: Option<CameraIntrinsics>,
    /// As the policy was told.
    pub(super) base_from_camera: Option<Isometry3<f64>>,
}

impl CameraNow {
    /// Picture and depth of one exposure: the newest that has both, or the newest picture where there is no such one.
    pub(super) fn frame(&self) -> Option<Frame> {
        let depth_of = |stamp: Stamp| self.depth.iter().find(|(at, _)| *at == stamp).map(|(_, depth)| depth.clone());
        let whole = self.rgb.iter().rev().find(|(stamp, _)| depth_of(*stamp).is_some());
        let (stamp, rgb) = whole.or(self.rgb.back()).cloned()?;
        let depth = depth_of(stamp);
        let intrinsics = self.intrinsics.and_then(|lens| lens.for_size([rgb.width_px(), rgb.height_px()]).ok());
        Some(Frame { stamp, rgb, depth, intrinsics, base_from_camera: self.base_from_camera })
    }

    /// Picture and depth of exactly that exposure.
    pub(super) fn at(&self, stamp: Stamp) -> Option<(RgbImage, Option<DepthImage>)> {
        let rgb = self.rgb.iter().find(|(at, _)| *at == stamp)?.1.clone();
        Some((rgb, self.depth.iter().find(|(at, _)| *at == stamp).map(|(_, depth)| depth.clone())))
    }
}

/// The newest of everything.
#[derive(Debug, Default)]
pub(super) struct Robot {
    pub(super) cameras: BTreeMap<String, CameraNow>,
    pub(super) state: Option<EndEffectorState>,
    /// Whether that is of a look, because nobody else told.
    of_look: bool,
    /// Payloads that could not be read.
    pub(super) unreadable: u64,
}

impl Robot {
    /// A message, or `None` and counted.
    pub(super) fn read<'a, T: Message<'a>>(&mut self, payload: &'a [u8]) -> Option<T> {
        let read = decode(payload);
        self.unreadable += u64::from(read.is_err());
        read.ok()
    }

    /// A picture, a depth map or a calibration of `camera`.
    pub(super) fn camera(&mut self, camera: &str, part: &str, payload: &[u8]) {
        let now = self.cameras.entry(camera.to_owned()).or_default();
        let taken = match part {
            "camera_info" => decode::<CameraInfo>(payload).ok().and_then(|info| {
                now.intrinsics = Some(wire_to_intrinsics(&info).ok()?);
                Some(())
            }),
            "image" => picture(payload, wire_to_rgb).map(|seen| keep(&mut now.rgb, seen)),
            _ => picture(payload, wire_to_depth).map(|seen| keep(&mut now.depth, seen)),
        };
        self.unreadable += u64::from(taken.is_none());
    }

    /// The robot's own report.
    pub(super) fn state(&mut self, payload: &[u8]) {
        let read = decode::<StateWire>(payload).ok().and_then(|wire| wire_to_state(wire).ok());
        self.unreadable += u64::from(read.is_none());
        self.state = read.or(self.state.take());
        self.of_look = false;
    }

    /// Where the policy has its camera.
    pub(super) fn look(&mut self, look: &PolicyLook) {
        let Some(input) = &look.input else { return };
        let pose = input.base_from_camera.as_ref().and_then(|pose| wire_to_pose(pose, "base_from_camera").ok());
        let camera = self.cameras.entry(input.camera.clone()).or_default();
        camera.base_from_camera = pose;
        // A frozen recording has looks and their pictures only: then they say what calibration and robot say otherwise.
        if camera.intrinsics.is_none() {
            camera.intrinsics = wire_to_look_intrinsics(input).ok().flatten();
        }
        if self.state.is_none() || self.of_look {
            self.state = input.state.clone().and_then(|state| wire_to_state(state).ok());
            self.of_look = true;
        }
    }
}

fn keep<T>(newest: &mut VecDeque<T>, seen: T) {
    if newest.len() == KEPT {
        newest.pop_front();
    }
    newest.push_back(seen);
}

fn picture<'a, T, E>(payload: &'a [u8], convert: impl FnOnce(&Image<'a>) -> Result<T, E>) -> Option<(Stamp, T)> {
    let image: Image<'a> = decode(payload).ok()?;
    Some((wire_to_stamp(image.header.stamp).ok()?, convert(&image).ok()?))
}
