//! Everything that is counted and measured while the daemon runs, in one place: `status`, the summary and the metrics say
//! the same because they are made of this.
//!
//! From: the control thread's snapshot, reports of looks, the ears and the sender. To: numbers with names.

use super::sender::SentCounts;
use crate::recording::RecordingState;
use egogrid_runtime::clock::Moment;
use egogrid_runtime::live::{Histogram, Snapshot};
use egogrid_runtime::safety::Intervention;
use egogrid_runtime::stage::Stage;
use egogrid_sim_bridge::endpoint::RefusalKind;
use std::collections::BTreeMap;

/// How the daemon is doing.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// One word: [`MODES`].
    pub(super) mode: &'static str,
    /// Of the policy that looks.
    pub(super) policy_id: String,
    pub(super) snapshot: Snapshot,
    /// Looks without a chunk, by kind.
    pub(super) look_failures: BTreeMap<&'static str, u64>,
    /// Of the ears.
    pub(super) refusals: BTreeMap<RefusalKind, u64>,
    /// Pictures whose depth did not come: not refused on arrival, but never used.
    pub(super) missing_depth: u64,
    /// Sets of pictures put together.
    pub(super) sets: u64,
    pub(super) sent: SentCounts,
    /// Reports of looks that nobody had time to book.
    pub(super) reports_dropped: u64,
    /// Policies that took over, and those that could not.
    pub(super) swaps: u64,
    pub(super) swaps_refused: u64,
    /// From taking an order to its answer.
    pub(super) look: Histogram,
    /// From exposure to the answer.
    pub(super) answer_age: Histogram,
    /// Of looks with a chunk.
    pub(super) outside_onnx: Histogram,
    /// The same by stage.
    pub(super) stages: BTreeMap<Stage, Histogram>,
    /// The newest set's exposure.
    pub(super) exposed: Option<Moment>,
    /// The robot's newest report.
    pub(super) state_measured: Option<Moment>,
    /// The operator's last sign.
    pub(super) operator_seen: Option<Moment>,
    /// On the disk, and not.
    pub(super) recording: RecordingState,
    /// What the disk was too slow for.
    pub(super) recording_dropped: u64,
    /// Cameras that are silent for too long.
    pub(super) cameras_lost: usize,
    /// What the system gave; `None`: not asked for.
    pub(super) priority: Option<bool>,
    pub(super) memory_locked: Option<bool>,
}

/// What `mode` can be.
pub(super) const MODES: [&str; 4] = ["running", "holding", "stopped", "ending"];

/// Counters of one kind: one family of metrics, several counts of `status`.
#[derive(Debug)]
pub(super) struct Family {
    /// As a metric, without `egogrid_` and `_total`.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Names of the labels.
    pub(super) keys: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

#[derive(Debug)]
pub(super) struct Row {
    /// In `status` and in the summary.
    pub(super) name: String,
    /// Values of the labels.
    pub(super) labels: Vec<&'static str>,
    pub(super) count: u64,
}

impl Figures {
    /// Every counter there is, zeros too.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = vec![self.ticks(), self.answers(), self.commands(), self.swapped()];
        families.extend(self.plain());
        families.extend([self.recorded(), self.gate(), self.failed_looks(), self.refused()]);
        families
    }

