//! `egogrid demo`, the main job: a real simulator, a trained policy, zenoh between two processes, and a recording.
//!
//! The simulator's process and the policy start side by side. An episode ends with the benchmark's own success flag,
//! after `steps_max` steps, or with a harness failure (the simulator died, hung or spoke nonsense), which is reported
//! and never counted against the policy.

mod episode;
mod motion;
mod summary;
mod watch;

use crate::assemble;
use crate::cli::{Common, DemoArgs};
use crate::commands::print_json;
use crate::commands::waiting::interrupt_flag;
use crate::exit::{CommandError, CommandResult, Failure};
use crate::lockstep::{self, LockstepPlan};
use crate::view::Outcome;
use anyhow::{Context, anyhow};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::policy::Policy;
use egogrid_runtime::safety::Gate;
use egogrid_runtime::schedule::Planner;
use egogrid_sim_bridge::endpoint::{ActionLabel, BridgeSession, SimClient};
use egogrid_sim_bridge::session::{RobotName, SessionConfig};
use egogrid_sim_bridge::worker::{Worker, WorkerConfig, python_path};
use episode::Episode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use summary::Summary;
use watch::Watch;

/// Python, MuJoCo and the first compiled task, on a slow machine.
const WORKER_START_MAX: Duration = Duration::from_secs(90);
/// One reset or step: compiling a task's model is the slowest.
const SIM_WAIT_MAX: Duration = Duration::from_secs(20);
/// A simulator that fails this often in a row is broken, not unlucky.
const HARNESS_FAILURES_MAX: u32 = 3;

/// Everything that runs, assembled.
struct Pipeline {
    policy: Box<dyn Policy>,
    planner: Planner,
    /// Ticks that every look is made to take.
    latency_ticks: u32,
    gate: Gate,
    sim: SimClient,
    worker: Worker,
    robot: RobotName,
    stats_key: String,
    /// Last: the others close their ends first.
    _session: BridgeSession,
}

/// Runs the command.
///
/// # Errors
/// Exit code 3 for harness failures, 4 for something missing, 5 for a latched stop, 130 when interrupted.
pub fn run(common: &Common, args: &DemoArgs) -> CommandResult {
    let started = Instant::now();
    let interrupted = interrupt_flag();
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string()).map_err(CommandError::usage)?;
    let bundle_dir = args.bundle.clone().map_or_else(|| assemble::shipped_bundle(common), Ok)?;
    let bundle = assemble::bundle(&bundle_dir)?;
    assemble::warn_of_precision(&bundle);
    let mut pipeline = assemble_pipeline(common, args, &bundle)?;
    let unknown: Vec<&String> = args.tasks.iter().filter(|task| !pipeline.sim.info().tasks.contains(task)).collect();
    if !unknown.is_empty() {
        return Err(CommandError::usage(anyhow!(
            "unknown tasks {unknown:?}; the simulator has {:?}",
            pipeline.sim.info().tasks
        )));
    }
    let mut watch = Watch::start(common, args, &bundle, &pipeline)?;
    let mut summary = Summary::new(args, &bundle, pipeline.gate.rate(), started);
    let ran = run_episodes(args, &mut pipeline, &mut watch, &mut summary, &interrupted);
    summary.finish(&pipeline.gate, watch.finish());
    // First to the terminal: what was measured is not lost with a full disk.
    if args.json {
        print_json(&summary);
    } else {
        summary.print();
    }
    summary.write(&args.out.join("summary.json")).map_err(CommandError::usage)?;
    ran?;
    verdict(&summary, interrupted.load(Ordering::Relaxed))
}

fn verdict(summary: &Summary, interrupted: bool) -> CommandResult {
    if interrupted {
        return Err(CommandError {
            failure: Failure::Interrupted,
            error: anyhow!("interrupted; what was done is in summary.json"),
        });
    }
    if summary.safety_stops() > 0 {
        let error = anyhow!(
            "the safety gate latched a stop in {} episodes; the reasons are in summary.json",
            summary.safety_stops()
        );
        return Err(CommandError { failure: Failure::Safety, error });
    }
    match summary.harness_failures() {
        0 => Ok(()),
        failures => Err(CommandError::check(anyhow!(
            "{failures} episodes failed in the harness and were not counted; the reasons are in summary.json"
        ))),
    }
}

