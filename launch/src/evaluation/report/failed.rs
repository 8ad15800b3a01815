//! What failed, first on the page: what happened how often, with films of some, then every episode.

use super::page::grouped;
use super::{BASE, FailureReport, Report};
use crate::markup::{escaped, put};
use std::collections::BTreeMap;

/// Kinds that are shown without asking.
const KINDS_OPEN: usize = 12;
/// Episodes of a kind that are named in its row.
const SEEDS_SHOWN: usize = 4;
/// More failures than this are in `report.json` only.
const FAILURES_MAX: usize = 500;

/// Failures of one task and arm that went the same way.
struct Kind<'a> {
    first: &'a FailureReport,
    all: Vec<&'a FailureReport>,
}

/// Of `base` first, then the most frequent; what the harness did comes last.
fn kinds(failures: &[FailureReport]) -> Vec<Kind<'_>> {
    let mut kinds: BTreeMap<(&str, &str, &str), Kind<'_>> = BTreeMap::new();
    for failure in failures {
        let name = (failure.arm.as_str(), failure.task.as_str(), failure.why.as_str());
        kinds.entry(name).or_insert_with(|| Kind { first: failure, all: Vec::new() }).all.push(failure);
    }
    let mut kinds: Vec<Kind<'_>> = kinds.into_values().collect();
    kinds.sort_by_key(|kind| (!kind.first.counted, kind.first.arm != BASE, std::cmp::Reverse(kind.all.len())));
    kinds
}

/// The section.
pub(super) fn section(out: &mut String, report: &Report) {
    let all = &report.failures;
    put!(out, "<section><h2>What failed</h2>");
    if all.is_empty() {
        let ran = report.arms.iter().any(|arm| arm.suite.episodes > 0);
        put!(out, "<p>{}</p></section>", if ran { "Nothing." } else { "Nothing was run." });
        return;
    }
    let kinds = kinds(all);
    kind_table(out, &kinds[..kinds.len().min(KINDS_OPEN)]);
    if kinds.len() > KINDS_OPEN {
        put!(out, "<details><summary>{} other kinds</summary>", kinds.len() - KINDS_OPEN);
        kind_table(out, &kinds[KINDS_OPEN..kinds.len().min(FAILURES_MAX)]);
        put!(out, "</details>");
    }
    put!(out, "<details><summary>Every one of the {} episodes</summary>", grouped(all.len() as u64));
    episode_table(out, &all[..all.len().min(FAILURES_MAX)]);
    if all.len() > FAILURES_MAX {
        put!(out, "<p>{} more are in report.json.</p>", all.len() - FAILURES_MAX);
    }
    put!(out, "</details></section>");
}

fn links(failure: &FailureReport) -> String {
    let link = |path: &Option<String>, name: &str| {
        path.as_ref().map(|path| format!(r#"<a href="{}">{name}</a>"#, escaped(path)))
    };
    [link(&failure.video, "video"), link(&failure.rrd, "rerun")].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn kind_table(out: &mut String, kinds: &[Kind<'_>]) {
    put!(
        out,
        r#"<div class="wide" tabindex="0" role="region" aria-label="what failed how often"><table><thead><tr><th>task</th><th class="n">episodes</th><th>why</th><th>seeds</th></tr></thead><tbody>"#
    );
    for Kind { first, all } in kinds {
        let arm = if first.arm == BASE {
            String::new()
        } else {
            format!(r#"<br><span class="soft">{}</span>"#, escaped(&first.arm))
        };
        let mut seeds: Vec<&&FailureReport> = all.iter().collect();
        // Those that can be looked at are more use than those that only have a number.
        seeds.sort_by_key(|failure| (failure.video.is_none() && failure.rrd.is_none(), failure.seed));
        let named = seeds.iter().take(SEEDS_SHOWN).map(|failure| format!("{} {}", failure.seed, links(failure)));
        let named: Vec<String> = named.map(|seed| seed.trim_end().to_owned()).collect();
        let more = if all.len() > SEEDS_SHOWN { ", …" } else { "" };
        put!(
            out,
            r#"<tr><th scope="row">{}{arm}</th><td class="n">{}</td><td class="why">{}</td><td>{}{more}</td></tr>"#,
            escaped(&first.task),
            grouped(all.len() as u64),
            escaped(&first.why),
            named.join(", ")
        );
    }
    put!(out, "</tbody></table></div>");
}

fn episode_table(out: &mut String, failures: &[FailureReport]) {
    put!(
        out,
        r#"<div class="wide" tabindex="0" role="region" aria-label="episodes that failed"><table><thead><tr><th>task</th><th class="n">seed</th><th class="shy">arm</th><th>why</th><th>see</th></tr></thead><tbody>"#
    );
    for failure in failures {
        let counts = |what: &str, counts: &BTreeMap<String, u32>| {
            let told: Vec<String> = counts.iter().map(|(name, count)| format!("{} {count}", escaped(name))).collect();
            if told.is_empty() {
                String::new()
            } else {
                format!(r#"<br><span class="soft">{what}: {}</span>"#, told.join(", "))
            }
        };
        put!(
            out,
            r#"<tr><th scope="row">{}</th><td class="n">{}</td><td class="shy">{}</td><td class="why">{}{}{}</td><td>{}</td></tr>"#,
            escaped(&failure.task),
            failure.seed,
            escaped(&failure.arm),
            escaped(&failure.why),
            counts("no chunk", &failure.policy_errors),
            counts("gate", &failure.interventions),
            links(failure)
        );
    }
    put!(out, "</tbody></table></div>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(arm: &str, task: &str, seed: u32, counted: bool, film: bool) -> FailureReport {
        FailureReport {
            arm: arm.to_owned(),
            task: task.to_owned(),
            seed,
            counted,
            why: if counted { "not solved" } else { "it died" }.to_owned(),
            steps: 9,
            policy_errors: BTreeMap::new(),
            interventions: BTreeMap::new(),
            video: film.then(|| format!("episodes/{seed}.mp4")),
            rrd: None,
        }
    }

    #[test]
    fn the_base_comes_first_the_harness_last_and_films_before_numbers() {
        let mut failures: Vec<FailureReport> =
            (0..7).map(|seed| failure("light=2", "push", seed, true, false)).collect();
        failures.push(failure("base", "reach", 1, false, false));
        failures.extend((0..7).map(|seed| failure("base", "push", seed, true, seed == 6)));
        failures.push(failure("base", "reach", 2, true, false));
        let kinds = kinds(&failures);
        let order: Vec<_> = kinds.iter().map(|kind| (&*kind.first.arm, &*kind.first.task, kind.all.len())).collect();
        assert_eq!(order, [("base", "push", 7), ("base", "reach", 1), ("light=2", "push", 7), ("base", "reach", 1)]);
        let mut out = String::new();
        kind_table(&mut out, &kinds[..1]);
        assert!(out.contains(r#"<td>6 <a href="episodes/6.mp4">video</a>, 0, 1, 2, …</td>"#), "{out}");
    }
}
