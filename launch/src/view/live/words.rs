//! Messages in words: status, decision, run, episode.

use egogrid_runtime::embodiment::{Embodiment, EmbodimentConfig};
use egogrid_sim_bridge::message::{EpisodeMark, PolicyLook, PolicyStatus, RunInfo};
use std::fmt::Write;

/// Counters that stand in the text; all of them are in the plots.
const COUNTS_SHOWN: usize = 14;

/// How the daemon is doing.
pub(super) fn status(status: &PolicyStatus) -> String {
    let instruction = if status.instruction.is_empty() { "no instruction yet" } else { &status.instruction };
    let mut text = format!("## {instruction}\n\n**{}**", mode(status));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n\n{}\n\n{} looks, {} without a chunk; ",
        status.policy_id, status.looks, status.policy_failures
    );
    let _ = write!(text, "{} ticks held, {} changed\n\n", status.actions_held, status.actions_changed);
    let counts: Vec<String> =
        status.counts.iter().take(COUNTS_SHOWN).map(|count| format!("{} {}", count.name, count.count)).collect();
    text.push_str(&counts.join(" · "));
    for remark in &status.remarks {
        let _ = write!(text, "\n\n*{remark}*");
    }
    text
}

/// `holding: no picture`: the detail may begin with the mode.
pub(super) fn mode(status: &PolicyStatus) -> String {
    let PolicyStatus { mode, detail, .. } = status;
    if detail.is_empty() || detail.starts_with(mode.as_str()) {
        if detail.is_empty() { mode.clone() } else { detail.clone() }
    } else {
        format!("{mode}: {detail}")
    }
}

/// What the policy chose, and nearly chose.
/// `slots`: tokens are translation, rotation and gripper, in turn.
pub(super) fn decision(look: &PolicyLook, slots: bool) -> String {
    let mut text = format!(
        "## {}\n\nlook {}, {:.1} ms, {:.1} ms after exposure\n\n| token | id | p | runner-up | p |\n|---|---|---|---|---|\n",
        look.instruction, look.look, look.took_ms, look.age_ms
    );
    for (place, token) in look.tokens.iter().enumerate() {
        let given = if place < look.committed.len() { " (given)" } else { "" };
        let name = match slots {
            true => format!("{} {}", place / 3 + 1, ["translation", "rotation", "gripper"][place % 3]),
            false => place.to_string(),
        };
        let _ = writeln!(
            text,
            "| {name}{given} | {} | {:.3} | {} | {:.3} |",
            token.id, token.confidence, token.runner_up, token.runner_up_confidence
        );
    }
    text
}

/// What runs.
pub(super) fn run(info: &RunInfo<'_>) -> String {
    format!(
        "{}, {}, {}, {} Hz\n\nstatistics {}\n\nbundle {}\n\negogrid {}",
        info.policy_id,
        info.precision,
        info.provider,
        info.control_hz,
        info.stats_key,
        info.bundle_sha256,
        info.version
    )
}

pub(super) fn episode(mark: &EpisodeMark) -> String {
    let task = if mark.task.is_empty() { String::new() } else { format!(" {} with seed {},", mark.task, mark.seed) };
    if mark.outcome.is_empty() {
        return format!("episode {} begins:{task} \"{}\"", mark.episode, mark.instruction);
    }
    format!("episode {} ends:{task} {} {}", mark.episode, mark.outcome, mark.detail)
}

/// The robot, if its file can be read.
pub(super) fn robot(embodiment: &[u8]) -> Option<Embodiment> {
    let config: EmbodimentConfig = toml::from_str(str::from_utf8(embodiment).ok()?).ok()?;
    config.checked().ok()
}
