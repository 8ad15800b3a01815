//! A simulator in lockstep: buffers what the gate let through, then asks for all of it to be executed and looks.
//!
//! From: `SafeAction`s. To: `Observation`s. Queries `sim/info`, `sim/reset` and `sim/step` of PROTOCOL.md; what was sent
//! is also published on `action`, for whoever listens.

use super::peer::{WorkerPeer, transport};
use super::transport::BridgeSession;
use crate::codec::{self, Message};
use crate::convert::{stamp_to_wire, step_to_wire, wire_to_frame, wire_to_state};
use crate::limits::{CHUNK_LEN_MAX, PROTOCOL_VERSION};
use crate::message::{self, ActionChunk, ActionStep, Header, SafetyReason, SimReset, SimStep};
use crate::session::RobotName;
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::endpoint::{ActionSink, EndpointError, ObservationSource};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::safety::SafeAction;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zenoh::Wait;
use zenoh::bytes::{Encoding, ZBytes};
use zenoh::qos::CongestionControl;

/// Axes of the deltas, as `ActionChunk.header.frame_id` names them.
const ACTION_FRAME: &str = "base";

/// What a worker said about itself, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SimInfo {
    /// Name and version.
    pub simulator: String,
    /// Its liveliness token's last part.
    pub instance: String,
    /// What can be reset to.
    pub tasks: Vec<String>,
    /// Simulated steps per second.
    pub control_hz: f64,
    /// Largest translation of one step, per axis; more is refused.
    pub translation_m_max: f64,
    /// Largest rotation of one step, per axis; 0 = it does not rotate.
    pub rotation_rad_max: f64,
    /// `[width, height]` of its pictures.
    pub image_px: [u32; 2],
    /// Whether every observation has depth.
    pub depth: bool,
}

/// Where an episode is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimStepInfo {
    /// The benchmark's own signal, now or earlier in this episode.
    pub success: bool,
    /// By the last query; fewer than sent only on success.
    pub steps_executed: u32,
    /// In this episode.
    pub steps_total: u32,
    /// Simulated time since the reset.
    pub sim_time_s: f64,
}

/// The beginning of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct SimObservation {
    /// For the policy.
    pub observation: Observation,
    /// As asked.
    pub task: String,
    /// Where the episode is.
    pub step: SimStepInfo,
}

/// What published chunks say about who decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionLabel {
    /// Family and origin of the policy.
    pub policy_id: String,
}

#[derive(Debug)]
struct Episode {
    id: u64,
    task: String,
    steps_total: u32,
    sequence: u64,
    stamp: Stamp,
}

/// The client of one worker. [`ObservationSource`] and [`ActionSink`] in one, as lockstep has it.
#[derive(Debug)]
pub struct SimClient {
    peer: WorkerPeer,
    info: SimInfo,
    /// `None` before the first reset and after every error: the two sides may then disagree about what was executed.
    episode: Option<Episode>,
    steps: Vec<ActionStep>,
    reasons: Vec<SafetyReason>,
    last_step: Option<SimStepInfo>,
    next_sequence: u64,
    label: ActionLabel,
    action: zenoh::pubsub::Publisher<'static>,
}

impl SimClient {
    /// Finds the one worker of `robot` and shakes hands, waiting at most `wait_max` in all.
    ///
    /// # Errors
    /// Nobody there, more than one there, another protocol version, an unreadable answer.
    pub fn connect(session: &BridgeSession, robot: &RobotName, wait_max: Duration) -> Result<Self, EndpointError> {
        let mut peer = WorkerPeer::new(session, robot)?;
        let info = handshake(&mut peer, wait_max)?;
        let action = session
            .zenoh()
            .declare_publisher(robot.key("action"))
            .encoding(Encoding::APPLICATION_CDR.with_schema(ActionChunk::ROS_TYPE))
            .congestion_control(CongestionControl::Drop)
            .express(true)
            .wait()
            .map_err(|error| transport(robot.as_str(), &error))?;
        Ok(Self {
            peer,
            info,
            episode: None,
            steps: Vec::with_capacity(CHUNK_LEN_MAX),
            reasons: Vec::new(),
            last_step: None,
            next_sequence: 0,
            label: ActionLabel::default(),
            action,
        })
    }

