//! `egogrid eval compare`: two runs, or two arms, episode by episode.
//!
//! From: two runs of the same tasks. To: for each task and all of them how the pairs ended, the difference with its interval, an exact test, and
//! how many more pairs it would take. Episodes that only one side has, or in which a harness failed, are counted and left out.

use crate::cli::EvalCompareArgs;
use crate::commands::print_json;
use crate::evaluation::journal;
use crate::evaluation::record::{EpisodeRecord, EvalRun};
use crate::evaluation::statistics::{Pairs, mcnemar_exact, more_pairs, paired_difference};
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use serde::Serialize;
use std::collections::BTreeMap;

/// Below this a difference is called one.
const SIGNIFICANT: f64 = 0.05;

/// One task, or all of them.
#[derive(Debug, Serialize)]
struct Compared {
    pairs: Pairs,
    rate_a: f64,
    rate_b: f64,
    /// A - B.
    difference: f64,
    /// 95 %, paired.
    interval: [f64; 2],
    /// McNemar, exact, two-sided.
    p: f64,
    /// To separate them in 8 of 10 evaluations, if they differ as these pairs do.
    more_pairs: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Comparison {
    a: String,
    b: String,
    /// All tasks together.
    suite: Option<Compared>,
    tasks: BTreeMap<String, Option<Compared>>,
    /// Episodes that only one of them has, or that a harness failed in.
    unpaired: usize,
    /// Pairs whose every action was the same.
    same_actions: usize,
}

pub(super) fn run(args: &EvalCompareArgs) -> CommandResult {
    let [a, b] = [&args.a, &args.b].map(|dir| journal::read(dir).map_err(CommandError::usage));
    let (a, b) = (a?, b?);
    require_alike(&a, &b)?;
    let [of_a, of_b] = [(&a, &args.arm_a), (&b, &args.arm_b)].map(|(run, arm)| judged(run, arm));
    let (of_a, of_b) = (of_a?, of_b?);
    let mut tasks: BTreeMap<String, Pairs> =
        a.header.tasks.iter().map(|task| (task.clone(), Pairs::default())).collect();
    let (mut all, mut same_actions) = (Pairs::default(), 0);
    for (name, first) in &of_a {
        if let (Some(second), Some(pairs)) = (of_b.get(name), tasks.get_mut(&name.0)) {
            pairs.add(first.is_success(), second.is_success());
            all.add(first.is_success(), second.is_success());
            same_actions += usize::from(first.actions_crc32 == second.actions_crc32);
        }
    }
    if all.count() == 0 {
        return Err(CommandError::usage(anyhow!("the runs share no episode: run both with the same seeds and tasks")));
    }
    let comparison = Comparison {
        a: named(&a, &args.arm_a),
        b: named(&b, &args.arm_b),
        suite: compared(all),
        tasks: tasks.into_iter().map(|(task, pairs)| (task, compared(pairs))).collect(),
        unpaired: of_a.len() + of_b.len() - 2 * all.count() as usize,
        same_actions,
    };
    if args.json {
        print_json(&comparison)
    } else {
        print(&a, &comparison)
    }
    Ok(())
}

/// An episode with the same name is the same one only in the same world.
fn require_alike(a: &EvalRun, b: &EvalRun) -> CommandResult {
    let (a, b) = (&a.header, &b.header);
    let differ = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        Err(CommandError::usage(anyhow!(
            "the runs differ in {what}: {found:?} and {expected:?}; only the same world can be compared"
        )))
    };
    if a.simulator != b.simulator {
        return differ("simulator", &a.simulator, &b.simulator);
    }
    if (a.steps_max, a.control_hz) != (b.steps_max, b.control_hz) {
        return differ("steps_max and rate", &(a.steps_max, a.control_hz), &(b.steps_max, b.control_hz));
    }
    if a.tasks != b.tasks {
        return differ("tasks", &a.tasks, &b.tasks);
    }
    Ok(())
}

