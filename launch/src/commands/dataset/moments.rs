//! Recordings to moments: what was seen, and what was done until the next picture.
//!
//! From: recordings in lockstep, where a picture belongs to the steps that were sent after it. To: [`Step`]s in their order.

use crate::commands::replay::source::{Event, RecordedRun, Saw, Source};
use anyhow::{anyhow, bail};
use egogrid_action_grids::{ACTION_DIMS, Action};
use egogrid_runtime::observation::Observation;
use egogrid_sim_bridge::convert::wire_to_action;
use egogrid_sim_bridge::message::{ActionChunk, EpisodeMark, PolicyLook};
use nalgebra::Rotation3;
use std::collections::VecDeque;
use std::path::PathBuf;

/// What happened next.
pub(super) enum Step {
    /// Another recording begins; what ran there.
    Run(Box<RecordedRun>),
    Begin(EpisodeMark),
    Moment(Box<Moment>),
    /// A picture that is not there: the episode cannot be written.
    Gap(&'static str),
    End(EpisodeMark),
}

/// One picture and what followed.
pub(super) struct Moment {
    pub(super) camera: String,
    pub(super) observation: Observation,
    pub(super) actions: Vec<Action>,
}

/// Reads recordings one after another.
pub(super) struct Moments {
    waiting: VecDeque<PathBuf>,
    source: Option<Source>,
    look: Option<(PolicyLook, Box<Observation>)>,
    /// Recordings that end early, in words.
    pub(super) cut: Vec<String>,
    /// Bytes of the recordings before this one.
    before: u64,
    bytes: u64,
}

impl Moments {
    pub(super) fn open(recordings: &[PathBuf]) -> Self {
        let waiting = recordings.iter().cloned().collect();
        Self { waiting, source: None, look: None, cut: Vec::new(), before: 0, bytes: 0 }
    }

    /// Bytes read so far, about.
    pub(super) fn position(&self) -> u64 {
        self.before + self.source.as_ref().map_or(0, Source::position)
    }

    /// The next one; `None` at the end of the last recording.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Step>> {
        loop {
            let Some(source) = &mut self.source else {
                let Some(path) = self.waiting.pop_front() else { return Ok(None) };
                let (source, bytes) = Source::open(&path)?;
                self.source = Some(source);
                self.bytes = bytes;
                continue;
            };
            let Some(event) = source.next()? else {
                self.cut.extend_from_slice(source.cut());
                self.source = None;
                self.look = None;
                self.before += self.bytes;
                continue;
            };
            if let Some(step) = self.event(event)? {
                return Ok(Some(step));
            }
        }
    }

    fn event(&mut self, event: Event) -> anyhow::Result<Option<Step>> {
        match event {
            Event::Run(run) => Ok(Some(Step::Run(run))),
            Event::Episode(mark) => {
                self.look = None;
                Ok(Some(if mark.outcome.is_empty() { Step::Begin(mark) } else { Step::End(mark) }))
            }
            Event::Look(recorded) => match recorded.saw {
                Saw::Observation(observation) => {
                    self.look = Some((recorded.look, observation));
                    Ok(None)
                }
                Saw::Nothing(why) => {
                    self.look = None;
                    Ok(Some(Step::Gap(why)))
                }
            },
            Event::Sent(sent) => self.sent(&sent),
        }
    }

    fn sent(&mut self, sent: &ActionChunk) -> anyhow::Result<Option<Step>> {
        let Some((look, observation)) = self.look.take() else { return Ok(None) };
        if look.sequence != sent.sequence {
            bail!("actions of observation {} follow the look at observation {}", sent.sequence, look.sequence);
        }
        if sent.header.frame_id != "base" {
            bail!("actions along the axes of {:?}; expected those of the base", sent.header.frame_id);
        }
        let actions: Result<Vec<Action>, _> = sent.steps.iter().map(wire_to_action).collect();
        let camera = look.input.map_or_else(String::new, |input| input.camera);
        Ok(Some(Step::Moment(Box::new(Moment { camera, observation: *observation, actions: actions? }))))
    }
}

/// Several steps as one: moved by all of them, turned by each in order about the axes of the base, the gripper as at the end.
pub(super) fn composed(actions: &[Action]) -> anyhow::Result<[f64; ACTION_DIMS]> {
    let Some(last) = actions.last() else { return Err(anyhow!("nothing was sent after a picture")) };
    if let [only] = actions {
        return Ok(only.values());
    }
    let mut moved = [0.0; 3];
    let mut turned = Rotation3::identity();
    for action in actions {
        moved.iter_mut().zip(action.translation_m()).for_each(|(sum, delta)| *sum += delta);
        let [roll, pitch, yaw] = action.rotation_rad();
        turned = Rotation3::from_euler_angles(roll, pitch, yaw) * turned;
    }
    let (roll, pitch, yaw) = turned.euler_angles();
    let [x, y, z] = moved;
    Ok([x, y, z, roll, pitch, yaw, last.gripper()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn steps_composed_end_where_the_steps_end() {
        let step = |yaw, gripper| Action::from_physical([0.01, -0.02, 0.0], [0.0, 0.0, yaw], gripper).unwrap();
        let found = composed(&[step(0.1, 1.0), step(0.2, 1.0), step(-0.05, 0.0)]).unwrap();
        let expected = [0.03, -0.06, 0.0, 0.0, 0.0, 0.25, 0.0];
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        // Turning about x and then about y is not the sum of both.
        let [x, y] = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]].map(|turn| Action::from_physical([0.0; 3], turn, 1.0).unwrap());
        let found = composed(&[x, y]).unwrap();
        let expected = Rotation3::from_euler_angles(0.0, 0.5, 0.0) * Rotation3::from_euler_angles(0.5, 0.0, 0.0);
        let turned = Rotation3::from_euler_angles(found[3], found[4], found[5]);
        assert!((turned.matrix() - expected.matrix()).amax() < 1e-12);
        assert!(composed(&[]).is_err());
    }
}
