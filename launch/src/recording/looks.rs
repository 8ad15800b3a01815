//! The demo's `demo.mcap`: what a lockstep run saw, answered and sent, as the same messages that a robot's daemon would send.
//!
//! From: the recorder's events (`view::event`), on a thread of its own. To: [`LockstepFile`]. Stamps of pictures are simulated time
//! since the reset; the time of a message is that of this machine.

use super::{LockstepFile, about};
use crate::view::{Done, Event, OpenError, Outcome, Output, Progress, Seen};
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::live::clock;
use egogrid_runtime::observation::Observation;
use egogrid_sim_bridge::codec::Message;
use egogrid_sim_bridge::convert::{
    LookFacts, LookFailureFacts, PolicyLabel, look_to_wire, points_to_wire, stamp_to_wire, step_to_wire,
};
use egogrid_sim_bridge::limits::PROTOCOL_VERSION;
use egogrid_sim_bridge::message::{ActionChunk, EpisodeMark, Header, RosString, RunInfo, SafetyReason};
use egogrid_sim_bridge::session::RobotName;
use std::path::PathBuf;

/// The one camera of a simulated robot.
pub(crate) const CAMERA: &str = "front";

/// What is recorded about the run itself.
#[derive(Debug, Clone)]
pub(crate) struct LookRecordingConfig {
    pub(crate) path: PathBuf,
    pub(crate) robot: RobotName,
    pub(crate) label: PolicyLabel,
    pub(crate) precision: String,
    pub(crate) provider: String,
    pub(crate) rate: ControlRate,
    pub(crate) points_in_base: bool,
    /// The arguments, so that a replay can plan as the run did.
    pub(crate) deployment: String,
    /// The embodiment file.
    pub(crate) embodiment: String,
}

/// One file.
pub(crate) struct LookRecording {
    file: LockstepFile,
    config: LookRecordingConfig,
    looks: u64,
    begun: bool,
}

impl LookRecording {
    /// Replaces a file of an earlier run, as the other recordings of the demo do.
    pub(crate) fn boxed(config: LookRecordingConfig) -> Result<Box<dyn Output>, OpenError> {
        if config.path.exists() {
            std::fs::remove_file(&config.path)?;
        }
        let (path, robot) = (config.path.clone(), config.robot.clone());
        let about = about(robot.as_str());
        let file = LockstepFile::create(path, robot, about).map_err(std::io::Error::other)?;
        Ok(Box::new(Self { file, config, looks: 0, begun: false }))
    }

    fn put<'a, T: Message<'a>>(&mut self, rest: &str, message: &T, latched: bool) -> Result<(), String> {
        self.file.put(rest, message, latched, log_ns()).map_err(|error| error.to_string())
    }

    fn run_info(&mut self) -> Result<(), String> {
        let config = self.config.clone();
        let PolicyLabel { policy_id, bundle_sha256, stats_key } = config.label;
        let info = RunInfo {
            header: now()?,
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: 0,
            policy_id,
            bundle_sha256,
            stats_key,
            precision: config.precision,
            provider: config.provider,
            control_hz: config.rate.hz(),
            clock_offset_s: clock::calendar_offset_s(),
            deployment: config.deployment.as_bytes(),
            embodiment: config.embodiment.as_bytes(),
        };
        self.put("run_info", &info, true)
    }

    fn mark(&mut self, progress: &Progress, outcome: Option<&Outcome>) -> Result<(), String> {
        let Some(episode) = &progress.episode else { return Ok(()) };
        let (outcome, detail) = match outcome {
            None => ("", String::new()),
            Some(Outcome::Success) => ("success", String::new()),
            Some(Outcome::Failure) => ("failure", String::new()),
            Some(Outcome::SafetyStop { reason }) => ("safety_stop", reason.clone()),
            Some(Outcome::Harness { reason }) => ("harness", reason.clone()),
        };
        let mark = EpisodeMark {
            header: now()?,
            episode: episode.index,
            task: episode.task.clone(),
            seed: episode.seed,
            instruction: episode.instruction.clone(),
            outcome: outcome.to_owned(),
            detail,
        };
        self.put("episode", &mark, true)?;
        self.put("instruction", &RosString { data: episode.instruction.clone() }, true)
    }

