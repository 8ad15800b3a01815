//! A whole evaluation: reads the plan, loads the policies, starts the workers, and keeps what they find.
//!
//! From: `eval.toml`. To: the run in its directory. Every worker has a thread here; this thread writes the journal. Seeds go around all
//! tasks before the next seed, so that a run that is stopped early has seen every task.

use super::arms::Arm;
use super::driver::{Driver, Job, Shared};
use super::journal::Journal;
use super::plan::Plan;
use super::prepared::{Prepared, check_arms, pools};
use super::record::{EpisodeRecord, EvalHeader, EvalRun};
use super::recorded::Again;
use super::statistics::{Confidence, Counts, wilson};
use super::stopping::Watcher;
use crate::assemble;
use crate::cli::Common;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use indicatif::ProgressBar;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    let header = prepared.header(&text, simulator, control_hz)?;
    let (journal, run) = Journal::open(settings.out, &header).map_err(CommandError::usage)?;
    let resumed = run.episodes.len();
    let jobs = jobs(plan, &journal);
    let bar = progress_bar(jobs.len() + resumed, resumed);
    let (header, over) = (run.header.clone(), Over::default());
    let mut keeper = Keeper::new(plan, &header, &over, (journal, run), (&bar, jobs.len()));
    let ran = work(&shared, first, jobs, &mut keeper);
    bar.finish_and_clear();
    let Keeper { run, left, .. } = keeper;
    ran?;
    let again = Again::of(plan, settings.out);
    Ok(Evaluation { run, resumed, complete: left == 0, again })
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

/// Arms that are decided: the last seed that counts, by index.
#[derive(Default)]
struct Over(Mutex<BTreeMap<usize, u32>>);

impl Over {
    fn after(&self, arm: usize, last_seed: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(arm, last_seed);
    }

    fn is_over(&self, job: &Job) -> bool {
        let lasts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lasts.get(&job.arm).is_some_and(|last| job.seed > *last)
    }
}

/// The journal, and what is known so far.
struct Keeper<'a> {
    journal: Journal,
    run: EvalRun,
    /// By arm; none without a rule.
    watchers: BTreeMap<String, (usize, Watcher<'a>)>,
    over: &'a Over,
    /// Of all arms and tasks together: what the progress bar says.
    counts: Counts,
    bar: &'a ProgressBar,
    left: usize,
}

impl<'a> Keeper<'a> {
    /// With what is done already.
    fn new(
        plan: &Plan,
        header: &'a EvalHeader,
        over: &'a Over,
        (journal, run): (Journal, EvalRun),
        (bar, left): (&'a ProgressBar, usize),
    ) -> Self {
        let watched = |(index, arm): (usize, &Arm)| Some((arm.name.clone(), (index, Watcher::of(header)?)));
        let watchers = plan.arms.iter().enumerate().filter_map(watched).collect();
        let mut keeper = Self { journal, run, watchers, over, counts: Counts::default(), bar, left };
        for record in std::mem::take(&mut keeper.run.episodes) {
            keeper.know(record);
        }
        keeper
    }

    fn know(&mut self, record: EpisodeRecord) {
        if record.is_judged() {
            self.counts.add(record.is_success());
        }
        if let Some((index, watcher)) = self.watchers.get_mut(&record.arm) {
            watcher.add(&record);
            if let Some(last_seed) = watcher.last_seed() {
                self.over.after(*index, last_seed);
            }
        }
        self.run.episodes.push(record);
    }

    fn passed_over(&mut self) {
        self.left -= 1;
        self.bar.inc(1);
    }

    fn keep(&mut self, record: EpisodeRecord) -> CommandResult {
        self.journal.add(&record).map_err(CommandError::usage)?;
        self.know(record);
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
    /// Its arm is decided.
    PassedOver,
    Failed(CommandError),
}

fn work<'a>(shared: &'a Shared<'a>, first: Driver<'a>, jobs: VecDeque<Job>, keeper: &mut Keeper<'_>) -> CommandResult {
    let workers = shared.plan.run.workers.min(jobs.len().max(1));
    let (queue, ended) = (Mutex::new(jobs), AtomicBool::new(false));
    let (tell, told) = channel();
    let over = keeper.over;
    std::thread::scope(|scope| {
        let mut first = Some(first);
        for index in 0..workers {
            let (tell, queue, ended, own) = (tell.clone(), &queue, &ended, first.take());
            scope.spawn(move || {
                let driver = own.map_or_else(|| Driver::new(shared, index), Ok);
                if let Err(error) = driver.and_then(|driver| drive(shared, driver, (queue, over), ended, &tell)) {
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
            Ok(Told::PassedOver) => keeper.passed_over(),
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
    (queue, over): (&Mutex<VecDeque<Job>>, &Over),
    ended: &AtomicBool,
    tell: &Sender<Told>,
) -> CommandResult {
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if ended.load(Ordering::Relaxed) || shared.interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(job) = lock().pop_front() else { return Ok(()) };
        if over.is_over(&job) {
            let _ = tell.send(Told::PassedOver); // nobody listens only when the run has ended
            continue;
        }
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
