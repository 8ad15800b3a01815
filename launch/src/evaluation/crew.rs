//! The workers of this process: a thread with a [`Driver`] each, which take jobs until there are none.
//!
//! From: [`Jobs`]. To: [`Told`], to whoever keeps the journal or brings records to it.

use super::driver::{Driver, Job, Shared};
use super::record::EpisodeRecord;
use crate::exit::{CommandError, CommandResult};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a worker without a job waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    /// Something came, or all is over.
    changed: Condvar,
    /// Of arms that are decided: the last seed that counts, by index.
    decided: Mutex<BTreeMap<usize, u32>>,
    ended: AtomicBool,
    /// More may come: an empty queue is waited on.
    refilled: bool,
}

/// What a worker's thread tells.
pub(super) enum Told {
    Episode(Box<EpisodeRecord>),
    /// Its arm is decided.
    PassedOver,
    Failed(CommandError),
}

impl Jobs {
    pub(super) fn new(queue: VecDeque<Job>, refilled: bool) -> Self {
        Self {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            decided: Mutex::default(),
            ended: AtomicBool::new(false),
            refilled,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More of them, behind the others.
    pub(super) fn refill(&self, jobs: impl IntoIterator<Item = Job>) {
        self.lock().extend(jobs);
        self.changed.notify_all();
    }

    /// Nothing of `arm` after `last_seed` counts any more.
    pub(super) fn decide(&self, arm: usize, last_seed: u32) {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).insert(arm, last_seed);
    }

    /// Whether a job is of a decided arm, and need not be run.
    pub(super) fn is_over(&self, job: &Job) -> bool {
        let lasts = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        lasts.get(&job.arm).is_some_and(|last| job.seed > *last)
    }

    /// The next one; waits where more may come.
    fn next(&self, interrupted: &AtomicBool) -> Option<Job> {
        loop {
            if self.ended.load(Ordering::Relaxed) || interrupted.load(Ordering::Relaxed) {
                return None;
            }
            let job = self.lock().pop_front();
            if job.is_some() || !self.refilled {
                return job;
            }
            // Somebody may have come first: looked at again whatever woke it.
            drop(self.changed.wait_timeout(self.lock(), LOOK_AGAIN));
        }
    }
}

/// Runs `then` beside `workers` threads, which end with it.
///
/// # Errors
/// Those of `then`.
pub(super) fn with_crew<'a>(
    (shared, workers): (&'a Shared<'a>, usize),
    first: Driver<'a>,
    jobs: &Jobs,
    then: impl FnOnce(&Receiver<Told>) -> CommandResult,
) -> CommandResult {
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        let mut first = Some(first);
        for index in 0..workers {
            let (tell, own) = (tell.clone(), first.take());
            scope.spawn(move || {
                let driver = own.map_or_else(|| Driver::new(shared, index), Ok);
                if let Err(error) = driver.and_then(|driver| drive(shared, driver, jobs, &tell)) {
                    // Nobody listens only when the run has ended already.
                    let _ = tell.send(Told::Failed(error));
                }
            });
        }
        drop((tell, first));
        let ended = then(&told);
        jobs.ended.store(true, Ordering::Relaxed);
        ended
    })
}

/// One worker's thread.
fn drive(shared: &Shared<'_>, mut driver: Driver<'_>, jobs: &Jobs, tell: &Sender<Told>) -> CommandResult {
    while let Some(job) = jobs.next(shared.interrupted) {
        if jobs.is_over(&job) {
            let _ = tell.send(Told::PassedOver); // nobody listens only when the run has ended
            continue;
        }
        let Some(record) = driver.run(&job)? else { break };
        if !record.is_judged() && record.attempts < shared.plan.run.attempts {
            // Says nothing about the policy: once more, on whichever worker is free.
            jobs.lock().push_front(Job { attempts: record.attempts, ..job });
            continue;
        }
        if tell.send(Told::Episode(Box::new(record))).is_err() {
            break;
        }
    }
    Ok(())
}
