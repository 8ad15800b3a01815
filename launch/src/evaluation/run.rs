//! A whole evaluation: reads the plan, loads the policies, starts the workers, and keeps what they find.
//!
//! From: `eval.toml`. To: the run in its directory. Every worker has a thread here; this thread writes the journal. Seeds go around all
//! tasks before the next seed, so that a run that is stopped early has seen every task.

use super::arms::{Actor, Arm};
use super::driver::{Driver, Job, Shared};
use super::journal::Journal;
use super::plan::{EvalConfig, Plan, SimulatorConfig};
use super::pool::PolicyPool;
use super::record::{ArmPolicy, EpisodeRecord, EvalHeader, EvalRun, FORMAT};
use super::recorded::Again;
use super::statistics::{Confidence, Counts, wilson};
use crate::assemble;
use crate::cli::Common;
use crate::exit::{CommandError, CommandResult};
use crate::lockstep::{self, LockstepPlan};
use anyhow::{Context, anyhow};
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::embodiment::Embodiment;
use egogrid_runtime::execution::GraphOptions;
use egogrid_runtime::safety::Gate;
use egogrid_sim_bridge::worker::python_path;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the journal's thread waits before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(100);

/// What is asked for on the command line.
pub struct Settings<'a> {
    /// `eval.toml`.
    pub config: &'a Path,
    /// Where the run lies or shall lie.
    pub out: &'a Path,
    /// Instead of the file's.
    pub workers: Option<usize>,
    /// Ends the run between two looks.
    pub interrupted: &'a AtomicBool,
}

/// What came of it.
pub struct Evaluation {
    /// Everything that is done, of this process and of those before it.
    pub run: EvalRun,
    /// Episodes that were done before.
    pub resumed: usize,
    /// Whether every episode is done.
    pub complete: bool,
    /// How the failures of `base` are run once more.
    pub again: Again,
}

/// Runs what is missing of the evaluation in `settings.out`.
///
/// # Errors
/// Wrong configuration, something missing, or a directory that cannot be written.
pub fn evaluate(common: &Common, settings: &Settings<'_>) -> CommandResult<Evaluation> {
    let text = assemble::small_text(settings.config)?;
    let prepared = Prepared::read(common, settings, &text)?;
    let (plan, embodiment) = (&prepared.plan, &prepared.embodiment);
    let pools = pools(common, &prepared)?;
    let shared = Shared {
        plan,
        embodiment,
        pools: &pools,
        python: prepared.python.clone(),
        interrupted: settings.interrupted,
        out: settings.out,
    };
    let mut first = Driver::new(&shared, 0)?;
    let (simulator, control_hz, known) = first.simulator(&plan.arms[0])?;
    if let Some(unknown) = plan.tasks.iter().find(|task| !known.contains(task)) {
        return Err(CommandError::usage(anyhow!("tasks: the simulator has no {unknown:?}, only {known:?}")));
    }
    check_arms(plan, embodiment, &pools, control_hz)?;
    let header = prepared.header(&text, simulator, control_hz);
    let (journal, run) = Journal::open(settings.out, &header).map_err(CommandError::usage)?;
    let resumed = run.episodes.len();
    let jobs = jobs(plan, &journal);
    let bar = progress_bar(jobs.len() + resumed, resumed);
    let mut counts = Counts::default();
    run.episodes.iter().filter(|record| record.is_judged()).for_each(|record| counts.add(record.is_success()));
    let mut keeper = Keeper { journal, run, counts, bar: &bar, left: jobs.len() };
    let ran = work(&shared, first, jobs, &mut keeper);
    bar.finish_and_clear();
    let Keeper { run, left, .. } = keeper;
    ran?;
    let again = Again::of(plan, settings.out);
    Ok(Evaluation { run, resumed, complete: left == 0, again })
}

/// Everything that the files say.
struct Prepared {
    plan: Plan,
    embodiment: Embodiment,
    bundles: BTreeMap<PathBuf, Bundle>,
    python: PathBuf,
    /// What the graphs run on; another one adds in another order.
    provider: String,
}

