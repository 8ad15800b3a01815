//! One worker process and its episodes, one after the other.
//!
//! From: [`Job`]s. To: an [`EpisodeRecord`] each. The loop is the one that the demo runs (`lockstep::run_episode`); the worker is started again
//! for an arm that asks other things of the simulator, and after every failure of it.

use super::arms::{Actor, Arm};
use super::artifacts;
use super::plan::Plan;
use super::pool::{PolicyPool, Pooled};
use super::record::{EpisodeRecord, EpisodeTime};
use super::stress::{Stressed, random_of};
use crate::exit::{CommandError, CommandResult};
use crate::lockstep::{self, EpisodeProgress, LockstepPlan};
use crate::view::Outcome;
use anyhow::anyhow;
use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::embodiment::Embodiment;
use egogrid_runtime::endpoint::{ActionSink, EndpointError, ObservationSource};
use egogrid_runtime::safety::{Asked, Gate, SafeAction};
use egogrid_runtime::tick::{LockstepLoop, Look, LoopObserver};
use egogrid_sim_bridge::endpoint::{ActionLabel, BridgeSession, SimClient};
use egogrid_sim_bridge::session::{RobotName, SessionConfig};
use egogrid_sim_bridge::worker::{Worker, WorkerConfig};
use rand::Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Python, a simulator and its first compiled task, beside others that start too.
const WORKER_START_MAX: Duration = Duration::from_secs(180);
/// Steps of the expert for each query: as a policy with a chunk of four.
const EXPERT_STEPS: u32 = 4;

/// One episode to run.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Index into the plan's arms.
    pub(super) arm: usize,
    pub(super) task: String,
    pub(super) seed: u32,
    /// How often it was tried already.
    pub(super) attempts: u32,
}

/// What all drivers share.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) embodiment: &'a Embodiment,
    pub(super) pools: &'a BTreeMap<PathBuf, PolicyPool>,
    pub(super) python: PathBuf,
    pub(super) interrupted: &'a AtomicBool,
    /// Where the run lies, which has a picture of each task.
    pub(super) pictures: Option<&'a Path>,
}

impl Shared<'_> {
    /// One reset or step: compiling a task's model is the slowest.
    fn wait_max(&self) -> Duration {
        Duration::from_secs(u64::from(self.plan.run.sim_s_max))
    }
}

/// One worker.
pub(super) struct Driver<'a> {
    shared: &'a Shared<'a>,
    robot: RobotName,
    session: BridgeSession,
    running: Option<Running>,
}

struct Running {
    args: Vec<String>,
    sim: SimClient,
    worker: Worker,
    /// Nothing is known of it any more: the next episode gets another one.
    broken: bool,
}

impl<'a> Driver<'a> {
    /// With a session of its own; the worker starts with the first episode.
    pub(super) fn new(shared: &'a Shared<'a>, index: usize) -> CommandResult<Self> {
        let session = BridgeSession::open(&SessionConfig::loopback()).map_err(CommandError::missing)?;
        let robot = RobotName::new(&format!("sim{index}")).map_err(CommandError::usage)?;
        Ok(Self { shared, robot, session, running: None })
    }

    /// Name and version of the simulator, its rate, and the tasks that it has.
    pub(super) fn simulator(&mut self, arm: &Arm) -> CommandResult<(String, f64, Vec<String>)> {
        let info = self.running(arm)?.sim.info();
        Ok((info.simulator.clone(), info.control_hz, info.tasks.clone()))
    }

    /// One episode. `None` when it was interrupted: then it says nothing.
    ///
    /// # Errors
    /// No simulator to be had.
    pub(super) fn run(&mut self, job: &Job) -> CommandResult<Option<EpisodeRecord>> {
        let shared = self.shared;
        let arm = &shared.plan.arms[job.arm];
        let mut booked = Booked::default();
        let mut progress = EpisodeProgress::default();
        let running = self.running(arm)?;
        let begun = Instant::now(); // starting a simulator is part of no episode
        let played = play(shared, arm, job, &mut running.sim, &mut booked, &mut progress);
        if shared.interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let outcome = played.unwrap_or_else(|error| {
            let outcome = lockstep::outcome_of(&error);
            if !matches!(outcome, Outcome::Harness { .. }) {
                return outcome;
            }
            let log = self.running.as_mut().map(|running| {
                running.broken = true;
                running.worker.log_tail()
            });
            let log = log.unwrap_or_default();
            tracing::warn!("{} with seed {}: {error}; the end of the simulator's log:\n{log}", job.task, job.seed);
            outcome
        });
        let wall = begun.elapsed();
        let spent = [booked.simulator, booked.onnx, booked.runtime, booked.waited];
        let rest = spent.iter().fold(wall, |rest, part| rest.saturating_sub(*part));
        let [simulator_ms, onnx_ms, runtime_ms, queue_ms] = spent.map(|part| part.as_secs_f64() * 1e3);
        Ok(Some(EpisodeRecord {
            arm: arm.name.clone(),
            task: job.task.clone(),
            seed: job.seed,
            instruction: booked.instruction,
            outcome,
            steps: progress.steps,
            looks: progress.looks,
            interventions: booked.interventions,
            policy_errors: booked.policy_errors,
            actions_crc32: booked.actions.finalize(),
            attempts: job.attempts + 1,
            time: EpisodeTime { simulator_ms, onnx_ms, runtime_ms, queue_ms, harness_ms: rest.as_secs_f64() * 1e3 },
            wall_s: wall.as_secs_f64(),
            node: None,
        }))
    }