fn judged<'a>(run: &'a EvalRun, arm: &str) -> CommandResult<BTreeMap<(String, u32), &'a EpisodeRecord>> {
    let known: Vec<&String> = run.header.policies.iter().map(|policy| &policy.arm).collect();
    if !known.iter().any(|name| *name == arm) {
        return Err(CommandError::usage(anyhow!("there is no arm {arm:?}, only {known:?}")));
    }
    let episodes = run.episodes.iter().filter(|record| record.arm == arm && record.is_judged());
    Ok(episodes.map(|record| ((record.task.clone(), record.seed), record)).collect())
}

fn named(run: &EvalRun, arm: &str) -> String {
    let policy = run.header.policies.iter().find(|policy| policy.arm == arm);
    policy.map_or_else(String::new, |policy| {
        let digest = policy.bundle_sha256.get(..12).unwrap_or_default();
        format!("{} {} {digest} ({arm})", policy.policy, policy.precision)
    })
}

fn compared(pairs: Pairs) -> Option<Compared> {
    let (difference, interval) = paired_difference(pairs.both, pairs.only_a, pairs.only_b, pairs.neither)?;
    let n = f64::from(pairs.count());
    Some(Compared {
        pairs,
        rate_a: f64::from(pairs.successes_a()) / n,
        rate_b: f64::from(pairs.successes_b()) / n,
        difference,
        interval,
        p: mcnemar_exact(pairs.only_a, pairs.only_b),
        more_pairs: more_pairs(&pairs),
    })
}

fn print(a: &EvalRun, comparison: &Comparison) {
    println!("A  {}\nB  {}\n", comparison.a, comparison.b);
    println!(
        "{:<28} {:>9} {:>9} {:>8}  {:<19} {:>6} {:>6} {:>8}  {:>12}",
        "task", "A", "B", "A - B", "95 % interval", "only A", "only B", "p", "more pairs"
    );
    for task in &a.header.tasks {
        if let Some(Some(compared)) = comparison.tasks.get(task) {
            println!("{task:<28} {}", row(compared));
        }
    }
    let Some(suite) = &comparison.suite else { return };
    println!("{:<28} {}", "all", row(suite));
    println!("\n{}", verdict(suite));
    println!("{} of {} pairs took exactly the same actions", comparison.same_actions, suite.pairs.count());
    if comparison.unpaired > 0 {
        println!("{} episodes have no partner and are left out", comparison.unpaired);
    }
}

fn row(compared: &Compared) -> String {
    let Compared { pairs, difference, interval: [low, high], p, .. } = compared;
    let more = compared.more_pairs.map_or_else(|| "-".to_owned(), |more| more.to_string());
    let n = pairs.count();
    format!(
        "{:>4}/{n:<4} {:>4}/{n:<4} {:>+7.1}   {:>+6.1} … {:>+6.1}    {:>6} {:>6} {p:>8.2e}  {more:>12}",
        pairs.successes_a(),
        pairs.successes_b(),
        100.0 * difference,
        100.0 * low,
        100.0 * high,
        pairs.only_a,
        pairs.only_b
    )
}

/// As careful as the numbers.
fn verdict(suite: &Compared) -> String {
    let n = suite.pairs.count();
    let better = if suite.difference > 0.0 { "A" } else { "B" };
    if suite.p < SIGNIFICANT {
        return format!(
            "{better} is better on these tasks: a difference like this comes by chance in {:.2} % of such runs",
            100.0 * suite.p
        );
    }
    match suite.more_pairs {
        None => format!(
            "no difference in {n} pairs; it lies between {:+.1} and {:+.1} points",
            100.0 * suite.interval[0],
            100.0 * suite.interval[1]
        ),
        Some(more) => format!(
            "not separated by these {n} pairs (p = {:.2}); if they differ as much as it looks, about {more} more would tell",
            suite.p
        ),
    }
}
