//! Against scipy and statsmodels: `launch/tests/fixtures/statistics`, whose README has the command.
#![allow(clippy::unwrap_used)]

use super::{Confidence, Counts, Interval, PairedCounts, difference, mcnemar, power, sequential, suite, wilson};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;
/// What is zero to one of them may be rounding to the other.
const ZERO: f64 = 1e-15;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    wilson: Vec<Rate>,
    mcnemar: Vec<Mcnemar>,
    unpaired: Vec<Unpaired>,
    paired: Vec<Paired>,
    suite: Vec<Suite>,
    suite_difference: Vec<SuiteDifference>,
    sequential: Vec<Sequential>,
    power: Vec<Power>,
}

#[derive(Deserialize)]
struct Rate {
    k: u64,
    n: u64,
    confidence: f64,
    interval: Interval,
}

#[derive(Deserialize)]
struct Mcnemar {
    only_a: u64,
    only_b: u64,
    exact: f64,
    mid_p: f64,
}

#[derive(Deserialize)]
struct Unpaired {
    a: [u64; 2],
    b: [u64; 2],
    confidence: f64,
    interval: Interval,
}

#[derive(Deserialize)]
struct Paired {
    table: [u64; 4],
    confidence: f64,
    interval: Interval,
}

#[derive(Deserialize)]
struct Suite {
    tasks: Vec<[u64; 2]>,
    mean: f64,
    effective: f64,
    interval: Interval,
}

#[derive(Deserialize)]
struct SuiteDifference {
    tables: Vec<[u64; 4]>,
    interval: Interval,
}

#[derive(Deserialize)]
struct Sequential {
    k: u64,
    n: u64,
    error: f64,
    interval: Interval,
}

#[derive(Deserialize)]
struct Power {
    table: [u64; 4],
    pairs: u64,
    power_of_exact_test: f64,
    episodes: u64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/fixtures/statistics/golden.json")).unwrap()
}

fn near(found: f64, expected: f64, what: &str) {
    let allowed = TOLERANCE * found.abs().max(expected.abs()) + ZERO;
    assert!((found - expected).abs() <= allowed, "{what}: {found}, expected {expected}");
}

fn near_both(found: Interval, expected: Interval, what: &str) {
    near(found[0], expected[0], what);
    near(found[1], expected[1], what);
}

fn counts([successes, episodes]: [u64; 2]) -> Counts {
    Counts::new(successes, episodes).unwrap()
}

fn pairs([both, only_a, only_b, neither]: [u64; 4]) -> PairedCounts {
    PairedCounts { both, only_a, only_b, neither }.checked().unwrap()
}

#[test]
fn wilson_agrees_with_scipy_and_statsmodels() {
    let cases = golden().wilson;
    assert!(cases.len() > 100);
    for Rate { k, n, confidence, interval } in cases {
        let found = wilson::interval(counts([k, n]), Confidence::new(confidence).unwrap()).unwrap();
        near_both(found, interval, &format!("{k}/{n} at {confidence}"));
    }
}

#[test]
fn mcnemar_agrees_with_statsmodels() {
    let cases = golden().mcnemar;
    assert!(cases.len() > 50);
    for Mcnemar { only_a, only_b, exact, mid_p } in cases {
        let table = pairs([3, only_a, only_b, 4]);
        near(mcnemar::exact(table), exact, &format!("{only_a}, {only_b}"));
        near(mcnemar::mid_p(table), mid_p, &format!("mid-p of {only_a}, {only_b}"));
    }
}

#[test]
fn differences_agree_with_statsmodels_and_the_paper() {
    let Golden { unpaired, paired, suite_difference, .. } = golden();
    assert!(unpaired.len() > 90 && paired.len() > 90 && suite_difference.len() > 20);
    for Unpaired { a, b, confidence, interval } in unpaired {
        let found = difference::unpaired(counts(a), counts(b), Confidence::new(confidence).unwrap()).unwrap();
        near_both(found.interval, interval, &format!("{a:?} and {b:?} at {confidence}"));
    }
    for Paired { table, confidence, interval } in paired {
        let found = difference::paired(pairs(table), Confidence::new(confidence).unwrap()).unwrap();
        near_both(found.interval, interval, &format!("{table:?} at {confidence}"));
    }
    for SuiteDifference { tables, interval } in suite_difference {
        let tasks: Vec<PairedCounts> = tables.iter().map(|table| pairs(*table)).collect();
        let found = difference::suites(&tasks, Confidence::P95).unwrap();
        near_both(found.interval, interval, &format!("{tables:?}"));
    }
}

#[test]
fn suites_solve_the_score_equation() {
    let cases = golden().suite;
    assert!(cases.len() > 40);
    for Suite { tasks, mean, effective, interval } in cases {
        let of: Vec<Counts> = tasks.iter().map(|task| counts(*task)).collect();
        let found = suite::mean(&of, Confidence::P95).unwrap();
        near(found.mean, mean, &format!("{tasks:?}"));
        near(found.effective_episodes, effective, &format!("{tasks:?}"));
        near_both(found.interval, interval, &format!("{tasks:?}"));
    }
}

#[test]
fn confidence_sequences_agree_with_scipy() {
    let cases = golden().sequential;
    assert!(cases.len() > 70);
    for Sequential { k, n, error, interval } in cases {
        let found = sequential::interval(counts([k, n]), sequential::ErrorRate::new(error).unwrap()).unwrap();
        near_both(found, interval, &format!("{k}/{n} at {error}"));
    }
}

/// The plan is for 8 of 10; the exact test, which counts in whole pairs, then finds between 79 and 88 of 100.
#[test]
fn planned_pairs_and_episodes_have_the_power_they_were_planned_for() {
    for Power { table, pairs: needed, power_of_exact_test, episodes } in golden().power {
        let table = pairs(table);
        assert_eq!(power::pairs_needed(table, power::Plan::USUAL), Some(needed), "{table:?}");
        assert_eq!(power::episodes_needed(table.a(), table.b(), power::Plan::USUAL), Some(episodes), "{table:?}");
        assert!((0.79..0.88).contains(&power_of_exact_test), "{table:?}: {power_of_exact_test}");
    }
}