    fn seen(&mut self, seen: &Seen) -> Result<(), String> {
        self.file.seen(&seen.frame, CAMERA, seen.state.as_ref(), log_ns()).map_err(|error| error.to_string())
    }

    fn look(&mut self, progress: &Progress, seen: &Seen, done: &Done) -> Result<(), String> {
        self.seen(seen)?;
        let episode = progress.episode.as_deref();
        let observation = Observation {
            sequence: seen.index.max(0).cast_unsigned(),
            frame: seen.frame.clone(),
            instruction: episode.map_or_else(String::new, |episode| episode.instruction.clone()),
            state: seen.state.clone(),
        };
        let result = done.answer.as_ref().map_err(|none| LookFailureFacts {
            kind: none.kind,
            detail: none.detail.clone(),
            token_ids: &none.token_ids,
        });
        let look = self.looks;
        self.looks += 1;
        let facts = LookFacts {
            at: clock::calendar(),
            look,
            sequence: observation.sequence,
            episode: episode.map_or(0, |episode| episode.index),
            policy: &self.config.label,
            camera: CAMERA,
            observation: Some(&observation),
            committed: &done.committed,
            result,
            took: done.latency,
            age: done.latency,
            dropped: 0,
        };
        let wire = look_to_wire(&facts).map_err(|error| error.to_string())?;
        self.put("look", &wire, false)?;
        if let Some(chunk) = done.answer.as_ref().ok().filter(|chunk| !chunk.points_xyz_m.is_empty()) {
            let axes = if self.config.points_in_base { "base" } else { CAMERA };
            let cloud = points_to_wire(&chunk.points_xyz_m, seen.frame.stamp, axes);
            self.put("points", &cloud.map_err(|error| error.to_string())?, false)?;
        }
        self.sent(seen, done, observation.sequence)
    }

    fn sent(&mut self, seen: &Seen, done: &Done, sequence: u64) -> Result<(), String> {
        let reasons = done.sent.iter().zip(0..).flat_map(|(action, step)| {
            let reason = move |made: &egogrid_runtime::safety::Intervention| SafetyReason {
                step,
                kind: made.kind().to_owned(),
                detail: made.to_string(),
            };
            action.interventions().map(reason)
        });
        let chunk = ActionChunk {
            header: Header { frame_id: "base".to_owned(), ..now()? },
            observed: stamp_to_wire(seen.frame.stamp).map_err(|error| error.to_string())?,
            sequence,
            policy_id: self.config.label.policy_id.clone(),
            control_hz: self.config.rate.hz(),
            steps: done.sent.iter().map(|action| step_to_wire(action.action())).collect(),
            confidence: Vec::new(), // of each token: in the look
            reasons: reasons.collect(),
        };
        self.put("action", &chunk, false)
    }
}

/// Of a message: this machine's time.
fn log_ns() -> u64 {
    clock::calendar().ns.max(0).cast_unsigned()
}

fn now() -> Result<Header, String> {
    let Stamp { ns } = clock::calendar();
    let stamp = stamp_to_wire(Stamp { ns }).map_err(|error| error.to_string())?;
    Ok(Header { stamp, frame_id: String::new() })
}

impl Output for LookRecording {
    fn write(&mut self, event: &Event) -> Result<(), String> {
        if !self.begun {
            self.begun = true;
            self.run_info()?;
        }
        match event {
            Event::Started(progress, _) => self.mark(progress, None),
            Event::Look(look) => {
                let (progress, seen, done) = look.as_ref();
                self.look(progress, seen, done)
            }
            Event::Ended(progress, last) => {
                if let Some(seen) = last {
                    self.seen(seen)?;
                }
                self.mark(progress, progress.outcome.as_ref())
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        self.file.finish().map_err(|error| error.to_string())
    }
}
