//! The report as one page that opens without a network: no script, no font, no picture from elsewhere.

use super::failed;
use super::page::{self, between, grouped, percent};
use super::plot::{self, Point};
use super::{ArmReport, Report, TaskReport, Warned};
use crate::evaluation::artifacts;
use crate::markup::{escaped, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;

/// More warnings than this are closed at first.
const WARNINGS_OPEN: usize = 10;
/// All pictures of a page together.
const PICTURES_BYTES_MAX: usize = 16 << 20;

/// The page of the run at `dir`, which pictures are read from.
pub fn html(report: &Report, dir: &Path) -> String {
    let run = &report.run;
    let policy = run.policies.first().map_or("nobody", |policy| policy.policy.as_str());
    let mut out = page::opened(
        policy,
        "Egogrid evaluation",
        &format!(
            "{} tasks, {} episodes each from seed {}, at most {} steps · {}",
            run.tasks.len(),
            run.episodes_per_task,
            run.seed,
            run.steps_max,
            run.simulator
        ),
    );
    headline(&mut out, report);
    failed::section(&mut out, report);
    if let Some(base) = report.arms.first() {
        put!(out, "<section><h2>Tasks</h2>");
        table(&mut out, report, base);
        put!(out, "</section>");
    }
    sweeps(&mut out, report);
    pictures(&mut out, report, dir);
    time(&mut out, report);
    about(&mut out, report);
    page::close(&mut out);
    out
}

fn headline(out: &mut String, report: &Report) {
    let suite = &report.suite;
    put!(out, r#"<section class="cards">"#);
    let (mean, interval) = match (suite.mean, suite.interval) {
        (Some(mean), Some(interval)) => (percent(mean), format!("95 % interval {}", between(interval))),
        _ => ("not known yet".to_owned(), "some task has no episode".to_owned()),
    };
    put!(out, r#"<div class="card"><b>{mean}</b><span>mean over tasks<br>{interval}</span></div>"#);
    put!(
        out,
        r#"<div class="card"><b>{} of {}</b><span>episodes solved</span></div>"#,
        grouped(u64::from(suite.successes)),
        grouped(u64::from(suite.episodes))
    );
    let failures = report.harness_failures();
    put!(
        out,
        r#"<div class="card{}"><b>{failures}</b><span>harness failures{}</span></div>"#,
        if failures > 0 { " bad" } else { "" },
        if failures > 0 { ", in no rate" } else { "" }
    );
    put!(out, "</section>");
    if !report.complete {
        put!(
            out,
            r#"<p class="note">Not finished: this is what was done when the page was written. The same command goes on.</p>"#
        );
    }
    for arm in &report.arms {
        if let Some(stop) = &arm.stop {
            put!(out, r#"<p class="note"><b>{}</b>: {}</p>"#, escaped(&arm.arm), escaped(&stop.words));
        }
    }
    warnings(out, report);
}

fn warnings(out: &mut String, report: &Report) {
    let of_task = |(name, task): (&String, &TaskReport)| {
        let line = |warned: &Warned| format!("<li><b>{}</b>: {}</li>", escaped(name), escaped(&warned.words));
        task.warnings.iter().map(line).collect::<Vec<_>>()
    };
    let mut lines: Vec<String> = report.tasks.iter().flat_map(of_task).collect();
    if let Some(warned) = &report.suite.warning {
        lines.insert(0, format!("<li><b>mean over tasks</b>: {}</li>", escaped(&warned.words)));
    }
    if !lines.is_empty() {
        let open = if lines.len() <= WARNINGS_OPEN { " open" } else { "" };
        put!(
            out,
            r#"<details class="note"{open}><summary>Read with care: {} figures stand on too little</summary><ul>{}</ul></details>"#,
            lines.len(),
            lines.concat()
        );
    }
}

fn table(out: &mut String, report: &Report, arm: &ArmReport) {
    put!(
        out,
        r#"<div class="wide" tabindex="0" role="region" aria-label="tasks, {}"><table><thead><tr><th>task</th><th class="n">solved</th><th class="n">rate</th><th>with its 95 % interval</th><th class="n shy">interval</th><th class="n shy">steps</th><th class="n{}">harness failures</th></tr></thead><tbody>"#,
        escaped(&arm.arm),
        shy(arm)
    );
    for name in &report.run.tasks {
        let Some(task) = arm.tasks.get(name) else { continue };
        row(out, name, task, shy(arm));
    }
    if let (Some(mean), Some(interval)) = (arm.suite.mean, arm.suite.interval) {
        put!(
            out,
            r#"<tr class="suite"><th scope="row">mean over tasks</th><td class="n">{} / {}</td><td class="n">{}</td><td>{}</td><td class="n shy">{}</td><td class="shy"></td><td class="n{}">{}</td></tr>"#,
            arm.suite.successes,
            arm.suite.episodes,
            percent(mean),
            plot::bar(mean, interval),
            between(interval),
            shy(arm),
            arm.suite.harness_failures
        );
    }
    put!(out, "</tbody></table></div>");
}

/// A column of zeros gives way where the page is narrow.
fn shy(arm: &ArmReport) -> &'static str {
    if arm.suite.harness_failures == 0 { " shy" } else { "" }
}

fn row(out: &mut String, name: &str, task: &TaskReport, shy: &str) {
    let (bar, interval, rate) = match (task.rate, task.interval) {
        (Some(rate), Some(interval)) => (plot::bar(rate, interval), between(interval), percent(rate)),
        _ => ("no episode counts".to_owned(), String::new(), "–".to_owned()),
    };
    let steps = task.mean_steps.map_or_else(|| "–".to_owned(), |steps| format!("{steps:.0}"));
    let words: Vec<&str> = task.warnings.iter().map(|warned| warned.words.as_str()).collect();
    let sign = if words.is_empty() {
        String::new()
    } else {
        format!(r#" <span class="sign" title="{0}" aria-label="{0}" role="img">!</span>"#, escaped(&words.join("; ")))
    };
    put!(
        out,
        r#"<tr><th scope="row">{}{sign}</th><td class="n">{} / {}</td><td class="n">{rate}</td><td>{bar}</td><td class="n shy">{interval}</td><td class="n shy">{steps}</td><td class="n{shy}">{}</td></tr>"#,
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
    put!(
        out,
        r#"<section><h2>Under stress</h2><p class="soft">Mean over tasks with its 95 % interval.</p><div class="sweeps">"#
    );
    for axis in axes {
        let mut points = Vec::new();
        for (policy, arm) in report.run.policies.iter().zip(&report.arms) {
            let (label, value) = match &policy.stress {
                None => base_point(axis),
                Some(label) if label.axis == axis => (label.label.clone(), label.value),
                Some(_) => continue,
            };
            if let (Some(rate), Some(interval)) = (arm.suite.mean, arm.suite.interval) {
                points.push(Point { label, value, rate, interval });
            }
        }
        put!(out, "<figure>{}<figcaption>{}</figcaption></figure>", plot::sweep(axis, &points), escaped(axis));
    }
    put!(out, "</div>");
    for arm in report.arms.iter().skip(1) {
        let told = match (arm.suite.mean, arm.suite.interval) {
            (Some(mean), Some(interval)) => format!("{} ({})", percent(mean), between(interval)),
            _ => "not done".to_owned(),
        };
        put!(out, "<details><summary>{}: {told}</summary>", escaped(&arm.arm));
        table(out, report, arm);
        put!(out, "</details>");
    }
    put!(out, "</section>");
}

/// Where the arm without stress stands on an axis.
fn base_point(axis: &str) -> (String, Option<f64>) {
    match axis {
        "light" => ("1".to_owned(), Some(1.0)),
        "colours_seed" | "paraphrase" | "strategy" | "bundle" => ("base".to_owned(), None),
        _ => ("0".to_owned(), Some(0.0)),
    }
}

/// Inside the page, because it has to be one file.
fn pictures(out: &mut String, report: &Report, dir: &Path) {
    let mut bytes_left = PICTURES_BYTES_MAX;
    let mut figures = String::new();
    for (task, path) in report.run.tasks.iter().filter_map(|task| Some((task, report.pictures.get(task)?))) {
        let Some(picture) = artifacts::picture(dir, path).filter(|picture| picture.len() <= bytes_left) else {
            continue;
        };
        bytes_left -= picture.len();
        put!(
            figures,
            r#"<figure><img alt="{0}" src="data:image/png;base64,{1}"><figcaption>{0}</figcaption></figure>"#,
            escaped(task),
            STANDARD.encode(&picture)
        );
    }
    if !figures.is_empty() {
        put!(out, r#"<section><h2>What the policy sees</h2><div class="pictures">{figures}</div></section>"#);
    }
}

fn time(out: &mut String, report: &Report) {
    let time = &report.time;
    let parts: Vec<(&str, f64)> = time.parts.iter().map(|part| (part.name, part.share)).collect();
    if time.parts.iter().all(|part| part.ms_per_step.is_none()) {
        return;
    }
    put!(out, "<section><h2>Where time went</h2>{}", plot::shares(&parts));
    put!(
        out,
        r#"<div class="wide" tabindex="0" role="region" aria-label="time by part"><table><thead><tr><th>part</th><th class="n">share</th><th class="n">ms per step, median</th><th class="n">p90</th><th class="n">p99</th><th class="n">largest</th></tr></thead><tbody>"#
    );
    for (index, part) in time.parts.iter().enumerate() {
        let Some(ms) = part.ms_per_step else { continue };
        put!(
            out,
            r#"<tr><th scope="row"><i class="key part{index}"></i>{}</th><td class="n">{}</td><td class="n">{:.2}</td><td class="n">{:.2}</td><td class="n">{:.2}</td><td class="n">{:.2}</td></tr>"#,
            escaped(part.name),
            percent(part.share),
            ms.p50,
            ms.p90,
            ms.p99,
            ms.max
        );
    }
    put!(out, "</tbody></table></div>");
    let mut told = vec!["Quantiles over episodes.".to_owned()];
    if let Some(policy) = time.policy_ms_per_look {
        told.push(format!("Policy and runtime {:.1} ms a look (median; p99 {:.1}).", policy.p50, policy.p99));
    }
    if let Some(rate) = time.episodes_per_minute_and_worker {
        told.push(format!("{rate:.1} episodes a minute and worker."));
    }
    put!(out, r#"<p class="soft">{}</p></section>"#, told.join(" "));
}

fn about(out: &mut String, report: &Report) {
    let run = &report.run;
    put!(
        out,
        "<section><h2>To run it again</h2><pre>{}</pre><details><summary>eval.toml</summary><pre>{}</pre></details><dl>",
        escaped(&report.command),
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
    let last = u64::from(run.seed) + u64::from(run.episodes_per_task.saturating_sub(1));
    pair("seeds", &format!("{} to {last}, each of every task", run.seed));
    pair("simulator", &format!("{}, {} steps per second", run.simulator, run.control_hz));
    pair("plan", &run.plan_sha256);
    pair("Egogrid", &run.egogrid_version);
    pair("machine", &run.machine);
    put!(
        out,
        "</dl><p class=\"soft\">Intervals: Wilson for a task; for the mean over tasks Wilson with the effective number of episodes. Harness failures are in no rate. \
         An episode is named by arm, task and seed and is the same each time it runs.</p></section>"
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::{header, record};
    use crate::evaluation::record::{EvalRun, StressLabel};
    use crate::view::Outcome;

    const HOSTILE: &str = "</td><script>alert('x')</script>\"&";

    fn page(run: &EvalRun, command: &str, dir: &Path) -> String {
        html(&Report::of(run, dir, command), dir)
    }

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
        failed.interventions.insert(HOSTILE.to_owned(), 1);
        failed.instruction = HOSTILE.to_owned();
        failed.outcome = Outcome::Harness { reason: HOSTILE.to_owned() };
        let mut other = record(HOSTILE, 1, false);
        other.arm = HOSTILE.to_owned();
        let run = EvalRun { header, episodes: vec![failed, record(HOSTILE, 2, true), other] };
        let page = page(&run, HOSTILE, Path::new("nowhere"));
        assert!(!page.contains("<script") && !page.contains("alert('x')"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("Under stress"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let episodes = (0..4).map(|seed| record("reach", seed, seed != 2)).collect();
        let page =
            page(&EvalRun { header: header("a"), episodes }, "egogrid eval x.toml --out DIR", Path::new("nowhere"));
        for outside in ["http://", "https://", "src=", "<link", "@import", "url(", "href="] {
            assert!(!page.contains(outside), "{outside}");
        }
        for told in ["Not finished", "not solved within 80 steps", "3 / 4", "no episode counts", "Read with care"] {
            assert!(page.contains(told), "{told}");
        }
        let failed = page.find("What failed").unwrap();
        assert!(failed < page.find("<h2>Tasks").unwrap(), "failures first");
    }

    #[test]
    fn pictures_are_in_the_page_and_films_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let png = b"\x89PNG\r\n\x1a\nrest";
        std::fs::create_dir_all(dir.path().join("tasks")).unwrap();
        std::fs::write(dir.path().join(artifacts::picture_of("reach")), png).unwrap();
        std::fs::write(dir.path().join(artifacts::picture_of("push")), "no picture").unwrap();
        let film = artifacts::of_episode("base", "reach", 2, "mp4");
        std::fs::create_dir_all(dir.path().join(&film).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(&film), "x").unwrap();
        let episodes = (0..4).map(|seed| record("reach", seed, seed != 2)).collect();
        let page = page(&EvalRun { header: header("a"), episodes }, "", dir.path());
        assert!(page.contains(&STANDARD.encode(png)) && page.matches("<img").count() == 1);
        assert!(page.contains(&format!(r#"<a href="{film}">video</a>"#)));
    }

    #[test]
    fn a_page_of_many_failures_stays_small() {
        let mut header = header("a");
        header.episodes_per_task = 2000;
        let run = EvalRun { header, episodes: (0..2000).map(|seed| record("reach", seed, false)).collect() };
        let page = page(&run, "", Path::new("nowhere"));
        assert!(
            page.contains("1500 more are in report.json")
                && page.contains("<td class=\"n\">2 000</td>")
                && page.len() < 500_000,
            "{}",
            page.len()
        );
    }
}