/// The simulator's process starts while the policy's graphs load.
fn assemble_pipeline(common: &Common, args: &DemoArgs, bundle: &Bundle) -> CommandResult<Pipeline> {
    let root = assemble::root(common)?;
    let embodiment = assemble::embodiment(common, args.embodiment.as_deref())?;
    assemble::require_one_arm(bundle, &embodiment.stats_key)?;
    let session = BridgeSession::open(&SessionConfig::loopback()).map_err(CommandError::missing)?;
    let robot = RobotName::new("sim0").map_err(CommandError::usage)?;
    let config = WorkerConfig {
        python: python_path(&root).map_err(CommandError::missing)?,
        module: "egogrid_metaworld.worker".to_owned(),
        args: vec!["--image-px".to_owned(), args.image_px.to_string()],
        env: vec![("MUJOCO_GL".to_owned(), std::env::var("MUJOCO_GL").unwrap_or_else(|_| "egl".to_owned()))],
        robot: robot.clone(),
        start_max: WORKER_START_MAX,
    };
    let (worker, policy) = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Worker::start(&session, config));
        let policy = assemble::environment(common).and_then(|environment| {
            let options = LoadOptions {
                stats_key: embodiment.stats_key.clone(),
                graph: assemble::graph_options(common)?,
                preprocessing: None,
            };
            // What is recorded can be replayed stage by stage.
            let sketching = !args.no_recording;
            assemble::policy_of_robot(&environment, bundle, &options, (embodiment.depth, embodiment.units), sketching)
        });
        (starting.join(), policy)
    });
    let policy = policy?;
    let worker =
        worker.map_err(|_| CommandError::missing(anyhow!("starting the simulator panicked; please report this")))?;
    let worker = worker.map_err(CommandError::missing)?;
    let mut sim = SimClient::connect(&session, &robot, SIM_WAIT_MAX).map_err(CommandError::missing)?;
    sim.set_label(ActionLabel { policy_id: policy.spec().id.clone() });
    let rate = ControlRate::new(sim.info().control_hz).map_err(CommandError::usage)?;
    let gate = Gate::new(embodiment.limits, rate).map_err(CommandError::usage)?;
    let plan = LockstepPlan::from(args);
    let latency_ticks = lockstep::latency_ticks(&plan, rate);
    let planner = lockstep::planner(&plan, policy.spec(), rate)?;
    let stats_key = embodiment.stats_key;
    Ok(Pipeline { policy, planner, latency_ticks, gate, sim, worker, robot, stats_key, _session: session })
}

fn run_episodes(
    args: &DemoArgs,
    pipeline: &mut Pipeline,
    watch: &mut Watch,
    summary: &mut Summary,
    interrupted: &AtomicBool,
) -> CommandResult {
    let mut failures_in_a_row = 0;
    for task in &args.tasks {
        for index in 0..args.episodes {
            let seed = args.seed.wrapping_add(index);
            let episode = Episode { task, seed, steps_max: args.steps_max, index: summary.episodes_done() };
            let result = episode.run(pipeline, watch, summary, interrupted);
            if interrupted.load(Ordering::Relaxed) {
                return Ok(());
            }
            let harness_failed = matches!(result.outcome, Outcome::Harness { .. });
            summary.add(task, seed, result);
            if !harness_failed {
                failures_in_a_row = 0;
                continue;
            }
            failures_in_a_row += 1;
            let log = pipeline.worker.log_tail();
            if failures_in_a_row >= HARNESS_FAILURES_MAX {
                return Err(CommandError::missing(anyhow!(
                    "the simulator failed {failures_in_a_row} times in a row; the end of its log:\n{log}"
                )));
            }
            tracing::warn!("the simulator failed and is started again; the end of its log:\n{log}");
            pipeline.worker.restart().map_err(CommandError::missing)?;
        }
    }
    Ok(())
}
