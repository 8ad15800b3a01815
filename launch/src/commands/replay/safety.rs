//! The last stage of a lockstep recording: the recorded chunks once more through schedule and safety gate, by the same loop.
//!
//! From: the run's arguments and embodiment, and each look's recorded answer. To: what is sent now, against what was sent. Recorded
//! chunks, not replayed ones: where a token differs, the gate must not look guilty. A run in real time has no such stage: its ticks
//! depend on when answers came.

use super::source::RecordedRun;
use crate::lockstep::{self, LockstepPlan};
use anyhow::{Context, anyhow};
use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::endpoint::{ActionSink, EndpointError, ObservationSource};
use egogrid_runtime::grids::{ActionRow, NormalizedRow};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::safety::{Gate, SafeAction};
use egogrid_runtime::schedule::Planner;
use egogrid_runtime::stage::{Stage, StageTimes};
use egogrid_runtime::tick::{LockstepLoop, Look, LoopObserver};
use egogrid_runtime::units::ActionUnits;
use egogrid_sim_bridge::convert::step_to_wire;
use egogrid_sim_bridge::message::{self, PolicyLook};
use std::time::Duration;

/// Says what was recorded.
struct RecordedPolicy {
    spec: PolicySpec,
    answer: Option<Result<ActionChunk, String>>,
}

impl Policy for RecordedPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn infer(&mut self, _: &Observation) -> Result<ActionChunk, PolicyError> {
        let none = || Err("nothing was recorded".to_owned());
        self.answer
            .take()
            .unwrap_or_else(none)
            .map_err(|detail| PolicyError::Observation { stage: Stage::Preprocess, source: detail.into() })
    }

    fn infer_committed(
        &mut self,
        observation: &Observation,
        _: &egogrid_runtime::schedule::CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        self.infer(observation)
    }

    fn reset(&mut self) {}
}

/// Takes everything and shows nothing.
struct Nowhere;

impl ActionSink for Nowhere {
    fn send(&mut self, _: &SafeAction) -> Result<(), EndpointError> {
        Ok(())
    }
}

impl ObservationSource for Nowhere {
    fn observe(&mut self, _: Duration) -> Result<Observation, EndpointError> {
        Err(EndpointError::Refused { peer: "the recording".to_owned(), detail: "it has its own order".to_owned() })
    }
}

struct Keep<'a>(&'a mut Vec<SafeAction>);

impl LoopObserver for Keep<'_> {
    fn on_look(&mut self, look: &Look<'_>) {
        *self.0 = look.sent.to_vec();
    }
}

/// Schedule and gate as the run had them.
pub(super) struct SafetyReplay {
    policy: RecordedPolicy,
    units: ActionUnits,
    planner: Planner,
    gate: Gate,
    latency_ticks: u32,
    now: Moment,
}

/// What is sent now and was not, in words.
pub(super) type SafetyDifference = String;

impl SafetyReplay {
    /// As `run` says; `spec` of the policy that replays it.
    pub(super) fn of(run: &RecordedRun, spec: &PolicySpec) -> anyhow::Result<Self> {
        let plan: LockstepPlan = toml::from_str(&run.deployment).context("the recorded arguments")?;
        let embodiment = run.embodiment()?;
        let rate = ControlRate::new(run.control_hz)?;
        let gate = Gate::new(embodiment.limits, rate)?;
        let planner = lockstep::planner(&plan, spec, rate).map_err(|error| error.error)?;
        let latency_ticks = lockstep::latency_ticks(&plan, rate);
        let units = embodiment.units;
        let policy = RecordedPolicy { spec: spec.clone(), answer: None };
        Ok(Self { policy, units, planner, gate, latency_ticks, now: Moment::START })
    }

    /// An episode begins.
    pub(super) fn begin(&mut self) {
        self.now = Moment::START;
        // Refused only without an operator, whom a simulated robot does not have; then every tick is a hold, and that shows.
        if let Err(error) = self.gate.rearm(Moment::START) {
            tracing::warn!("the gate stays stopped: {error}");
        }
        self.policy.reset();
        self.planner.schedule.reset();
        self.gate.begin_at_rest();
    }

    /// One look once more; what was `sent` then, and the first thing that is not the same now.
    pub(super) fn look(
        &mut self,
        look: &PolicyLook,
        observation: &Observation,
        sent: &message::ActionChunk,
    ) -> Option<SafetyDifference> {
        self.policy.answer = Some(recorded_answer(look, self.units));
        let mut now_sent = Vec::new();
        let mut control = LockstepLoop {
            policy: &mut self.policy,
            world: &mut Nowhere,
            planner: &mut self.planner,
            gate: &mut self.gate,
            wait_max: Duration::ZERO,
            now: self.now,
            latency_ticks: self.latency_ticks,
        };
        // The error is the end of this look: the recording has the next observation.
        let _ = control.look(observation, &mut Keep(&mut now_sent));
        self.now = control.now;
        difference(sent, &now_sent)
    }
}

fn recorded_answer(look: &PolicyLook, units: ActionUnits) -> Result<ActionChunk, String> {
    if !look.failure.is_empty() {
        return Err(look.failure_detail.clone());
    }
    let normalized: Result<Vec<_>, _> =
        look.normalized.iter().map(|row| NormalizedRow::new(row.values.clone())).collect();
    let actions: Result<Vec<_>, _> = look.actions.iter().map(|row| ActionRow::new(row.values.clone())).collect();
    Ok(ActionChunk {
        sequence: look.sequence,
        actions: actions.map_err(|error| error.to_string())?,
        units,
        normalized: normalized.map_err(|error| error.to_string())?,
        token_ids: look.tokens.iter().map(|token| token.id).collect(),
        confidence: look.tokens.iter().map(|token| token.confidence).collect(),
        runner_up: look.tokens.iter().map(|token| (token.runner_up, token.runner_up_confidence)).collect(),
        times: StageTimes::default(),
        depth: None,
        points_xyz_m: Vec::new(),
        sketches: Vec::new(),
    })
}

fn difference(recorded: &message::ActionChunk, now: &[SafeAction]) -> Option<SafetyDifference> {
    if recorded.steps.len() != now.len() {
        return Some(format!("{} actions were sent, {} now", recorded.steps.len(), now.len()));
    }
    for (index, (before, now)) in recorded.steps.iter().zip(now).enumerate() {
        let step = step_to_wire(now.action());
        if *before != step {
            return Some(format!("action {index} was {before:?}, and is {step:?} now"));
        }
        let kinds = |reasons: &mut dyn Iterator<Item = &str>| reasons.collect::<Vec<_>>().join(", ");
        let of_step = recorded.reasons.iter().filter(|reason| usize::from(reason.step) == index);
        let before = kinds(&mut of_step.map(|reason| reason.kind.as_str()));
        let after = kinds(&mut now.interventions().map(|made| made.kind()));
        if before != after {
            return Some(format!("the gate's reasons for action {index} were [{before}], and are [{after}] now"));
        }
    }
    None
}

/// A run in lockstep, which alone has this stage.
pub(super) fn require_lockstep(run: &RecordedRun) -> anyhow::Result<()> {
    if run.session == 0 {
        Ok(())
    } else {
        Err(anyhow!("it ran in real time, and its ticks depend on when answers came"))
    }
}
