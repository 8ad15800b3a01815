//! What the policy plans as a fan in 3D, what was commanded since then, and what the gate had to say about it.
//!
//! From: looks and commands. To: entities below `world/chunk` and `world/gate`, in the robot's base, metres.

use super::super::log::LogError;
use egogrid_action_grids::ActionRow;
use egogrid_runtime::observation::EndEffectorState;
use egogrid_runtime::units::ActionUnits;
use egogrid_sim_bridge::message::{Command, PolicyLook};
use rerun::{Clear, LineStrips3D, Points3D, Radius, RecordingStream};

const EXECUTED_RGB: [u8; 3] = [255, 190, 0];
const PLANNED_RGB: [u8; 3] = [255, 232, 160];
const GATE_RGB: [u8; 3] = [255, 70, 70];
/// So high above the gripper are the words: beside it, they would cover what they are about.
const LABEL_ABOVE_M: f32 = 0.2;
/// Commands of one look that are drawn: more are older than any chunk.
const COMMANDS_MAX: usize = 512;
/// Longest time from one command to the next; after a longer one the robot has held by itself.
const GAP_S_MAX: f64 = 0.25;

/// What stands in the picture now.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Where commands have led since the last look, metres.
    commanded_m: Vec<[f32; 3]>,
    last_s: Option<f64>,
    /// What the policy's numbers mean, as the embodiment of the run says.
    pub(super) units: Option<ActionUnits>,
    gate_shown: bool,
}

impl Plan {
    /// A new chunk, from where the robot was in its picture.
    pub(super) fn look(&mut self, stream: &RecordingStream, look: &PolicyLook) -> Result<(), LogError> {
        let state = look.input.as_ref().and_then(|input| input.state.as_ref());
        // Without a position there is no place to draw it at; and what is no end-effector delta is not drawn.
        let units = self.units.unwrap_or_default();
        let delta = |values: &[f64]| Some(units.delta(&ActionRow::new(values.to_vec()).ok()?).ok()?.translation_m());
        let deltas: Option<Vec<[f64; 3]>> = look.actions.iter().map(|row| delta(&row.values)).collect();
        let (Some(state), Some(deltas)) = (state, deltas) else { return Ok(()) };
        let p = state.base_from_ee.position;
        let mut at = [p.x, p.y, p.z];
        let mut planned = vec![at.map(|value| value as f32)];
        for delta in deltas {
            at = [0, 1, 2].map(|axis| at[axis] + delta[axis]);
            planned.push(at.map(|value| value as f32));
        }
        self.commanded_m.clear();
        strip(stream, "world/chunk/rest", &planned, PLANNED_RGB, 2.0)
    }

    /// One command: the path that it adds, and a ghost where the gate changed it.
    pub(super) fn command(
        &mut self,
        stream: &RecordingStream,
        command: &Command,
        state: Option<&EndEffectorState>,
    ) -> Result<(), LogError> {
        let stamp = command.header.stamp;
        let now_s = f64::from(stamp.sec) + f64::from(stamp.nanosec) * 1e-9;
        let passed_s = self.last_s.replace(now_s).map_or(0.0, |last_s| now_s - last_s);
        let Some(state) = state else { return Ok(()) };
        let measured = state.base_from_ee.translation.vector.cast::<f32>().into();
        let last: [f32; 3] = self.commanded_m.last().copied().unwrap_or(measured);
        if self.commanded_m.is_empty() || !(0.0..=GAP_S_MAX).contains(&passed_s) {
            self.commanded_m = vec![measured];
        } else if self.commanded_m.len() < COMMANDS_MAX && !command.hold {
            let v = command.twist.linear;
            let moved = [v.x, v.y, v.z].map(|speed| (speed * passed_s) as f32);
            self.commanded_m.push([0, 1, 2].map(|axis| last[axis] + moved[axis]));
        }
        strip(stream, "world/chunk/executed", &self.commanded_m, EXECUTED_RGB, 3.5)?;
        self.gate(stream, command, measured)
    }

    fn gate(&mut self, stream: &RecordingStream, command: &Command, at: [f32; 3]) -> Result<(), LogError> {
        if command.reason.is_empty() {
            if self.gate_shown {
                stream.log("world/gate", &Clear::recursive())?;
                self.gate_shown = false;
            }
            return Ok(());
        }
        self.gate_shown = true;
        let above = [at[0], at[1], at[2] + LABEL_ABOVE_M];
        let thin = Radius::new_ui_points(0.8);
        let why = LineStrips3D::new([[at, above]]).with_colors([GATE_RGB]).with_radii([thin]);
        stream.log("world/gate/why", &why)?;
        let what = if command.hold { "holds" } else { "changes" };
        let label = format!("gate {what}: {}", command.reason.replace('_', " "));
        let text = Points3D::new([above]).with_labels([label]).with_colors([GATE_RGB]).with_radii([thin]);
        stream.log("world/gate/why/text", &text.with_show_labels(true))?;
        let ghost = Points3D::new([at]).with_colors([GATE_RGB]).with_radii([Radius::new_ui_points(7.0)]);
        stream.log("world/gate/ghost", &ghost)?;
        Ok(())
    }
}

fn strip(stream: &RecordingStream, path: &str, points: &[[f32; 3]], rgb: [u8; 3], width: f32) -> Result<(), LogError> {
    let line = LineStrips3D::new([points.to_vec()]).with_colors([rgb]).with_radii([Radius::new_ui_points(width)]);
    stream.log(path, &line)?;
    let ends = Points3D::new(points.to_vec()).with_colors([rgb]).with_radii([Radius::new_ui_points(1.6 * width)]);
    stream.log(format!("{path}/steps"), &ends)?;
    Ok(())
}