    /// The worker for `arm`, started if it is not there.
    fn running(&mut self, arm: &Arm) -> CommandResult<&mut Running> {
        let args = arm.worker_args(&self.shared.plan.simulator);
        let mut ready = Ok(());
        for _ in 0..self.shared.plan.run.attempts {
            // A simulator that does not start once may be unlucky; one that never does is an error with its log.
            ready = match &mut self.running {
                None => self.start(args.clone()).map(|running| self.running = Some(running)),
                Some(running) => running.ready(&args),
            };
            match &ready {
                Err(error) if !self.shared.interrupted.load(Ordering::Relaxed) => tracing::warn!("{error}"),
                _ => break,
            }
        }
        ready?;
        self.running.as_mut().ok_or_else(|| CommandError::missing(anyhow!("the simulator is gone; please report this")))
    }

    fn start(&self, args: Vec<String>) -> CommandResult<Running> {
        let simulator = &self.shared.plan.simulator;
        let own = simulator.env.iter().filter(|(name, _)| std::env::var_os(name).is_none());
        let config = WorkerConfig {
            python: self.shared.python.clone(),
            module: simulator.module.clone(),
            args: args.clone(),
            env: own.map(|(name, value)| (name.clone(), value.clone())).collect(),
            robot: self.robot.clone(),
            start_max: WORKER_START_MAX,
        };
        let worker = Worker::start(&self.session, config).map_err(CommandError::missing)?;
        let sim =
            SimClient::connect(&self.session, &self.robot, self.shared.wait_max()).map_err(CommandError::missing)?;
        Ok(Running { args, sim, worker, broken: false })
    }
}

impl Running {
    /// Starts the process again where it is broken, gone, or was started for something else.
    fn ready(&mut self, args: &[String]) -> CommandResult {
        if self.broken || self.args != args || self.worker.exited().is_some() {
            self.broken = true;
            self.worker.restart_with(args.to_vec()).map_err(CommandError::missing)?;
            (self.args, self.broken) = (args.to_vec(), false);
        }
        Ok(())
    }
}

/// What is booked of an episode while it runs.
#[derive(Default)]
struct Booked {
    instruction: String,
    interventions: BTreeMap<String, u32>,
    policy_errors: BTreeMap<String, u32>,
    actions: crc32fast::Hasher,
    simulator: Duration,
    onnx: Duration,
    runtime: Duration,
    waited: Duration,
}

impl Booked {
    fn sent(&mut self, action: &SafeAction) {
        action.action().values().iter().for_each(|value| self.actions.update(&value.to_le_bytes()));
        for made in action.interventions() {
            *self.interventions.entry(made.kind().to_owned()).or_default() += 1;
        }
    }
}

impl LoopObserver for Booked {
    fn on_look(&mut self, look: &Look<'_>) {
        look.sent.iter().for_each(|action| self.sent(action));
        if let Err(error) = look.chunk {
            *self.policy_errors.entry(error.kind().to_owned()).or_default() += 1;
        }
        let outside = look.times.outside_onnx();
        self.runtime += outside;
        self.onnx += look.times.iter().map(|(_, spent)| spent).sum::<Duration>().saturating_sub(outside);
    }
}