    /// What the worker said about itself.
    pub fn info(&self) -> &SimInfo {
        &self.info
    }

    /// Sets what published chunks say.
    pub fn set_label(&mut self, label: ActionLabel) {
        self.label = label;
    }

    /// The result of the newest query; `None` before the first reset and after an error.
    pub fn last_step(&self) -> Option<SimStepInfo> {
        self.last_step
    }

    /// Begins the episode that `task` and `seed` name. Shakes hands again if the worker was restarted.
    ///
    /// # Errors
    /// An unknown task, a worker that is gone, hung, or answers nonsense.
    pub fn reset(&mut self, task: &str, seed: u32, wait_max: Duration) -> Result<SimObservation, EndpointError> {
        self.abandon();
        let mut left = wait_max;
        if !self.peer.instance().is_some_and(|instance| self.peer.is_alive(instance)) {
            let start = std::time::Instant::now();
            self.info = handshake(&mut self.peer, wait_max)?;
            left = wait_max.saturating_sub(start.elapsed());
        }
        let request = SimReset { protocol: PROTOCOL_VERSION, task: task.to_owned(), seed };
        let answer = self.ask("sim/reset", &request, left)?;
        let (observation, episode, step) = self.read(&answer)?;
        if episode.task != task || step.steps_total != 0 {
            let detail =
                format!("reset to {task:?} was answered with {:?} after {} steps", episode.task, step.steps_total);
            return Err(EndpointError::Malformed { peer: self.peer.name(), detail });
        }
        self.episode = Some(episode);
        self.last_step = Some(step);
        Ok(SimObservation { observation, task: task.to_owned(), step })
    }

    /// Forgets the episode: what is buffered and where it stood.
    fn abandon(&mut self) {
        self.episode = None;
        self.last_step = None;
        self.steps.clear();
        self.reasons.clear();
    }

    fn no_episode(&self) -> EndpointError {
        let detail = "there is no episode (before the first reset, or after an error); call reset".to_owned();
        EndpointError::Transport { peer: self.peer.name(), detail }
    }

    fn ask<'a, T: Message<'a>>(
        &mut self,
        rest: &str,
        request: &T,
        wait_max: Duration,
    ) -> Result<ZBytes, EndpointError> {
        let payload = codec::encode(request).map_err(|error| self.unsendable(&error))?;
        self.peer.query(rest, payload, wait_max)
    }

    fn unsendable(&self, error: &dyn std::fmt::Display) -> EndpointError {
        EndpointError::Transport { peer: self.peer.name(), detail: format!("the message cannot be sent: {error}") }
    }

    /// An answer in the runtime's types. Counts it.
    fn read(&mut self, answer: &ZBytes) -> Result<(Observation, Episode, SimStepInfo), EndpointError> {
        const WHAT: &str = "SimObservation";
        let bytes = answer.to_bytes();
        let wire: message::SimObservation<'_> =
            codec::decode(&bytes).map_err(|error| self.peer.malformed(WHAT, &error))?;
        let frame = wire_to_frame(&wire.camera).map_err(|error| self.peer.malformed(WHAT, &error))?;
        let state = wire.state.map(wire_to_state).transpose().map_err(|error| self.peer.malformed(WHAT, &error))?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let step = SimStepInfo {
            success: wire.success,
            steps_executed: wire.steps_executed,
            steps_total: wire.steps_total,
            sim_time_s: frame.stamp.ns as f64 * 1e-9,
        };
        let episode =
            Episode { id: wire.episode, task: wire.task, steps_total: wire.steps_total, sequence, stamp: frame.stamp };
        Ok((Observation { sequence, frame, instruction: wire.instruction, state }, episode, step))
    }

