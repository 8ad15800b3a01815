//! A whole evaluation: reads the plan, loads the policies, starts the workers, and keeps what they find.
//!
//! From: `eval.toml`. To: the run in its directory. Every worker has a thread here; this thread writes the journal. Seeds go around all
//! tasks before the next seed, so that a run that is stopped early has seen every task.

use super::counter::{Counter, Link};
use super::crew::{Jobs, Told, with_crew};
use super::driver::{Job, Shared};
use super::journal::Journal;
use super::keeper::{Keeper, progress_bar};
use super::plan::Plan;
use super::prepared::{Prepared, pools};
use super::record::{EvalHeader, EvalRun};
use super::recorded::Again;
use crate::assemble;
use crate::cli::Common;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long the journal's thread waits before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(100);
/// How long it waits for nodes of other machines.
const COUNTER_TURN: Duration = Duration::from_millis(20);

/// What is asked for on the command line.
pub struct Settings<'a> {
    /// `eval.toml`.
    pub config: &'a Path,
    /// Where the run lies or shall lie.
    pub out: &'a Path,
    /// Instead of the file's.
    pub workers: Option<usize>,
    /// Where nodes of other machines take episodes.
    pub serve: Option<&'a Link>,
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
    let prepared = Prepared::read(common, (settings.config, &text), settings.workers)?;
    let (plan, embodiment) = (&prepared.plan, &prepared.embodiment);
    if plan.run.workers == 0 && settings.serve.is_none() {
        return Err(CommandError::usage(anyhow!(
            "workers is 0, expected at least 1: without --serve or --router nobody else would run an episode"
        )));
    }
    let pools = pools(common, &prepared)?;
    let shared = Shared {
        plan,
        embodiment,
        pools: &pools,
        python: prepared.python.clone(),
        interrupted: settings.interrupted,
        pictures: Some(settings.out),
    };
    let (first, header) = prepared.first(&shared, &text)?;
    let header = EvalHeader { stop: prepared.stop_rule(&header)?, ..header };
    // First: where nobody can listen, nothing is begun.
    let mut counter = settings.serve.map(|link| Counter::open(link, &header)).transpose()?;
    let (journal, run) = Journal::open(settings.out, &header).map_err(CommandError::usage)?;
    let resumed = run.episodes.len();
    let jobs = jobs(plan, &journal);
    let bar = progress_bar(jobs.len() + resumed, resumed);
    let header = run.header.clone();
    let workers = plan.run.workers.min(jobs.len().max(1));
    let jobs = Jobs::new(jobs, counter.is_some());
    let mut keeper = Keeper::new(plan, &header, (journal, run), (&jobs, &bar));
    let ran = with_crew((&shared, workers), first, &jobs, |told| keep(&shared, &mut keeper, told, counter.as_mut()));
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

/// Until everything is done, a worker cannot go on, or somebody says so.
fn keep(
    shared: &Shared<'_>,
    keeper: &mut Keeper<'_>,
    told: &Receiver<Told>,
    mut counter: Option<&mut Counter>,
) -> CommandResult {
    loop {
        let wait = if counter.is_some() { Duration::ZERO } else { TURN };
        match told.recv_timeout(wait) {
            Ok(Told::Episode(record)) => keeper.keep(*record)?,
            Ok(Told::PassedOver) => keeper.passed_over(),
            Ok(Told::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => keeper.bar.tick(),
            Err(RecvTimeoutError::Disconnected) if counter.is_none() => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => {}
        }
        if shared.interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(counter) = &mut counter {
            counter.serve(shared.plan, keeper, COUNTER_TURN)?;
            if keeper.left == 0 {
                return counter.close(shared.plan, keeper);
            }
        }
    }
}