fn play(
    shared: &Shared<'_>,
    arm: &Arm,
    job: &Job,
    sim: &mut SimClient,
    booked: &mut Booked,
    progress: &mut EpisodeProgress,
) -> Result<Outcome, EndpointError> {
    let reset = Instant::now();
    let first = sim.reset(&job.task, job.seed, shared.wait_max())?;
    booked.simulator += reset.elapsed();
    booked.instruction.clone_from(&first.observation.instruction);
    if let Some(run) = shared.pictures
        && job.arm == 0
        && job.seed == shared.plan.seed
    {
        picture(run, &job.task, &first.observation.frame.rgb);
    }
    // Checked before the first episode, for every arm.
    let unusable = |detail: String| EndpointError::Refused { peer: "the evaluation".to_owned(), detail };
    let rate = ControlRate::new(sim.info().control_hz).map_err(|error| unusable(error.to_string()))?;
    let mut gate = Gate::new(shared.embodiment.limits.clone(), rate).map_err(|error| unusable(error.to_string()))?;
    // The world is new: the operator's permission to move is given here, once per episode.
    if let Err(refused) = gate.rearm(Moment::START) {
        return Ok(Outcome::SafetyStop { reason: refused.to_string() });
    }
    let goes_on = || !shared.interrupted.load(Ordering::Relaxed);
    let Actor::Bundle(bundle) = &arm.actor else {
        return expert(sim, &mut gate, shared, booked, progress, &goes_on);
    };
    let pool = shared.pools.get(bundle).ok_or_else(|| unusable(format!("no policy of {}", bundle.display())))?;
    let plan = LockstepPlan::new(arm.schedule.strategy, arm.schedule.steps_executed);
    let mut planner = lockstep::planner(&plan, pool.spec(), rate).map_err(|error| unusable(error.to_string()))?;
    sim.set_label(ActionLabel { policy_id: pool.spec().id.clone() });
    let mut policy = Stressed::new(Pooled::of(pool), &arm.stress, &job.task, job.seed);
    // Another generator than the policy's: how late a look is must not decide which picture is lost.
    let mut random = random_of(&job.task, job.seed.wrapping_add(1));
    let mut world_begun = Instant::now();
    let mut control = LockstepLoop {
        policy: &mut policy,
        world: sim,
        planner: &mut planner,
        gate: &mut gate,
        wait_max: shared.wait_max(),
        now: Moment::START,
        latency_ticks: 0,
    };
    let mut looks = Timed { booked, handed: Duration::ZERO, at: &mut world_begun };
    let mut late = |control: &mut LockstepLoop<'_, SimClient>| {
        let jitter_ms = if arm.stress.jitter_ms > 0.0 { random.random_range(0.0..=arm.stress.jitter_ms) } else { 0.0 };
        control.latency_ticks = lockstep::ticks_of(arm.stress.latency_ms + jitter_ms, rate);
    };
    let steps_max = shared.plan.steps_max;
    let outcome =
        lockstep::run_episode(&mut control, first.observation, steps_max, progress, &mut looks, &goes_on, &mut late);
    looks.ended();
    booked.waited = policy.policy().waited();
    outcome
}

/// What a task looks like, for the report. Nothing else depends on it: a disk that takes no picture will not take episodes either.
fn picture(run: &Path, task: &str, rgb: &RgbImage) {
    let path = run.join(artifacts::picture_of(task));
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let saved = made.map_err(image::ImageError::IoError).and_then(|()| {
        image::save_buffer(&path, rgb.data(), rgb.width_px(), rgb.height_px(), image::ExtendedColorType::Rgb8)
    });
    if let Err(error) = saved {
        tracing::warn!("{}: {error}", path.display());
    }
}

/// Time between a look's end and the next one's begin is the simulator's.
struct Timed<'a> {
    booked: &'a mut Booked,
    handed: Duration,
    at: &'a mut Instant,
}

impl Timed<'_> {
    /// The last answer of the world came after the last look.
    fn ended(&mut self) {
        self.booked.simulator += self.handed + self.at.elapsed();
    }
}

impl LoopObserver for Timed<'_> {
    fn on_look(&mut self, look: &Look<'_>) {
        self.booked.on_look(look);
        // From the look before until this observation came: `latency` begins there.
        self.handed += self.at.elapsed().saturating_sub(look.latency);
        *self.at = Instant::now();
    }
}

/// The worker moves by itself; what is sent are holds, so that its clock goes on.
fn expert(
    sim: &mut SimClient,
    gate: &mut Gate,
    shared: &Shared<'_>,
    booked: &mut Booked,
    progress: &mut EpisodeProgress,
    goes_on: &dyn Fn() -> bool,
) -> Result<Outcome, EndpointError> {
    let mut now = Moment::START;
    gate.begin_at_rest();
    while progress.steps < shared.plan.steps_max && goes_on() {
        for _ in 0..EXPERT_STEPS {
            let held = gate.tick(now, Asked::Nothing);
            sim.send(&held)?;
            now = now.plus(gate.rate().tick());
        }
        let asked = Instant::now();
        progress.last = Some(sim.observe(shared.wait_max())?);
        booked.simulator += asked.elapsed();
        progress.looks += 1;
        let Some(step) = sim.last_step() else { break };
        progress.steps = step.steps_total;
        if step.success {
            return Ok(Outcome::Success);
        }
    }
    Ok(Outcome::Failure)
}