impl Prepared {
    fn read(common: &Common, settings: &Settings<'_>, text: &str) -> CommandResult<Self> {
        let root = assemble::root(common)?;
        let named = || settings.config.display().to_string();
        let mut config: EvalConfig = toml::from_str(text).with_context(named).map_err(CommandError::usage)?;
        if let Some(workers) = settings.workers {
            config.run.workers = workers;
        }
        let mut parts = Path::new(&config.simulator).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(CommandError::usage(anyhow!(
                "{}: simulator {:?}, expected a plain name",
                named(),
                config.simulator
            )));
        }
        let of_simulator = root.join("sim_bridge/simulators").join(&config.simulator).join("simulator.toml");
        if !of_simulator.is_file() {
            let known = assemble::folders_with(&root.join("sim_bridge/simulators"), "simulator.toml");
            return Err(CommandError::usage(anyhow!(
                "{}: simulator {:?}, expected one of {known:?}",
                named(),
                config.simulator
            )));
        }
        let mut simulator: SimulatorConfig = assemble::toml_file(&of_simulator)?;
        simulator.embodiment = root.join(&simulator.embodiment);
        let python = match &simulator.python {
            Some(path) => root.join(path),
            None => python_path(&root).map_err(CommandError::missing)?,
        };
        if !python.is_file() {
            return Err(CommandError::missing(anyhow!(
                "{}: no Python of the simulator there; ./launch/simulator {} installs it",
                python.display(),
                config.simulator
            )));
        }
        let mut plan = config.checked(simulator).with_context(named).map_err(CommandError::usage)?;
        // Paths of the file are relative to it.
        let base = settings.config.parent().unwrap_or(Path::new("."));
        plan.embodiment = base.join(&plan.embodiment);
        let mut bundles = BTreeMap::new();
        for arm in &mut plan.arms {
            if let Actor::Bundle(path) = &mut arm.actor {
                *path = base.join(&*path);
                if !bundles.contains_key(path) {
                    let bundle = assemble::bundle(path)?;
                    assemble::warn_of_precision(&bundle);
                    bundles.insert(path.clone(), bundle);
                }
            }
        }
        let mut embodiment = assemble::embodiment(common, Some(&plan.embodiment))?;
        if let Some(stats_key) = &plan.stats_key {
            embodiment.stats_key.clone_from(stats_key);
        }
        let provider = assemble::provider(common)?.to_string();
        Ok(Self { plan, embodiment, bundles, python, provider })
    }

    /// The digest is over what decides an episode, not over the text: comments and the number of workers may change.
    fn header(&self, text: &str, simulator: String, control_hz: f64) -> EvalHeader {
        let plan = &self.plan;
        let digest_of = |arm: &Arm| match &arm.actor {
            Actor::Expert => String::new(),
            Actor::Bundle(path) => self.bundles.get(path).map_or_else(String::new, |bundle| bundle.digest().to_owned()),
        };
        let arms: Vec<_> = plan.arms.iter().map(|arm| (&arm.name, digest_of(arm), arm.schedule, &arm.stress)).collect();
        let decides = serde_json::json!({
            "simulator": simulator, "control_hz": control_hz, "arguments": plan.simulator.args, "tasks": plan.tasks, "arms": arms,
            "episodes": plan.episodes, "seed": plan.seed, "steps_max": plan.steps_max, "threads": plan.run.threads,
            "limits": format!("{:?}", self.embodiment.limits), "units": format!("{:?}", self.embodiment.units),
            "stats_key": self.embodiment.stats_key, "provider": self.provider, "egogrid": env!("CARGO_PKG_VERSION"),
        });
        let policies = plan.arms.iter().map(|arm| {
            let bundle = match &arm.actor {
                Actor::Expert => None,
                Actor::Bundle(path) => self.bundles.get(path),
            };
            ArmPolicy {
                arm: arm.name.clone(),
                policy: bundle.map_or_else(|| "expert".to_owned(), Bundle::id),
                bundle_sha256: digest_of(arm),
                precision: bundle.map_or_else(String::new, |bundle| bundle.manifest().precision.to_string()),
                stress: arm.label.clone(),
            }
        });
        EvalHeader {
            format: FORMAT,
            plan_sha256: Sha256::digest(decides.to_string().as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            plan: text.to_owned(),
            egogrid_version: env!("CARGO_PKG_VERSION").to_owned(),
            policies: policies.collect(),
            simulator,
            tasks: plan.tasks.clone(),
            episodes_per_task: plan.episodes,
            seed: plan.seed,
            steps_max: plan.steps_max,
            control_hz,
            machine: crate::machine::describe(),
            begun_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }
    }
}

/// Copies of every policy, for as many workers as there are.
fn pools(common: &Common, prepared: &Prepared) -> CommandResult<BTreeMap<PathBuf, PolicyPool>> {
    let (plan, mut pools) = (&prepared.plan, BTreeMap::new());
    if prepared.bundles.is_empty() {
        return Ok(pools);
    }
    let environment = assemble::environment(common)?;
    for (path, bundle) in &prepared.bundles {
        let stats_key = prepared.embodiment.stats_key.clone();
        assemble::require_one_arm(bundle, &stats_key)?;
        let graph = GraphOptions { threads: plan.run.threads, ..assemble::graph_options(common)? };
        let options = LoadOptions { stats_key, graph, preprocessing: None };
        let robot = (prepared.embodiment.depth, prepared.embodiment.units);
        let load = |_| assemble::policy_of_robot(&environment, bundle, &options, robot, false);
        let copies = (0..plan.run.policies.min(plan.run.workers)).map(load).collect::<CommandResult<Vec<_>>>()?;
        pools.extend(PolicyPool::of(copies).map(|pool| (path.clone(), pool)));
    }
    Ok(pools)
}

