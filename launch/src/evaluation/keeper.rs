//! What is known of a run so far: the journal, how arms stand, the progress bar.
//!
//! From: records, in the order they end. To: the journal first; everything else is counted again from it.

use super::arms::Arm;
use super::driver::Job;
use super::journal::Journal;
use super::plan::Plan;
use super::record::{EpisodeName, EpisodeRecord, EvalHeader, EvalRun};
use super::statistics::{Confidence, Counts, wilson};
use super::stopping::Watcher;
use crate::assemble;
use crate::exit::{CommandError, CommandResult};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

pub(super) fn progress_bar(episodes: usize, resumed: usize) -> ProgressBar {
    let bar = ProgressBar::new(episodes as u64).with_style(assemble::style(
        "{bar:30} {pos}/{len} episodes  {prefix}  {msg}  {per_sec}  {elapsed} (left {eta})",
    ));
    bar.set_position(resumed as u64);
    bar.reset_eta();
    bar
}

/// Arms that are decided: the last seed that counts, by index.
#[derive(Default)]
pub(super) struct Over(Mutex<BTreeMap<usize, u32>>);

impl Over {
    fn after(&self, arm: usize, last_seed: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(arm, last_seed);
    }

    pub(super) fn is_over(&self, job: &Job) -> bool {
        let lasts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lasts.get(&job.arm).is_some_and(|last| job.seed > *last)
    }
}

/// The journal, and what is known so far.
pub(super) struct Keeper<'a> {
    journal: Journal,
    pub(super) run: EvalRun,
    /// By arm; none without a rule.
    watchers: BTreeMap<String, (usize, Watcher<'a>)>,
    over: &'a Over,
    /// Of all arms and tasks together: what the progress bar says.
    counts: Counts,
    pub(super) bar: &'a ProgressBar,
    /// Episodes that are neither done nor passed over.
    pub(super) left: usize,
}

impl<'a> Keeper<'a> {
    /// With what is done already.
    pub(super) fn new(
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

    pub(super) fn passed_over(&mut self) {
        self.left -= 1;
        self.bar.inc(1);
    }

    /// Whether its arm is decided.
    pub(super) fn is_over(&self, job: &Job) -> bool {
        self.over.is_over(job)
    }

    /// Whether this episode is done.
    pub(super) fn has(&self, name: &EpisodeName) -> bool {
        self.journal.has(name)
    }

    /// One more; the second one of a name is dropped.
    pub(super) fn keep(&mut self, record: EpisodeRecord) -> CommandResult {
        if self.journal.has(&record.name()) {
            return Ok(());
        }
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
