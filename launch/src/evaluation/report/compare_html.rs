//! A comparison as one page.

use super::page::{self, between, grouped, percent, points};
use super::plot;
use crate::evaluation::comparison::{Compared, Comparison, Side};
use crate::markup::{escaped, put};

/// More episodes without a partner than this are in the JSON only.
const UNPAIRED_MAX: usize = 200;

/// The page. `again`: the command that makes it.
pub fn html(comparison: &Comparison, again: &str) -> String {
    let mut out = page::opened(
        &format!("{} against {}", named(&comparison.a), named(&comparison.b)),
        "Egogrid comparison",
        "Pairs of the same task and seed. A is the first run, B the second; differences are B − A.",
    );
    match &comparison.suite {
        Some(suite) => {
            put!(out, r#"<section class="cards">"#);
            for (name, rate) in [("A", suite.a), ("B", suite.b)] {
                put!(
                    out,
                    r#"<div class="card"><b>{}</b><span>{name}, mean over tasks<br>95 % interval {}</span></div>"#,
                    percent(rate.rate),
                    between(rate.interval)
                );
            }
            put!(
                out,
                r#"<div class="card"><b>{}</b><span>points, B − A<br>95 % interval {} … {}</span></div>"#,
                points(suite.difference.difference),
                points(suite.difference.interval[0]),
                points(suite.difference.interval[1])
            );
            put!(out, r#"</section><p class="verdict">{}</p>"#, escaped(&suite.verdict));
            if let Some(warning) = &suite.warning {
                put!(out, r#"<p class="note">{}</p>"#, escaped(warning));
            }
        }
        None => put!(
            out,
            r#"<p class="note">A task has no pair, so that there is no mean over tasks: the runs are not finished, or their seeds differ.</p>"#
        ),
    }
    table(&mut out, comparison);
    unpaired(&mut out, comparison);
    put!(out, "<section><h2>What was compared</h2><pre>{}</pre><dl>", escaped(again));
    for (name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        put!(
            out,
            "<dt>{name}</dt><dd>{}, bundle {}, plan {}, Egogrid {}</dd>",
            escaped(&named(side)),
            escaped(&side.bundle_sha256),
            escaped(&side.plan_sha256),
            escaped(&side.egogrid_version)
        );
    }
    put!(
        out,
        "<dt>same actions</dt><dd>{} pairs took exactly the same actions</dd></dl></section>",
        comparison.same_actions
    );
    page::close(&mut out);
    out
}

fn named(side: &Side) -> String {
    let arm = if side.arm == super::BASE { String::new() } else { format!(", {}", side.arm) };
    format!("{} {}{arm}", side.policy, side.precision)
}

fn table(out: &mut String, comparison: &Comparison) {
    let found = comparison.tasks.iter().filter_map(|(_, compared)| compared.as_ref()).chain(&comparison.suite);
    let widest = found.flat_map(|compared| compared.difference.interval).fold(0.05_f64, |far, end| far.max(end.abs()));
    put!(
        out,
        r#"<section><h2>Tasks</h2><div class="wide" tabindex="0" role="region" aria-label="tasks"><table><thead><tr><th>task</th><th class="n">A</th><th class="n">B</th><th>B − A, from {} to {} points</th><th class="n">95 % interval</th><th class="n">only A</th><th class="n">only B</th><th class="n">p</th><th class="n">more pairs</th></tr></thead><tbody>"#,
        points(-widest),
        points(widest)
    );
    for (task, compared) in &comparison.tasks {
        match compared {
            Some(compared) => row(out, task, compared, widest, ""),
            None => put!(out, r#"<tr><th scope="row">{}</th><td colspan="8">no pair</td></tr>"#, escaped(task)),
        }
    }
    if let Some(suite) = &comparison.suite {
        row(out, "mean over tasks", suite, widest, r#" class="suite""#);
    }
    put!(
        out,
        r#"</tbody></table></div><p class="soft">p: McNemar's exact test, two-sided. More pairs: to tell them apart in 8 of 10 such comparisons, if they differ as these pairs do.</p>"#
    );
    if let Some(note) = &comparison.note {
        put!(out, r#"<p class="note">{}</p>"#, escaped(note));
    }
    put!(out, "</section>");
}

fn row(out: &mut String, task: &str, compared: &Compared, widest: f64, class: &str) {
    let Compared { pairs, a, b, difference, p, more_pairs, .. } = compared;
    let p = if *p < 0.0001 { "&lt; 0.0001".to_owned() } else { format!("{p:.4}") };
    put!(
        out,
        r#"<tr{class}><th scope="row">{}</th><td class="n">{}</td><td class="n">{}</td><td>{}</td><td class="n">{} … {}</td><td class="n">{}</td><td class="n">{}</td><td class="n">{p}</td><td class="n">{}</td></tr>"#,
        escaped(task),
        percent(a.rate),
        percent(b.rate),
        plot::difference(difference.difference, difference.interval, widest),
        points(difference.interval[0]),
        points(difference.interval[1]),
        pairs.only_a,
        pairs.only_b,
        more_pairs.map_or_else(|| "–".to_owned(), grouped)
    );
}

fn unpaired(out: &mut String, comparison: &Comparison) {
    let all = &comparison.unpaired;
    if all.is_empty() {
        return;
    }
    put!(out, "<section><details><summary>{} episodes have no partner and are left out</summary><ul>", all.len());
    for episode in all.iter().take(UNPAIRED_MAX) {
        put!(out, "<li>{}, seed {}: {}</li>", escaped(&episode.task), episode.seed, escaped(&episode.why));
    }
    put!(out, "</ul>");
    if all.len() > UNPAIRED_MAX {
        put!(out, "<p>{} more with --json.</p>", all.len() - UNPAIRED_MAX);
    }
    put!(out, "</details></section>");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::comparison::compare;
    use crate::evaluation::record::EvalRun;
    use crate::evaluation::record::tests::{header, record};

    const HOSTILE: &str = "</td><script>alert('x')</script>\"&";

    #[test]
    fn nothing_that_was_compared_becomes_markup() {
        let mut header = header("a");
        header.tasks = vec![HOSTILE.to_owned()];
        (header.simulator, header.egogrid_version, header.plan_sha256) =
            (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
        let policy = &mut header.policies[0];
        (policy.policy, policy.arm, policy.precision, policy.bundle_sha256) =
            (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
        let episode = |seed, success| {
            let mut record = record(HOSTILE, seed, success);
            record.arm = HOSTILE.to_owned();
            record
        };
        let a = EvalRun { header: header.clone(), episodes: (0..5).map(|seed| episode(seed, true)).collect() };
        let b = EvalRun { header, episodes: (1..6).map(|seed| episode(seed, seed > 2)).collect() };
        let page = html(&compare((&a, HOSTILE), (&b, HOSTILE)).unwrap(), HOSTILE);
        assert!(!page.contains("<script") && !page.contains("alert('x')"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("only A ran it"));
    }
}