    /// What was counted at least once, by name.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let rows = self.families().into_iter().flat_map(|family| family.rows);
        rows.filter(|row| row.count > 0).map(|row| (row.name, row.count)).collect()
    }

    fn ticks(&self) -> Family {
        let (told, counters) = (&self.snapshot, &self.snapshot.counters);
        let kinds = [
            ("ticks", "all", told.ticks),
            ("ticks_missed", "missed", told.ticks_missed),
            ("ticks_held", "held", counters.held),
            ("ticks_changed", "changed", counters.changed),
        ];
        let help = "Control ticks: all that ran, left out because their time had passed, answered with a hold, let \
                    through but changed";
        labelled("ticks", help, &["kind"], &kinds)
    }

    fn answers(&self) -> Family {
        let told = &self.snapshot;
        let kinds = [
            ("answers_taken", "taken", told.answers_taken),
            ("answers_late", "late", told.answers_late),
            ("answers_failed", "failed", told.answers_failed),
            ("answers_outdated", "outdated", told.answers_outdated),
        ];
        let help = "Answers of the policy: executed, wholly late, without a chunk, of another episode or instruction";
        labelled("answers", help, &["outcome"], &kinds)
    }

    fn commands(&self) -> Family {
        let SentCounts { sent, failed, skipped } = self.sent;
        let kinds = [
            ("commands_sent", "sent", sent),
            ("commands_failed", "failed", failed),
            ("commands_skipped", "skipped", skipped),
        ];
        let help = "Commands: on the wire, refused by the transport, replaced by a newer one before they left";
        labelled("commands", help, &["outcome"], &kinds)
    }

    fn swapped(&self) -> Family {
        let kinds = [("swaps", "used", self.swaps), ("swaps_refused", "refused", self.swaps_refused)];
        labelled("swaps", "Policies that took over, and that could not", &["outcome"], &kinds)
    }

    fn plain(&self) -> impl Iterator<Item = Family> {
        let told = &self.snapshot;
        [
            ("looks", "Looks ordered", told.looks),
            ("sets", "Sets of pictures put together", self.sets),
            ("episodes", "Episodes begun", u64::from(told.episodes)),
            ("instructions_replaced", "Instructions that replaced another one", u64::from(told.instructions)),
            ("rearms_refused", "Re-arms without an operator", u64::from(told.rearms_refused)),
            ("reports_dropped", "Looks that are in no other figure", self.reports_dropped),
        ]
        .into_iter()
        .map(|(name, help, count)| Family { name, help, keys: &[], rows: vec![row(name, &[], count)] })
    }

    fn recorded(&self) -> Family {
        let (figures, dropped) = (&self.recording.figures, self.recording_dropped);
        let kinds = [
            ("recording_written", "written", figures.written),
            ("recording_lost", "lost", figures.lost),
            ("recording_dropped", "dropped", dropped),
        ];
        let help = "Messages for the recording: on the disk, without room there, more than the disk could take in time";
        labelled("recorded_messages", help, &["outcome"], &kinds)
    }

    fn gate(&self) -> Family {
        let rules = Intervention::KINDS.iter().zip(self.snapshot.counters.by_kind);
        let rows = rules.map(|(rule, count)| row(&format!("gate_{rule}"), &[rule], count)).collect();
        Family {
            name: "gate_interventions",
            help: "What the safety gate held or changed, by rule",
            keys: &["rule"],
            rows,
        }
    }

    fn failed_looks(&self) -> Family {
        let kinds = self.look_failures.iter();
        let rows = kinds.map(|(kind, count)| row(&format!("look_{kind}"), &[kind], *count)).collect();
        Family { name: "look_failures", help: "Looks without a chunk, by reason", keys: &["kind"], rows }
    }

    fn refused(&self) -> Family {
        let mut refusals = self.refusals.clone();
        refusals.insert(("picture", "missing_depth"), self.missing_depth);
        let named = |(source, kind): &RefusalKind| format!("{source}_{kind}");
        let rows = refusals.iter().map(|(kind, count)| row(&named(kind), &[kind.0, kind.1], *count)).collect();
        let help = "What came from outside and was not used, by source and reason";
        Family { name: "refusals", help, keys: &["source", "kind"], rows }
    }
}

fn labelled(
    name: &'static str,
    help: &'static str,
    keys: &'static [&'static str],
    kinds: &[(&str, &'static str, u64)],
) -> Family {
    Family { name, help, keys, rows: kinds.iter().map(|(name, label, count)| row(name, &[label], *count)).collect() }
}

fn row(name: &str, labels: &[&'static str], count: u64) -> Row {
    Row { name: name.to_owned(), labels: labels.to_vec(), count }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use egogrid_sim_bridge::limits::COUNTS_MAX;

    /// What a status must have room for: every reason that there is.
    #[test]
    fn every_counter_has_a_name_of_its_own_and_all_fit_into_a_status() {
        let mut figures = Figures::default();
        let pictures = ["stale", "frozen", "dark", "duplicated", "reordered", "future_stamped", "wrong_size"];
        let unread = ["malformed", "unusable", "too_large"];
        figures.refusals.extend(pictures.map(|kind| (("picture", kind), 1)));
        for source in ["picture", "state", "instruction", "operator", "request"] {
            figures.refusals.extend(unread.map(|kind| ((source, kind), 1)));
        }
        figures.refusals.insert(("request", "policy"), 1);
        let policy = ["missing", "unwanted", "observation", "early_end", "wrong_kind", "shape", "cannot_commit"];
        let more = ["not_a_delta", "execution", "cancelled", "not_finite", "deadline", "superseded"];
        figures.look_failures.extend(policy.iter().chain(&more).map(|kind| (*kind, 1)));
        let rows: Vec<Row> = figures.families().into_iter().flat_map(|family| family.rows).collect();
        let names: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), rows.len());
        assert!(rows.len() <= COUNTS_MAX, "{}", rows.len());
        assert_eq!(figures.counts().len(), 7 + 15 + 1 + 13, "zeros are left out");
        for family in figures.families() {
            assert!(family.rows.iter().all(|row| row.labels.len() == family.keys.len()), "{family:?}");
        }
    }
}
