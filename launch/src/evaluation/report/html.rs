//! The report as one page that opens without a network: no script, no font, no picture from elsewhere.

use super::plot::{self, Point};
use super::{ArmReport, Report, TaskReport};
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");
/// More failures than this are in `report.json` only.
const FAILURES_MAX: usize = 200;

/// Writing to a string does not fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { { let _ = writeln!($out, $($arg)*); } };
}

/// Text inside HTML or an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The page. `again`: the command that runs it again.
pub fn html(report: &Report, again: &str) -> String {
    let run = &report.run;
    let policy = run.policies.first().map_or("nobody", |policy| policy.policy.as_str());
    let mut out = String::new();
    put!(
        out,
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">"#
    );
    put!(
        out,
        "<title>{} on {}</title><style>{STYLE}</style></head><body><main>",
        escaped(policy),
        escaped(&run.simulator)
    );
    put!(
        out,
        "<header><p class=\"kicker\">Egogrid evaluation</p><h1>{}</h1><p>{} tasks, {} episodes each from seed {}, at most {} steps · {}</p></header>",
        escaped(policy),
        run.tasks.len(),
        run.episodes_per_task,
        run.seed,
        run.steps_max,
        escaped(&run.simulator)
    );
    headline(&mut out, report);
    if let Some(base) = report.arms.first() {
        put!(out, "<section><h2>Tasks</h2>");
        table(&mut out, report, base);
        put!(out, "</section>");
    }
    sweeps(&mut out, report);
    failures(&mut out, report);
    time(&mut out, report);
    about(&mut out, report, again);
    put!(out, "</main></body></html>");
    out
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn between([low, high]: [f64; 2]) -> String {
    format!("{:.1} … {:.1} %", 100.0 * low, 100.0 * high)
}

fn headline(out: &mut String, report: &Report) {
    let suite = &report.suite;
    put!(out, r#"<section class="cards">"#);
    let (mean, interval) = match (suite.mean, suite.interval) {
        (Some(mean), Some(interval)) => (percent(mean), between(interval)),
        _ => ("not known yet".to_owned(), "some task has no episode".to_owned()),
    };
    put!(out, r#"<div class="card"><b>{mean}</b><span>mean over tasks<br>95 % interval {interval}</span></div>"#);
    put!(
        out,
        r#"<div class="card"><b>{} of {}</b><span>episodes solved</span></div>"#,
        suite.successes,
        suite.episodes
    );
    let class = if report.harness_failures() > 0 { "card bad" } else { "card" };
    put!(
        out,
        r#"<div class="{class}"><b>{}</b><span>harness failures<br>in no rate</span></div>"#,
        report.harness_failures()
    );
    put!(out, "</section>");
    if !report.complete {
        put!(
            out,
            r#"<p class="note">Not finished: this is what was done when the page was written. The same command goes on.</p>"#
        );
    }
    let few: Vec<String> = report
        .tasks
        .iter()
        .filter_map(|(name, task)| Some(format!("<b>{}</b>: {}", escaped(name), escaped(task.warning.as_ref()?))))
        .collect();
    if !few.is_empty() {
        put!(
            out,
            r#"<details class="note" open><summary>Too few episodes for {} of {} tasks</summary><p>{}</p></details>"#,
            few.len(),
            report.tasks.len(),
            few.join("<br>")
        );
    }
}

fn table(out: &mut String, report: &Report, arm: &ArmReport) {
    put!(
        out,
        r#"<div class="wide"><table><thead><tr><th>task</th><th class="n">solved</th><th class="n">rate</th><th>95 % interval</th><th class="n"></th><th class="n">steps</th><th class="n">harness</th></tr></thead><tbody>"#
    );
    for name in &report.run.tasks {
        let Some(task) = arm.tasks.get(name) else { continue };
        row(out, name, task);
    }
    if let (Some(mean), Some(interval)) = (arm.suite.mean, arm.suite.interval) {
        put!(
            out,
            r#"<tr class="suite"><th>mean over tasks</th><td class="n">{} / {}</td><td class="n">{}</td><td>{}</td><td class="n">{}</td><td></td><td class="n">{}</td></tr>"#,
            arm.suite.successes,
            arm.suite.episodes,
            percent(mean),
            plot::bar(mean, interval),
            between(interval),
            arm.suite.harness_failures
        );
    }
    put!(out, "</tbody></table></div>");
}

fn row(out: &mut String, name: &str, task: &TaskReport) {
    let rate = f64::from(task.successes) / f64::from(task.episodes.max(1));
    let (bar, interval) =
        task.interval.map_or_else(Default::default, |interval| (plot::bar(rate, interval), between(interval)));
    let rate = if task.episodes > 0 { percent(rate) } else { "–".to_owned() };
    let steps = task.mean_steps.map_or_else(|| "–".to_owned(), |steps| format!("{steps:.0}"));
    put!(
        out,
        r#"<tr><th>{}</th><td class="n">{} / {}</td><td class="n">{rate}</td><td>{bar}</td><td class="n">{interval}</td><td class="n">{steps}</td><td class="n">{}</td></tr>"#,
        escaped(name),
        task.successes,
        task.episodes,
        task.harness_failures
    );
}

/// One picture for each axis, `base` in it.
fn sweeps(out: &mut String, report: &Report) {
    let mut axes: Vec<&str> = Vec::new();
    for label in report.run.policies.iter().filter_map(|policy| policy.stress.as_ref()) {
        if !axes.contains(&label.axis.as_str()) {
            axes.push(&label.axis);
        }
    }
    if axes.is_empty() {
        return;
    }
    put!(out, r#"<section><h2>Under stress</h2><div class="sweeps">"#);
    for axis in axes {
        let mut points = Vec::new();
        for (policy, arm) in report.run.policies.iter().zip(&report.arms) {
            let (label, value) = match &policy.stress {
                None => ("base".to_owned(), base_value(axis)),
                Some(label) if label.axis == axis => (label.label.clone(), label.value),
                Some(_) => continue,
            };
            if let (Some(rate), Some(interval)) = (arm.suite.mean, arm.suite.interval) {
                points.push(Point { label, value, rate, interval });
            }
        }
        put!(out, "<figure>{}<figcaption>{}</figcaption></figure>", plot::sweep(&points), escaped(axis));
    }
    put!(out, "</div>");
    for arm in report.arms.iter().skip(1) {
        put!(
            out,
            "<details><summary>{}: {}</summary>",
            escaped(&arm.arm),
            arm.suite.mean.map_or_else(|| "not done".to_owned(), percent)
        );
        table(out, report, arm);
        put!(out, "</details>");
    }
    put!(out, "</section>");
}

/// Where the arm without stress stands on an axis of numbers.
fn base_value(axis: &str) -> Option<f64> {
    match axis {
        "light" => Some(1.0),
        "colours_seed" | "paraphrase" | "strategy" | "bundle" => None,
        _ => Some(0.0),
    }
}

fn failures(out: &mut String, report: &Report) {
    put!(out, "<section><h2>What failed</h2>");
    if report.failures.is_empty() {
        put!(out, "<p>Nothing.</p></section>");
        return;
    }
    put!(
        out,
        r#"<div class="wide"><table><thead><tr><th>arm</th><th>task</th><th class="n">seed</th><th>why</th><th>policy</th><th>gate</th></tr></thead><tbody>"#
    );
    for failure in report.failures.iter().take(FAILURES_MAX) {
        let counts = |counts: &std::collections::BTreeMap<String, u32>| {
            counts.iter().map(|(name, count)| format!("{} {count}", escaped(name))).collect::<Vec<_>>().join(", ")
        };
        put!(
            out,
            r#"<tr><td>{}</td><th>{}</th><td class="n">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>"#,
            escaped(&failure.arm),
            escaped(&failure.task),
            failure.seed,
            escaped(&failure.why),
            counts(&failure.policy_errors),
            counts(&failure.interventions)
        );
    }
    put!(out, "</tbody></table></div>");
    if report.failures.len() > FAILURES_MAX {
        put!(out, "<p>{} more are in report.json.</p>", report.failures.len() - FAILURES_MAX);
    }
    put!(out, "</section>");
}

fn time(out: &mut String, report: &Report) {
    let parts: Vec<(&str, f64)> = report.time.shares.iter().map(|(name, share)| (*name, *share)).collect();
    put!(out, "<section><h2>Where time went</h2>{}<p class=\"legend\">", plot::shares(&parts));
    for (index, (name, share)) in parts.iter().enumerate() {
        put!(out, r#"<span><i class="part{index}"></i>{} {}</span>"#, escaped(name), percent(*share));
    }
    put!(out, "</p>");
    if let (Some(harness), Some(policy)) = (report.time.harness_ms_per_step, report.time.policy_ms_per_look) {
        put!(
            out,
            "<p>Policy and runtime {:.1} ms a look (median of episodes, p99 {:.1}); harness {:.2} ms a step (p99 {:.2}).</p>",
            policy.p50,
            policy.p99,
            harness.p50,
            harness.p99
        );
    }
    put!(out, "</section>");
}

fn about(out: &mut String, report: &Report, again: &str) {
    let run = &report.run;
    put!(
        out,
        "<section><h2>To run it again</h2><pre>{}</pre><details><summary>eval.toml</summary><pre>{}</pre></details><dl>",
        escaped(again),
        escaped(&run.plan)
    );
    let mut pair = |name: &str, value: &str| put!(out, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value));
    for policy in &run.policies {
        let bundle = if policy.bundle_sha256.is_empty() {
            String::new()
        } else {
            format!(", {}, bundle {}", policy.precision, policy.bundle_sha256)
        };
        pair(&format!("arm {}", policy.arm), &format!("{}{bundle}", policy.policy));
    }
    pair("simulator", &format!("{}, {} steps per second", run.simulator, run.control_hz));
    pair("plan", &run.plan_sha256);
    pair("Egogrid", &run.egogrid_version);
    pair("machine", &run.machine);
    put!(out, "</dl></section>");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::{header, record};
    use crate::evaluation::record::{EvalRun, StressLabel};

    const HOSTILE: &str = "<script>alert('x')</script>\"&";

    #[test]
    fn nothing_that_was_evaluated_becomes_markup() {
        let mut header = header("a");
        header.tasks = vec![HOSTILE.to_owned()];
        (header.plan, header.simulator, header.machine) = (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
        header.policies[0].policy = HOSTILE.to_owned();
        let mut stressed = header.policies[0].clone();
        stressed.arm = HOSTILE.to_owned();
        stressed.stress = Some(StressLabel { axis: HOSTILE.to_owned(), label: HOSTILE.to_owned(), value: None });
        header.policies.push(stressed);
        let mut failed = record(HOSTILE, 1, false);
        failed.policy_errors.insert(HOSTILE.to_owned(), 1);
        failed.outcome = crate::view::Outcome::Harness { reason: HOSTILE.to_owned() };
        let run = EvalRun { header, episodes: vec![failed, record(HOSTILE, 2, true)] };
        let page = html(&Report::of(&run), HOSTILE);
        assert!(!page.contains("<script") && !page.contains("alert('x')"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let run =
            EvalRun { header: header("a"), episodes: (0..4).map(|seed| record("reach", seed, seed != 2)).collect() };
        let page = html(&Report::of(&run), "egogrid eval x.toml --out DIR");
        for outside in ["http://", "https://", "src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(
            page.contains("Not finished") && page.contains("not solved within 80 steps") && page.contains("3 / 4"),
            "{page}"
        );
    }
}
