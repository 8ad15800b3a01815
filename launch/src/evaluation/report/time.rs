//! Where the time of the episodes went, by part.

use crate::evaluation::record::{EpisodeRecord, EpisodeTime};
use crate::statistics::Quantiles;
use serde::Serialize;

/// Milliseconds of one part.
type PartOf = fn(&EpisodeTime) -> f64;

/// In the order in which they are drawn.
const PARTS: [(&str, PartOf); 5] = [
    ("simulator", |time| time.simulator_ms),
    ("onnx", |time| time.onnx_ms),
    ("runtime", |time| time.runtime_ms),
    ("queue", |time| time.queue_ms),
    ("harness", |time| time.harness_ms),
];

/// One part of the time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartReport {
    /// Which.
    pub name: &'static str,
    /// Of the time of all episodes; the shares add up to 1.
    pub share: f64,
    /// Milliseconds per executed step; one value for each episode.
    pub ms_per_step: Option<Quantiles>,
}

/// Over all episodes that count.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TimeReport {
    /// Simulator with rendering and wire, ONNX Runtime, the policy's and the loop's own work, waiting for other workers, the harness.
    pub parts: Vec<PartReport>,
    /// Policy and runtime, per look.
    pub policy_ms_per_look: Option<Quantiles>,
    /// Of one worker: from the time that its episodes took.
    pub episodes_per_minute_and_worker: Option<f64>,
    /// Steps of the episodes that were solved.
    pub steps_of_successes: Option<Quantiles>,
}

impl TimeReport {
    pub(super) fn of(episodes: &[EpisodeRecord]) -> Self {
        let judged: Vec<&EpisodeRecord> = episodes.iter().filter(|record| record.is_judged()).collect();
        let quantiles = |of: &dyn Fn(&EpisodeRecord) -> f64| {
            Quantiles::of(&judged.iter().map(|record| of(record)).collect::<Vec<f64>>())
        };
        let spent = |of: fn(&EpisodeTime) -> f64| judged.iter().map(|record| of(&record.time)).sum::<f64>();
        let all: f64 = PARTS.iter().map(|(_, of)| spent(*of)).sum();
        let part = |(name, of): (&'static str, fn(&EpisodeTime) -> f64)| PartReport {
            name,
            share: if all > 0.0 { spent(of) / all } else { 0.0 },
            ms_per_step: quantiles(&|record| of(&record.time) / f64::from(record.steps.max(1))),
        };
        let wall_s: f64 = judged.iter().map(|record| record.wall_s).sum();
        let solved = judged.iter().filter(|record| record.is_success());
        Self {
            parts: PARTS.into_iter().map(part).collect(),
            policy_ms_per_look: quantiles(&|record| {
                (record.time.onnx_ms + record.time.runtime_ms) / f64::from(record.looks.max(1))
            }),
            episodes_per_minute_and_worker: (wall_s > 0.0).then(|| 60.0 * judged.len() as f64 / wall_s),
            steps_of_successes: Quantiles::of(&solved.map(|record| f64::from(record.steps)).collect::<Vec<f64>>()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::record;
    use crate::view::Outcome;

    #[test]
    fn shares_add_up_and_harness_failures_take_no_time() {
        let mut lost = record("reach", 9, false);
        lost.outcome = Outcome::Harness { reason: "it died".to_owned() };
        lost.time.simulator_ms = 1e9;
        let time = TimeReport::of(&[record("reach", 1, true), record("reach", 2, false), lost]);
        assert!((time.parts.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-12);
        let simulator = &time.parts[0];
        assert_eq!(simulator.ms_per_step.unwrap().p50, 300.0 / 80.0);
        assert!((simulator.share - 300.0 / 372.0).abs() < 1e-12);
        assert_eq!((time.policy_ms_per_look.unwrap().p50, time.steps_of_successes.unwrap().n), (3.5, 1));
        assert_eq!(TimeReport::of(&[]).steps_of_successes, None);
    }
}
