//! Two runs, or two arms, episode by episode.
//!
//! From: two runs of the same tasks in the same world. To: for each task and the suite how the pairs ended, both rates, the difference with
//! its interval, an exact test, how many more pairs it would take, and a sentence that claims no more than that. Episodes that only one
//! side has, or in which a harness failed, are listed and left out.

use super::record::{EpisodeRecord, EvalHeader, EvalRun};
use super::statistics::difference::{self, Difference};
use super::statistics::enough::{self, Warning};
use super::statistics::power::{self, Plan};
use super::statistics::{Confidence, Counts, PairedCounts, Rate, mcnemar};
use serde::Serialize;
use std::collections::BTreeMap;

/// Of every interval and test in a comparison.
pub const CONFIDENCE: Confidence = Confidence::P95;

/// Why two runs say nothing about each other.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ComparisonError {
    /// Another world.
    #[error(
        "the runs differ in {what}: {a} and {b}; an episode of one is no episode of the other. Run both with the same {what}"
    )]
    Differ {
        /// In what.
        what: &'static str,
        /// Of the first.
        a: String,
        /// Of the second.
        b: String,
    },
    /// No such arm.
    #[error("run {run} has no arm {wanted:?}, only {known:?}; name one of those")]
    NoArm {
        /// `A` or `B`.
        run: char,
        /// Asked for.
        wanted: String,
        /// There are.
        known: Vec<String>,
    },
    /// Other seeds.
    #[error(
        "the runs share no episode that counts in both ({a} and {b} that count); run both with the same seeds and tasks"
    )]
    NoPairs {
        /// Of the first.
        a: usize,
        /// Of the second.
        b: usize,
    },
}

/// One side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Family and checkpoint, or `expert`.
    pub policy: String,
    /// Of its weights.
    pub precision: String,
    /// Of its bundle.
    pub bundle_sha256: String,
    /// Which variant of the run.
    pub arm: String,
    /// What it was run with, and by what.
    pub plan_sha256: String,
    /// The program.
    pub egogrid_version: String,
}

/// One task, or the suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// How the pairs ended; of the suite those of all tasks together.
    pub pairs: PairedCounts,
    /// Of the first, over the pairs; of the suite the mean over tasks.
    pub a: Rate,
    /// Of the second.
    pub b: Rate,
    /// Second minus first, with its interval (Newcombe, paired).
    #[serde(flatten)]
    pub difference: Difference,
    /// McNemar's test: exact, two-sided.
    pub p: f64,
    /// The same with mid-p.
    pub mid_p: f64,
    /// More pairs that it takes to tell them apart in 8 of 10 such comparisons, if they differ as they do here; none where no difference was seen.
    pub more_pairs: Option<u64>,
    /// What to know before believing it.
    pub warning: Option<String>,
    /// In words.
    pub verdict: String,
}

/// An episode without a partner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unpaired {
    /// Which task.
    pub task: String,
    /// Its seed.
    pub seed: u32,
    /// Why it is left out.
    pub why: String,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Of every interval and test.
    pub confidence: Confidence,
    /// None where a task has no pair: a mean of the others would be of another suite.
    pub suite: Option<Compared>,
    /// In the order of the runs; none for a task without pairs.
    pub tasks: Vec<(String, Option<Compared>)>,
    /// Left out.
    pub unpaired: Vec<Unpaired>,
    /// Pairs in which every action was the same.
    pub same_actions: u64,
    /// Tasks whose p is below 5 %, and how many of them chance alone would make.
    pub note: Option<String>,
}

type Episodes<'a> = BTreeMap<(&'a str, u32), &'a EpisodeRecord>;

