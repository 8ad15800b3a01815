//! A node: another machine's part of an evaluation. It has a checkout, the bundle and the simulator of its own, runs episodes with them, and
//! brings the records to the process that keeps the journal. Pictures never leave it.
//!
//! From: the same `eval.toml`. To: [`Turn`]s. A node that cannot reach the counter runs what it holds, keeps what it found, and tries again
//! until its patience ends.

use super::counter::Link;
use super::crew::{Jobs, Told, with_crew};
use super::desk::{Answer, HOLDS_MAX, RECORDS_MAX, TURN_KEY, Turn};
use super::driver::{Job, Shared};
use super::prepared::{Prepared, pools};
use super::record::{EpisodeName, EpisodeRecord};
use crate::assemble;
use crate::cli::Common;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_sim_bridge::endpoint::{BridgeSession, run_errand};
use rand::Rng;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A node is heard of so often, whatever it has to say.
const BEAT: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long it waits before it asks for episodes again when there were none, or nobody answered.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Episodes in the hand of each worker besides the one that it runs.
const AHEAD: usize = 1;

/// What is asked for on the command line.
pub struct Joining<'a> {
    /// `eval.toml`.
    pub config: &'a Path,
    /// Where the counter is.
    pub link: &'a Link,
    /// Name of this node.
    pub node: &'a str,
    /// Instead of the file's.
    pub workers: Option<usize>,
    /// How long it goes on without an answer.
    pub patience: Duration,
    /// Ends it between two looks.
    pub interrupted: &'a AtomicBool,
}

/// Runs episodes until there are no more; how many it brought.
///
/// # Errors
/// Wrong configuration, something missing, a counter that refuses this node or is gone for good.
pub fn join(common: &Common, joining: &Joining<'_>) -> CommandResult<usize> {
    let text = assemble::small_text(joining.config)?;
    let prepared = Prepared::read(common, (joining.config, &text), joining.workers)?;
    let workers = prepared.plan.run.workers;
    if workers == 0 {
        return Err(CommandError::usage(anyhow!("workers is 0, expected at least 1")));
    }
    let pools = pools(common, &prepared)?;
    let shared = Shared {
        plan: &prepared.plan,
        embodiment: &prepared.embodiment,
        pools: &pools,
        python: prepared.python.clone(),
        interrupted: joining.interrupted,
        pictures: None, // they do not travel
    };
    let (first, header) = prepared.first(&shared, &text)?;
    let session = joining.link.open(true)?;
    let mut courier = Courier {
        joining,
        shared: &shared,
        session: Some(session),
        plan_sha256: header.plan_sha256,
        node: format!("{}#{:08x}", joining.node, rand::rng().random::<u32>()),
        held: BTreeSet::new(),
        found: Vec::new(),
        brought: 0,
        heard: Instant::now(),
        hold_max: (workers * (1 + AHEAD)).min(HOLDS_MAX),
    };
    let jobs = Jobs::new(VecDeque::new(), true);
    with_crew((&shared, workers), first, &jobs, |told| courier.run(&jobs, told))?;
    Ok(courier.brought)
}

/// Goes to and fro.
struct Courier<'a> {
    joining: &'a Joining<'a>,
    shared: &'a Shared<'a>,
    session: Option<BridgeSession>,
    plan_sha256: String,
    /// Its name and a number: two with the same name, or one that was started again, are not one.
    node: String,
    /// Given, and not brought yet.
    held: BTreeSet<EpisodeName>,
    /// Of those: done.
    found: Vec<EpisodeRecord>,
    brought: usize,
    /// When somebody answered last.
    heard: Instant,
    hold_max: usize,
}

impl Courier<'_> {
    fn run(&mut self, jobs: &Jobs, told: &Receiver<Told>) -> CommandResult {
        let mut next = Instant::now();
        loop {
            match told.recv_timeout(next.saturating_duration_since(Instant::now()).min(ASK_AGAIN)) {
                Ok(Told::Episode(record)) => {
                    self.found.push(*record);
                    next = Instant::now();
                    // What ended at the same moment goes the same way.
                    while let Ok(Told::Episode(record)) = told.try_recv() {
                        self.found.push(*record);
                    }
                }
                Ok(Told::PassedOver) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Told::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.joining.interrupted.load(Ordering::Relaxed) {
                return Ok(());
            }
            if Instant::now() < next {
                continue;
            }
            match self.turn() {
                Ok(answer) => {
                    if let Some(refused) = answer.refused {
                        return Err(CommandError::usage(anyhow!("the evaluation does not want this node: {refused}")));
                    }
                    if answer.finished {
                        return Ok(());
                    }
                    let wants = self.held.len() < self.hold_max;
                    self.take(jobs, answer.episodes)?;
                    next = Instant::now() + if wants { ASK_AGAIN } else { BEAT };
                }
                Err(error) => {
                    self.lost(&error)?;
                    next = Instant::now() + ASK_AGAIN;
                }
            }
        }
    }

    /// Says what it holds, brings what it found, gets more.
    fn turn(&mut self) -> Result<Answer, EndpointError> {
        let link = self.joining.link;
        let session = match &self.session {
            Some(session) => session.clone(),
            None => {
                let opened = link.open(true).map_err(|error| EndpointError::Transport {
                    peer: link.endpoint.clone(),
                    detail: format!("{:#}", error.error),
                })?;
                self.session.insert(opened).clone()
            }
        };
        let records: Vec<EpisodeRecord> = self.found.iter().take(RECORDS_MAX).cloned().collect();
        let turn = Turn {
            plan_sha256: self.plan_sha256.clone(),
            node: self.node.clone(),
            holds: self.held.iter().cloned().collect(),
            records,
            wants: self.hold_max.saturating_sub(self.held.len() - self.found.len().min(self.held.len())),
        };
        let unreadable = |error: serde_json::Error| EndpointError::Malformed {
            peer: link.endpoint.clone(),
            detail: error.to_string(),
        };
        let payload = serde_json::to_vec(&turn).map_err(unreadable)?;
        let answer = run_errand(&session, &link.name, TURN_KEY, payload, ANSWER_MAX)?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(unreadable)?;
        // Heard: the journal has them.
        if answer.refused.is_none() {
            for record in self.found.drain(..turn.records.len()) {
                self.held.remove(&record.name());
                self.brought += 1;
            }
        }
        self.heard = Instant::now();
        Ok(answer)
    }

    fn take(&mut self, jobs: &Jobs, episodes: Vec<EpisodeName>) -> CommandResult {
        for name in episodes {
            let (arm, task, seed) = &name;
            let index = self.shared.plan.arms.iter().position(|known| known.name == *arm);
            let Some(index) = index.filter(|_| self.shared.plan.tasks.contains(task)) else {
                return Err(CommandError::check(anyhow!("{name:?} is no episode of this plan; please report this")));
            };
            // Given twice: the first one is still here.
            if self.held.insert(name.clone()) {
                jobs.refill([Job { arm: index, task: task.clone(), seed: *seed, attempts: 0 }]);
            }
        }
        Ok(())
    }

    /// Nobody answered: another connection, until patience ends.
    fn lost(&mut self, error: &EndpointError) -> CommandResult {
        if self.session.take().is_some() {
            tracing::warn!("{error}; what was found is kept, and brought when somebody answers again");
        }
        if self.heard.elapsed() <= self.joining.patience {
            return Ok(());
        }
        Err(CommandError::missing(anyhow!(
            "nobody answered for {} s ({error}); {} episodes that were found here are lost, and will be run again elsewhere",
            self.joining.patience.as_secs(),
            self.found.len()
        )))
    }
}
