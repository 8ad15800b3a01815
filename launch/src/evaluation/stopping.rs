//! When an evaluation may end before all of its episodes: as soon as the answer is clear.
//!
//! From: `[stop]` of the plan, and records in any order. To: after which round an arm is decided, and how. A round is one episode of each task,
//! all with the same seed; rounds are looked at in the order of their seeds, each when it is whole, so that the answer does not depend on how
//! many workers there were or which of them was faster. What ran ahead of the deciding round is not counted.
//! The error rate holds over all looks together: [`super::statistics::sequential`].

use super::record::{EpisodeRecord, EvalHeader, EvalRun};
use super::statistics::sequential::{self, ErrorRate, Verdict};
use super::statistics::{Counts, Interval};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[stop]` of a plan.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopConfig {
    /// The mean over tasks is above or below this; or `against`.
    pub bar: Option<f64>,
    /// Directory of a finished run: which of the two is better, by pairs of the same task and seed.
    pub against: Option<std::path::PathBuf>,
    /// How often the answer may be wrong, over all looks together.
    #[serde(default = "five_percent")]
    pub error: f64,
}

fn five_percent() -> f64 {
    0.05
}

/// What decides, as a run keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRule {
    /// How often the answer may be wrong.
    pub error: f64,
    /// Of what.
    pub asks: Asks,
}

/// The question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Asks {
    /// Is the mean over tasks above or below this?
    Bar(f64),
    /// Is this run better or worse than that one?
    Against {
        /// Where it was, as the plan named it.
        run: String,
        /// Which plan it was of.
        plan_sha256: String,
        /// By task, from the first seed of this run on: `1` solved, `0` not solved, `-` no episode that counts.
        solved: BTreeMap<String, String>,
    },
}

/// How an arm was decided, or how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Above the bar, or better than the other run; open when all rounds were not enough.
    pub verdict: Verdict,
    /// Whole rounds that were looked at.
    pub rounds: u32,
    /// Of the deciding round; later ones are not counted. None while it is open.
    pub last_seed: Option<u32>,
    /// Rates that were not ruled out at any time; of pairs, the share of those that differ which this run won.
    pub interval: Option<Interval>,
    /// Of the mean, 95 %, where the run was stopped by what it said itself: an interval for a fixed number of episodes would be too narrow.
    pub of_mean: Option<Interval>,
    /// In words.
    pub words: String,
}

/// Error rate of an interval of 95 %.
const OF_MEAN: f64 = 0.05;

/// One arm's records so far.
#[derive(Debug)]
pub struct Watcher<'a> {
    header: &'a EvalHeader,
    rule: &'a StopRule,
    error: ErrorRate,
    /// By seed: tasks that are not there yet, and how those that are ended (none: harness failure).
    rounds: BTreeMap<u32, BTreeMap<String, Option<bool>>>,
    next: u32,
    looked: u32,
    /// Of the bar: episodes and those solved. Of pairs: those that differ, and those that this run won.
    counts: Counts,
    verdict: Verdict,
}

impl<'a> Watcher<'a> {
    /// None where the plan has no rule. A rule is checked when the plan is.
    pub fn of(header: &'a EvalHeader) -> Option<Self> {
        let rule = header.stop.as_ref()?;
        let error = ErrorRate::new(rule.error).ok()?;
        Some(Self {
            header,
            rule,
            error,
            rounds: BTreeMap::new(),
            next: header.seed,
            looked: 0,
            counts: Counts::default(),
            verdict: Verdict::Open,
        })
    }

    /// One more record of this arm; the same one twice counts once.
    pub fn add(&mut self, record: &EpisodeRecord) {
        let ended = record.is_judged().then(|| record.is_success());
        self.rounds.entry(record.seed).or_default().insert(record.task.clone(), ended);
        while self.verdict == Verdict::Open
            && self.rounds.get(&self.next).is_some_and(|round| round.len() == self.header.tasks.len())
        {
            let round = self.rounds.remove(&self.next).unwrap_or_default();
            self.look(&round);
            self.next += 1;
        }
    }

    fn look(&mut self, round: &BTreeMap<String, Option<bool>>) {
        self.looked += 1;
        let verdict = match &self.rule.asks {
            Asks::Bar(bar) => {
                // With a task missing it would be the mean of another suite.
                if round.values().all(Option::is_some) {
                    round.values().flatten().for_each(|solved| self.counts.add(*solved));
                }
                sequential::against_bar(self.counts, *bar, self.error)
            }
            Asks::Against { solved, .. } => {
                let place = (self.next - self.header.seed) as usize;
                for (task, own) in round {
                    let other = match solved.get(task).and_then(|marks| marks.as_bytes().get(place)) {
                        Some(b'1') => Some(true),
                        Some(b'0') => Some(false),
                        _ => None,
                    };
                    if let (Some(own), Some(other)) = (own, other)
                        && *own != other
                    {
                        self.counts.add(*own);
                    }
                }
                let won = self.counts.successes();
                sequential::paired(self.counts.episodes() - won, won, self.error)
            }
        };
        // Bar and error were checked with the plan; a damaged file decides nothing.
        self.verdict = verdict.unwrap_or(Verdict::Open);
    }

    /// Whether `seed` comes after the round that decided.
    pub fn is_over(&self, seed: u32) -> bool {
        self.verdict != Verdict::Open && seed >= self.next
    }

    /// Of the deciding round.
    pub fn last_seed(&self) -> Option<u32> {
        (self.verdict != Verdict::Open).then(|| self.next - 1)
    }

    /// So far.
    pub fn decision(&self) -> Decision {
        Decision {
            verdict: self.verdict,
            rounds: self.looked,
            last_seed: self.last_seed(),
            interval: sequential::interval(self.counts, self.error),
            of_mean: self.of_mean(),
            words: self.words(),
        }
    }

    fn of_mean(&self) -> Option<Interval> {
        let stopped = matches!(self.rule.asks, Asks::Bar(_)) && self.verdict != Verdict::Open;
        let error = ErrorRate::new(OF_MEAN).ok().filter(|_| stopped)?;
        sequential::interval(self.counts, error)
    }

    fn words(&self) -> String {
        let (won, all) = (self.counts.successes(), self.counts.episodes());
        let rounds = format!("{} of {} rounds", self.looked, self.header.episodes_per_task);
        let wrong = format!("such a sentence is wrong at most {} times in 100", 100.0 * self.rule.error);
        match (&self.rule.asks, self.verdict) {
            (Asks::Bar(bar), Verdict::Open) => {
                format!(
                    "After {rounds} ({won} of {all} solved) it is not clear on which side of {} % the mean is.",
                    100.0 * bar
                )
            }
            (Asks::Bar(bar), verdict) => {
                let side = if verdict == Verdict::Above { "above" } else { "below" };
                let range = sequential::interval(self.counts, self.error).unwrap_or([0.0, 1.0]);
                format!(
                    "Stopped after {rounds}: with {won} of {all} solved the mean is {side} {} %, between {:.1} and {:.1} %; {wrong}, \
                     however often one looks.",
                    100.0 * bar,
                    100.0 * range[0],
                    100.0 * range[1]
                )
            }
            (Asks::Against { run, .. }, Verdict::Open) => {
                format!(
                    "After {rounds} it is not clear whether this or {run} is better: of {all} pairs that differ this one won {won}."
                )
            }
            (Asks::Against { run, .. }, verdict) => {
                let side = if verdict == Verdict::Above { "better" } else { "worse" };
                format!(
                    "Stopped after {rounds}: this is {side} than {run}, it won {won} of {all} pairs that differ; {wrong}, however often \
                     one looks."
                )
            }
        }
    }
}

impl StopRule {
    /// What `other` says of the episodes that a run with `header` will have; `named` as the plan has it.
    pub fn against(other: &EvalRun, named: &str, header: &EvalHeader, error: f64) -> Self {
        let mut solved: BTreeMap<String, Vec<u8>> =
            header.tasks.iter().map(|task| (task.clone(), vec![b'-'; header.episodes_per_task as usize])).collect();
        for record in other.episodes.iter().filter(|record| record.arm == super::plan::BASE && record.is_judged()) {
            let place = record.seed.checked_sub(header.seed).map(|place| place as usize);
            let mark = solved.get_mut(&record.task).zip(place).and_then(|(marks, place)| marks.get_mut(place));
            if let Some(mark) = mark {
                *mark = if record.is_success() { b'1' } else { b'0' };
            }
        }
        let text = |marks: Vec<u8>| marks.into_iter().map(char::from).collect();
        let solved = solved.into_iter().map(|(task, marks)| (task, text(marks))).collect();
        let asks = Asks::Against { run: named.to_owned(), plan_sha256: other.header.plan_sha256.clone(), solved };
        Self { error, asks }
    }

    /// Whether a single episode has a partner.
    pub fn has_pairs(&self) -> bool {
        match &self.asks {
            Asks::Bar(_) => true,
            Asks::Against { solved, .. } => solved.values().any(|marks| marks.contains(['0', '1'])),
        }
    }
}

/// How each arm stands, by name, and the run without what ran ahead of a deciding round.
pub fn cut(run: &EvalRun) -> (BTreeMap<String, Decision>, Vec<EpisodeRecord>) {
    let mut watchers: BTreeMap<&str, Watcher<'_>> = run
        .header
        .policies
        .iter()
        .filter_map(|policy| Some((policy.arm.as_str(), Watcher::of(&run.header)?)))
        .collect();
    for record in &run.episodes {
        if let Some(watcher) = watchers.get_mut(record.arm.as_str()) {
            watcher.add(record);
        }
    }
    let counted =
        |record: &&EpisodeRecord| watchers.get(record.arm.as_str()).is_none_or(|watcher| !watcher.is_over(record.seed));
    let episodes = run.episodes.iter().filter(counted).cloned().collect();
    (watchers.iter().map(|(arm, watcher)| ((*arm).to_owned(), watcher.decision())).collect(), episodes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::record::tests::{header, record};
    use super::*;
    use crate::view::Outcome;

    fn with(asks: Asks) -> EvalHeader {
        EvalHeader { stop: Some(StopRule { error: 0.05, asks }), ..header("a") }
    }

    fn played(header: &EvalHeader, records: &[EpisodeRecord]) -> (Decision, Vec<EpisodeRecord>) {
        let run = EvalRun { header: header.clone(), episodes: records.to_vec() };
        let (mut decisions, episodes) = cut(&run);
        (decisions.remove("base").unwrap(), episodes)
    }

    fn rounds(count: u32, solved: bool) -> Vec<EpisodeRecord> {
        (0..count).flat_map(|seed| ["reach", "push"].map(|task| record(task, seed, solved))).collect()
    }

    #[test]
    fn a_clear_rate_ends_at_the_same_round_in_whatever_order_episodes_come() {
        let header = with(Asks::Bar(0.75));
        let mut records = rounds(10, false);
        let (decision, episodes) = played(&header, &records);
        assert_eq!((decision.verdict, decision.rounds, decision.last_seed), (Verdict::Below, 2, Some(1)));
        assert_eq!(episodes.len(), 4, "what ran ahead is not counted");
        assert!(decision.words.contains("below 75 %") && decision.interval.unwrap()[1] < 0.75, "{}", decision.words);
        assert_eq!(decision.of_mean, decision.interval, "both at 5 %");
        records.reverse();
        assert_eq!(played(&header, &records).0, decision);
        assert_eq!(played(&header, &records).1.len(), 4);
    }

    #[test]
    fn a_round_is_looked_at_when_it_is_whole_and_not_before() {
        let header = with(Asks::Bar(0.75));
        let all = rounds(10, false);
        // The first round lacks a task: nothing after it is looked at.
        let (decision, episodes) = played(&header, &all[1..]);
        assert_eq!((decision.verdict, decision.rounds, episodes.len()), (Verdict::Open, 0, 19));
        assert_eq!(decision.of_mean, None);
        // A harness failure ends the wait for it, and its round decides nothing.
        let failed = EpisodeRecord { outcome: Outcome::Harness { reason: "gone".to_owned() }, ..all[0].clone() };
        let (decision, _) = played(&header, &[&[failed], &all[1..]].concat());
        assert_eq!((decision.verdict, decision.rounds), (Verdict::Below, 3));
    }

    #[test]
    fn pairs_with_another_run_decide_by_those_that_differ() {
        let other = EvalRun { header: header("b"), episodes: rounds(10, false) };
        let plain = header("a");
        let rule = StopRule::against(&other, "out/b", &plain, 0.05);
        assert!(rule.has_pairs());
        let header = EvalHeader { stop: Some(rule), ..plain.clone() };
        let (decision, episodes) = played(&header, &rounds(10, true));
        // Eight pairs that all say the same are the first to be clear at 5 %.
        assert_eq!((decision.verdict, decision.rounds, episodes.len()), (Verdict::Above, 4, 8));
        assert!(decision.words.contains("better than out/b, it won 8 of 8"), "{}", decision.words);
        let (decision, episodes) = played(&header, &rounds(10, false));
        assert_eq!((decision.verdict, decision.rounds, episodes.len()), (Verdict::Open, 10, 20));
        let elsewhere = EvalRun { episodes: vec![record("reach", 77, true)], ..other };
        assert!(!StopRule::against(&elsewhere, "out/c", &plain, 0.05).has_pairs());
    }

    #[test]
    fn without_a_rule_everything_counts() {
        let run = EvalRun { header: header("a"), episodes: rounds(10, false) };
        let (decisions, episodes) = cut(&run);
        assert!(decisions.is_empty() && episodes.len() == 20);
    }
}