/// Compares arm `arm_a` of `a` with arm `arm_b` of `b`.
///
/// # Errors
/// Runs that differ in simulator, tasks, steps or rate; arms that are not there; no pair at all.
pub fn compare(a: (&EvalRun, &str), b: (&EvalRun, &str)) -> Result<Comparison, ComparisonError> {
    require_alike(&a.0.header, &b.0.header)?;
    let sides = [side('A', a)?, side('B', b)?];
    let [of_a, of_b] = [a, b].map(|(run, arm)| episodes(run, arm));
    let mut tables: BTreeMap<&str, PairedCounts> =
        a.0.header.tasks.iter().map(|task| (task.as_str(), PairedCounts::default())).collect();
    let mut same_actions = 0;
    for (name, first) in of_a.iter().filter(|(_, record)| record.is_judged()) {
        if let (Some(second), Some(pairs)) =
            (of_b.get(name).filter(|record| record.is_judged()), tables.get_mut(name.0))
        {
            pairs.add(first.is_success(), second.is_success());
            same_actions += u64::from(first.actions_crc32 == second.actions_crc32);
        }
    }
    let in_order: Vec<(&String, PairedCounts)> =
        a.0.header.tasks.iter().filter_map(|task| Some((task, *tables.get(task.as_str())?))).collect();
    if in_order.iter().all(|(_, pairs)| pairs.pairs() == 0) {
        let [a, b] = [&of_a, &of_b].map(|all| all.values().filter(|record| record.is_judged()).count());
        return Err(ComparisonError::NoPairs { a, b });
    }
    let tasks: Vec<(String, Option<Compared>)> =
        in_order.iter().map(|(task, pairs)| ((*task).clone(), of_task(*pairs))).collect();
    let [a, b] = sides;
    Ok(Comparison {
        a,
        b,
        confidence: CONFIDENCE,
        suite: of_suite(&in_order.iter().map(|(_, pairs)| *pairs).collect::<Vec<_>>()),
        note: note(&tasks),
        tasks,
        unpaired: unpaired(&of_a, &of_b),
        same_actions,
    })
}

/// An episode with the same name is the same one only in the same world.
pub(super) fn require_alike(a: &EvalHeader, b: &EvalHeader) -> Result<(), ComparisonError> {
    let pairs = [
        ("simulator", a.simulator.clone(), b.simulator.clone()),
        ("tasks", a.tasks.join(", "), b.tasks.join(", ")),
        ("steps_max", a.steps_max.to_string(), b.steps_max.to_string()),
        ("control rate", format!("{} Hz", a.control_hz), format!("{} Hz", b.control_hz)),
    ];
    match pairs.into_iter().find(|(_, a, b)| a != b) {
        Some((what, a, b)) => Err(ComparisonError::Differ { what, a, b }),
        None => Ok(()),
    }
}

fn side(name: char, (run, arm): (&EvalRun, &str)) -> Result<Side, ComparisonError> {
    let Some(policy) = run.header.policies.iter().find(|policy| policy.arm == arm) else {
        let known = run.header.policies.iter().map(|policy| policy.arm.clone()).collect();
        return Err(ComparisonError::NoArm { run: name, wanted: arm.to_owned(), known });
    };
    Ok(Side {
        policy: policy.policy.clone(),
        precision: policy.precision.clone(),
        bundle_sha256: policy.bundle_sha256.clone(),
        arm: arm.to_owned(),
        plan_sha256: run.header.plan_sha256.clone(),
        egogrid_version: run.header.egogrid_version.clone(),
    })
}

fn episodes<'a>(run: &'a EvalRun, arm: &str) -> Episodes<'a> {
    let of_arm = run.episodes.iter().filter(|record| record.arm == arm);
    of_arm.map(|record| ((record.task.as_str(), record.seed), record)).collect()
}