    /// Executes what is buffered. The caller has taken the episode out, so an error leaves none.
    fn step(
        &mut self,
        before: &Episode,
        wait_max: Duration,
    ) -> Result<(Observation, Episode, SimStepInfo), EndpointError> {
        let steps = std::mem::take(&mut self.steps);
        let asked = steps.len() as u32; // at most CHUNK_LEN_MAX
        self.publish(before, &steps)?;
        let request = SimStep { protocol: PROTOCOL_VERSION, episode: before.id, first_step: before.steps_total, steps };
        let answer = self.ask("sim/step", &request, wait_max)?;
        let (observation, episode, step) = self.read(&answer)?;
        self.steps = request.steps;
        self.steps.clear();
        let counted = before.steps_total.checked_add(step.steps_executed) == Some(step.steps_total);
        let complete = step.steps_executed == asked || (step.steps_executed < asked && step.success);
        if episode.id != before.id || episode.task != before.task || !counted || !complete {
            let detail = format!(
                "asked for {asked} steps after step {} of episode {} ({:?}), answered {step:?} of episode {} ({:?})",
                before.steps_total, before.id, before.task, episode.id, episode.task
            );
            return Err(EndpointError::Malformed { peer: self.peer.name(), detail });
        }
        Ok((observation, episode, step))
    }

    /// Shows listeners what goes to the worker. Never waits: a listener that is behind misses it.
    fn publish(&mut self, episode: &Episode, steps: &[ActionStep]) -> Result<(), EndpointError> {
        let reasons = std::mem::take(&mut self.reasons);
        if steps.is_empty() {
            return Ok(());
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Stamp { ns: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX) };
        let chunk = ActionChunk {
            header: Header {
                stamp: stamp_to_wire(now).map_err(|error| self.unsendable(&error))?,
                frame_id: ACTION_FRAME.to_owned(),
            },
            observed: stamp_to_wire(episode.stamp).map_err(|error| self.unsendable(&error))?,
            sequence: episode.sequence,
            policy_id: self.label.policy_id.clone(),
            control_hz: self.info.control_hz,
            steps: steps.to_vec(),
            confidence: Vec::new(),
            reasons,
        };
        let payload = codec::encode(&chunk).map_err(|error| self.unsendable(&error))?;
        self.action.put(payload).wait().map_err(|error| transport("listeners", &error))
    }
}

impl ObservationSource for SimClient {
    fn observe(&mut self, wait_max: Duration) -> Result<Observation, EndpointError> {
        let Some(before) = self.episode.take() else { return Err(self.no_episode()) };
        match self.step(&before, wait_max) {
            Ok((observation, episode, step)) => {
                self.episode = Some(episode);
                self.last_step = Some(step);
                Ok(observation)
            }
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }
}

impl ActionSink for SimClient {
    fn send(&mut self, action: &SafeAction) -> Result<(), EndpointError> {
        if self.episode.is_none() {
            return Err(self.no_episode());
        }
        if self.steps.len() == CHUNK_LEN_MAX {
            let detail =
                format!("{CHUNK_LEN_MAX} steps are waiting, which is the longest chunk; call observe to execute them");
            return Err(EndpointError::Transport { peer: self.peer.name(), detail });
        }
        let step = self.steps.len() as u16; // below CHUNK_LEN_MAX
        self.steps.push(step_to_wire(action.action()));
        self.reasons.extend(action.interventions().map(|made| SafetyReason {
            step,
            kind: made.kind().to_owned(),
            detail: made.to_string(),
        }));
        Ok(())
    }
}

/// Binds to the one worker and reads who it is.
pub(crate) fn handshake(peer: &mut WorkerPeer, wait_max: Duration) -> Result<SimInfo, EndpointError> {
    let left = peer.bind(wait_max)?;
    let answer = peer.query("sim/info", Vec::new(), left)?;
    let bytes = answer.to_bytes();
    peer.check_version(&bytes)?;
    let wire: message::SimInfo = codec::decode(&bytes).map_err(|error| peer.malformed("SimInfo", &error))?;
    let positive = |value: f64| value.is_finite() && value > 0.0;
    let sane = positive(wire.control_hz)
        && positive(wire.translation_m_max)
        && (wire.rotation_rad_max == 0.0 || positive(wire.rotation_rad_max))
        && peer.instance() == Some(wire.instance.as_str());
    if !sane {
        return Err(peer.malformed(
            "SimInfo",
            &format!("rates and limits must be finite and positive, and the instance its own: {wire:?}"),
        ));
    }
    Ok(SimInfo {
        simulator: wire.simulator,
        instance: wire.instance,
        tasks: wire.tasks,
        control_hz: wire.control_hz,
        translation_m_max: wire.translation_m_max,
        rotation_rad_max: wire.rotation_rad_max,
        image_px: [wire.width, wire.height],
        depth: wire.depth,
    })
}
