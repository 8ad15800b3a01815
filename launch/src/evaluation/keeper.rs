//! What is known of a run so far: the journal, how arms stand, the progress bar.
//!
//! From: records, in the order they end. To: the journal first; everything else is counted again from it.

use super::arms::Arm;
use super::crew::Jobs;
use super::journal::Journal;
use super::plan::Plan;
use super::record::{EpisodeName, EpisodeRecord, EvalHeader, EvalRun};
use super::statistics::{Confidence, Counts, wilson};
use super::stopping::Watcher;
use crate::assemble;
use crate::exit::{CommandError, CommandResult};
use indicatif::ProgressBar;
use std::collections::BTreeMap;

pub(super) fn progress_bar(episodes: usize, resumed: usize) -> ProgressBar {
    let bar = ProgressBar::new(episodes as u64).with_style(assemble::style(
        "{bar:30} {pos}/{len} episodes  {prefix}  {msg}  {per_sec}  {elapsed} (left {eta})",
    ));
    bar.set_position(resumed as u64);
    bar.reset_eta();
    bar
}

/// The journal, and what is known so far.
pub(super) struct Keeper<'a> {
    journal: Journal,
    pub(super) run: EvalRun,
    /// By arm; none without a rule.
    watchers: BTreeMap<String, (usize, Watcher<'a>)>,
    pub(super) jobs: &'a Jobs,
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
        (journal, run): (Journal, EvalRun),
        (jobs, bar): (&'a Jobs, &'a ProgressBar),
    ) -> Self {
        let watched = |(index, arm): (usize, &Arm)| Some((arm.name.clone(), (index, Watcher::of(header)?)));
        let watchers = plan.arms.iter().enumerate().filter_map(watched).collect();
        let left = jobs.lock().len();
        let mut keeper = Self { journal, run, watchers, jobs, counts: Counts::default(), bar, left };
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
                self.jobs.decide(*index, last_seed);
            }
        }
        self.run.episodes.push(record);
    }

    pub(super) fn passed_over(&mut self) {
        self.left -= 1;
        self.bar.inc(1);
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