/// Every schedule and the gate can be made, before anything runs.
fn check_arms(
    plan: &Plan,
    embodiment: &Embodiment,
    pools: &BTreeMap<PathBuf, PolicyPool>,
    control_hz: f64,
) -> CommandResult {
    let rate = ControlRate::new(control_hz).map_err(CommandError::usage)?;
    Gate::new(embodiment.limits.clone(), rate).map_err(CommandError::usage)?;
    for arm in &plan.arms {
        if let Actor::Bundle(path) = &arm.actor
            && let Some(pool) = pools.get(path)
        {
            lockstep::planner(
                &LockstepPlan::new(arm.schedule.strategy, arm.schedule.steps_executed),
                pool.spec(),
                rate,
            )?;
        }
    }
    Ok(())
}

/// What is not done yet: arm by arm, because another arm may need another simulator process.
fn jobs(plan: &Plan, journal: &Journal) -> VecDeque<Job> {
    let mut jobs = VecDeque::new();
    for (index, arm) in plan.arms.iter().enumerate() {
        for seed in plan.seed..plan.seed + plan.episodes {
            for task in &plan.tasks {
                if !journal.has(&(arm.name.clone(), task.clone(), seed)) {
                    jobs.push_back(Job { arm: index, task: task.clone(), seed, attempts: 0 });
                }
            }
        }
    }
    jobs
}

fn progress_bar(episodes: usize, resumed: usize) -> ProgressBar {
    let bar = ProgressBar::new(episodes as u64)
        .with_style(assemble::style("{bar:30} {pos}/{len} episodes  {msg}  {per_sec}  {elapsed} (left {eta})"));
    bar.set_position(resumed as u64);
    bar.reset_eta();
    bar
}

/// The journal, and what is known so far.
struct Keeper<'a> {
    journal: Journal,
    run: EvalRun,
    /// Of all arms and tasks together: what the progress bar says.
    counts: Counts,
    bar: &'a ProgressBar,
    left: usize,
}

impl Keeper<'_> {
    fn keep(&mut self, record: EpisodeRecord) -> CommandResult {
        self.journal.add(&record).map_err(CommandError::usage)?;
        if record.is_judged() {
            self.counts.add(record.is_success());
        }
        self.run.episodes.push(record);
        self.left -= 1;
        if let Some([low, high]) = wilson::interval(self.counts, Confidence::P95) {
            let (successes, judged) = (self.counts.successes(), self.counts.episodes());
            self.bar.set_message(format!("{successes} of {judged} ({:.0} … {:.0} %)", 100.0 * low, 100.0 * high));
        }
        self.bar.inc(1);
        Ok(())
    }
}

/// What a worker's thread tells.
enum Told {
    Episode(Box<EpisodeRecord>),
    Failed(CommandError),
}

fn work<'a>(shared: &'a Shared<'a>, first: Driver<'a>, jobs: VecDeque<Job>, keeper: &mut Keeper<'_>) -> CommandResult {
    let workers = shared.plan.run.workers.min(jobs.len().max(1));
    let (queue, ended) = (Mutex::new(jobs), AtomicBool::new(false));
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        let mut first = Some(first);
        for index in 0..workers {
            let (tell, queue, ended, own) = (tell.clone(), &queue, &ended, first.take());
            scope.spawn(move || {
                let driver = own.map_or_else(|| Driver::new(shared, index), Ok);
                if let Err(error) = driver.and_then(|driver| drive(shared, driver, queue, ended, &tell)) {
                    // Nobody listens only when the run has ended already.
                    let _ = tell.send(Told::Failed(error));
                }
            });
        }
        drop(tell);
        let kept = keep(shared, keeper, &told);
        ended.store(true, Ordering::Relaxed);
        kept
    })
}

/// Until every worker is done, one of them cannot go on, or somebody says so.
fn keep(shared: &Shared<'_>, keeper: &mut Keeper<'_>, told: &Receiver<Told>) -> CommandResult {
    loop {
        match told.recv_timeout(TURN) {
            Ok(Told::Episode(record)) => keeper.keep(*record)?,
            Ok(Told::Failed(error)) => return Err(error),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                if shared.interrupted.load(Ordering::Relaxed) {
                    return Ok(());
                }
                keeper.bar.tick();
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// One worker's thread.
fn drive(
    shared: &Shared<'_>,
    mut driver: Driver<'_>,
    queue: &Mutex<VecDeque<Job>>,
    ended: &AtomicBool,
    tell: &Sender<Told>,
) -> CommandResult {
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if ended.load(Ordering::Relaxed) || shared.interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(job) = lock().pop_front() else { return Ok(()) };
        let Some(record) = driver.run(&job)? else { return Ok(()) };
        if !record.is_judged() && record.attempts < shared.plan.run.attempts {
            // Says nothing about the policy: once more, on whichever worker is free.
            lock().push_front(Job { attempts: record.attempts, ..job });
            continue;
        }
        if tell.send(Told::Episode(Box::new(record))).is_err() {
            return Ok(());
        }
    }
}