fn unpaired(a: &Episodes<'_>, b: &Episodes<'_>) -> Vec<Unpaired> {
    let mut names: Vec<&(&str, u32)> = a.keys().chain(b.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let why = |name: &(&str, u32)| {
        let judged = |record: &&EpisodeRecord| record.is_judged();
        match (a.get(name), b.get(name)) {
            (Some(_), None) => Some("only A ran it"),
            (None, Some(_)) => Some("only B ran it"),
            (Some(a), Some(b)) => match (judged(a), judged(b)) {
                (true, true) => None,
                (false, true) => Some("the harness failed in A"),
                (true, false) => Some("the harness failed in B"),
                (false, false) => Some("the harness failed in both"),
            },
            (None, None) => None,
        }
    };
    let left_out = names.into_iter().filter_map(|name| Some((name, why(name)?)));
    left_out
        .map(|((task, seed), why)| Unpaired { task: (*task).to_owned(), seed: *seed, why: why.to_owned() })
        .collect()
}

fn of_task(pairs: PairedCounts) -> Option<Compared> {
    let rate = |counts| Rate::of_task(counts, CONFIDENCE);
    Some(compared(pairs, rate(pairs.a())?, rate(pairs.b())?, difference::paired(pairs, CONFIDENCE)?))
}

fn of_suite(tasks: &[PairedCounts]) -> Option<Compared> {
    let rate = |of: fn(PairedCounts) -> Counts| Rate::of_suite(tasks.iter().copied().map(of), CONFIDENCE);
    let mut all = PairedCounts::default();
    tasks.iter().for_each(|pairs| all += *pairs);
    Some(compared(all, rate(PairedCounts::a)?, rate(PairedCounts::b)?, difference::suites(tasks, CONFIDENCE)?))
}

fn compared(pairs: PairedCounts, a: Rate, b: Rate, difference: Difference) -> Compared {
    let needed = power::pairs_needed(pairs, Plan::USUAL);
    let more_pairs = needed.map(|needed| needed.saturating_sub(pairs.pairs()));
    let (p, mid_p) = (mcnemar::exact(pairs), mcnemar::mid_p(pairs));
    let warning = enough::pairs(pairs, CONFIDENCE).as_ref().map(Warning::to_string);
    let verdict = verdict(pairs, &difference, p, more_pairs);
    Compared { pairs, a, b, difference, p, mid_p, more_pairs, warning, verdict }
}

/// Points of a hundred, with a sign.
fn points(share: f64) -> String {
    format!("{:+.1}", 100.0 * share)
}

/// As careful as the numbers.
fn verdict(pairs: PairedCounts, found: &Difference, p: f64, more: Option<u64>) -> String {
    let [low, high] = found.interval.map(points);
    let n = pairs.pairs();
    if p < 1.0 - CONFIDENCE.get() {
        let (better, won) = if pairs.only_b > pairs.only_a { ("B", pairs.only_b) } else { ("A", pairs.only_a) };
        return format!(
            "{better} solves more of these episodes: it won {won} of the {} pairs that differ. Equally good policies would split as unevenly in {} of \
             100 such comparisons. B - A is {} points, between {low} and {high}.",
            pairs.discordant(),
            if p < 0.0001 { "less than 0.01".to_owned() } else { format!("{:.2}", 100.0 * p) },
            points(found.difference)
        );
    }
    let range = format!("B - A lies between {low} and {high} points");
    match more {
        None if pairs.discordant() == 0 => {
            format!("Not separated by these {n} pairs: none of them differs. {range}.")
        }
        None => format!("Not separated by these {n} pairs: as many went to A as to B. {range}."),
        Some(0) => format!(
            "Not separated by these {n} pairs (p = {p:.2}), though so many would tell such a difference in 8 of 10 comparisons: it may be smaller. {range}."
        ),
        Some(more) => format!(
            "Not separated by these {n} pairs (p = {p:.2}); about {more} more would be needed at this difference. {range}."
        ),
    }
}

/// Many tests find something.
fn note(tasks: &[(String, Option<Compared>)]) -> Option<String> {
    let tested = tasks.iter().filter(|(_, compared)| compared.is_some()).count();
    let error = 1.0 - CONFIDENCE.get();
    let below =
        tasks.iter().filter(|(_, compared)| compared.as_ref().is_some_and(|compared| compared.p < error)).count();
    (below > 0 && tested > 1).then(|| {
        format!(
            "{below} of {tested} tasks have p below {error:.2}; between equally good policies chance alone makes up to {:.1} of them. The suite's p is one test.",
            error * tested as f64
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::{header, record};
    use crate::view::Outcome;

    fn run(solved: impl Fn(&str, u32) -> bool, seeds: std::ops::Range<u32>) -> EvalRun {
        let episodes = ["reach", "push"]
            .into_iter()
            .flat_map(|task| seeds.clone().map(|seed| record(task, seed, solved(task, seed))).collect::<Vec<_>>());
        EvalRun { header: header("a"), episodes: episodes.collect() }
    }

    fn compared_base(a: &EvalRun, b: &EvalRun) -> Result<Comparison, ComparisonError> {
        compare((a, "base"), (b, "base"))
    }

    #[test]
    fn the_same_run_is_not_separated_from_itself() {
        let run = run(|_, seed| seed % 3 > 0, 0..30);
        let found = compared_base(&run, &run).unwrap();
        let suite = found.suite.unwrap();
        assert_eq!((suite.p, suite.more_pairs, found.same_actions), (1.0, None, 60));
        assert_eq!(suite.verdict.split(". ").next().unwrap(), "Not separated by these 60 pairs: none of them differs");
        assert!(suite.warning.unwrap().contains("at least 6 have to differ"));
        assert!(found.unpaired.is_empty() && found.note.is_none());
    }

    #[test]
    fn a_clear_difference_is_told_and_an_unclear_one_says_what_it_takes() {
        let (worse, better) = (run(|_, seed| seed % 2 > 0, 0..40), run(|_, seed| seed != 0, 0..40));
        let found = compared_base(&worse, &better).unwrap();
        let suite = found.suite.unwrap();
        assert!(suite.verdict.starts_with("B solves more"), "{}", suite.verdict);
        assert!(suite.p < 1e-9 && suite.difference.interval[0] > 0.3 && found.note.is_some());
        let swapped = compared_base(&better, &worse).unwrap().suite.unwrap();
        assert!(swapped.verdict.starts_with("A solves more") && swapped.p == suite.p);
        let close = run(|task, seed| seed % 2 > 0 || (task == "push" && seed < 6), 0..40);
        let found = compared_base(&worse, &close).unwrap().suite.unwrap();
        assert!(found.verdict.contains("more would be needed at this difference"), "{}", found.verdict);
        assert!(found.more_pairs.unwrap() > 0 && found.p > 0.05);
    }

    #[test]
    fn what_has_no_partner_is_listed_and_left_out() {
        let (mut a, b) = (run(|_, _| true, 0..5), run(|_, _| false, 1..6));
        a.episodes[2].outcome = Outcome::Harness { reason: "it died".to_owned() };
        let found = compared_base(&a, &b).unwrap();
        let told: Vec<_> = found.unpaired.iter().map(|u| (u.task.as_str(), u.seed, u.why.as_str())).collect();
        let expected = [
            ("push", 0, "only A ran it"),
            ("push", 5, "only B ran it"),
            ("reach", 0, "only A ran it"),
            ("reach", 2, "the harness failed in A"),
            ("reach", 5, "only B ran it"),
        ];
        assert_eq!(told, expected);
        assert_eq!(found.suite.unwrap().pairs, PairedCounts { only_a: 7, ..PairedCounts::default() });
        assert!(matches!(compared_base(&a, &run(|_, _| true, 50..52)), Err(ComparisonError::NoPairs { a: 9, b: 4 })));
    }

    #[test]
    fn other_worlds_and_other_arms_are_refused() {
        let a = run(|_, _| true, 0..3);
        type Change = fn(&mut EvalRun);
        let changes: [(&str, Change); 4] = [
            ("simulator", |run| run.header.simulator.push('x')),
            ("tasks", |run| run.header.tasks.reverse()),
            ("steps_max", |run| run.header.steps_max = 500),
            ("control rate", |run| run.header.control_hz = 20.0),
        ];
        for (expected, change) in changes {
            let mut b = a.clone();
            change(&mut b);
            let Err(ComparisonError::Differ { what, .. }) = compared_base(&a, &b) else { unreachable!("{expected}") };
            assert_eq!(what, expected);
        }
        let refused = compare((&a, "base"), (&a, "light=2")).unwrap_err();
        assert!(matches!(refused, ComparisonError::NoArm { run: 'B', .. }), "{refused}");
    }

    #[test]
    fn a_task_without_pairs_leaves_no_suite() {
        let (a, mut b) = (run(|_, _| true, 0..4), run(|_, _| true, 0..4));
        b.episodes.retain(|record| record.task == "reach");
        let found = compared_base(&a, &b).unwrap();
        assert_eq!((found.suite, found.tasks[1].1.clone()), (None, None));
        assert_eq!(found.unpaired.len(), 4);
    }
}
