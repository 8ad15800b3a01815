//! `episodes.parquet`: one row per episode, with what was evaluated beside it, for questions that the report does not ask.

use super::record::{EpisodeRecord, EvalRun};
use crate::view::Outcome;
use egogrid_sim_bridge::dataset::{DatasetError, FlatColumn, write_flat};
use std::path::Path;

/// Name of the file in the run's directory.
pub const TABLE_FILE: &str = "episodes.parquet";
/// Key under which the file holds the header as JSON.
const HEADER_KEY: &str = "egogrid.run";

fn reason(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Success | Outcome::Failure => None,
        Outcome::SafetyStop { reason } | Outcome::Harness { reason } => Some(reason.clone()),
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::SafetyStop { .. } => "safety_stop",
        Outcome::Harness { .. } => "harness",
    }
}

/// Columns in the order of a sentence: which episode, how it ended, what it took.
pub fn columns(run: &EvalRun) -> Vec<(&'static str, FlatColumn)> {
    let texts =
        |of: &dyn Fn(&EpisodeRecord) -> Option<String>| FlatColumn::Texts(run.episodes.iter().map(of).collect());
    let integers =
        |of: fn(&EpisodeRecord) -> u32| FlatColumn::Integers(run.episodes.iter().map(of).map(i64::from).collect());
    let numbers = |of: fn(&EpisodeRecord) -> f64| FlatColumn::Numbers(run.episodes.iter().map(of).collect());
    let flags = |of: fn(&EpisodeRecord) -> bool| FlatColumn::Flags(run.episodes.iter().map(of).collect());
    vec![
        ("arm", texts(&|record| Some(record.arm.clone()))),
        ("task", texts(&|record| Some(record.task.clone()))),
        ("seed", integers(|record| record.seed)),
        ("instruction", texts(&|record| Some(record.instruction.clone()))),
        ("outcome", texts(&|record| Some(kind(&record.outcome).to_owned()))),
        ("reason", texts(&|record| reason(&record.outcome))),
        ("counted", flags(EpisodeRecord::is_judged)),
        ("success", flags(EpisodeRecord::is_success)),
        ("steps", integers(|record| record.steps)),
        ("looks", integers(|record| record.looks)),
        ("attempts", integers(|record| record.attempts)),
        ("interventions", texts(&|record| serde_json::to_string(&record.interventions).ok())),
        ("policy_errors", texts(&|record| serde_json::to_string(&record.policy_errors).ok())),
        ("actions_crc32", integers(|record| record.actions_crc32)),
        ("simulator_ms", numbers(|record| record.time.simulator_ms)),
        ("onnx_ms", numbers(|record| record.time.onnx_ms)),
        ("runtime_ms", numbers(|record| record.time.runtime_ms)),
        ("queue_ms", numbers(|record| record.time.queue_ms)),
        ("harness_ms", numbers(|record| record.time.harness_ms)),
        ("wall_s", numbers(|record| record.wall_s)),
    ]
}

/// Writes [`TABLE_FILE`] into `dir`.
///
/// # Errors
/// A file system that refuses.
pub fn write(dir: &Path, run: &EvalRun) -> Result<(), DatasetError> {
    // Texts and numbers: there is always JSON of them.
    let header = serde_json::to_string(&run.header).unwrap_or_default();
    write_flat(&dir.join(TABLE_FILE), (HEADER_KEY, header), &columns(run))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluation::record::tests::{header, record};

    #[test]
    fn every_episode_is_a_row_and_every_number_of_it_a_column() {
        let mut lost = record("reach", 2, false);
        lost.outcome = Outcome::Harness { reason: "it died".to_owned() };
        let run = EvalRun { header: header("a"), episodes: vec![record("reach", 1, true), lost] };
        let columns = columns(&run);
        let of = |wanted: &str| columns.iter().find(|(name, _)| *name == wanted).map(|(_, column)| column).unwrap();
        assert_eq!(of("outcome"), &FlatColumn::Texts(vec![Some("success".to_owned()), Some("harness".to_owned())]));
        assert_eq!(of("reason"), &FlatColumn::Texts(vec![None, Some("it died".to_owned())]));
        assert_eq!(of("counted"), &FlatColumn::Flags(vec![true, false]));
        assert_eq!(of("interventions"), &FlatColumn::Texts(vec![Some("{\"speed\":2}".to_owned()); 2]));
        // What a record says is in the table: a new field has to be there, too.
        let fields = serde_json::to_value(&run.episodes[0]).unwrap();
        for field in fields.as_object().unwrap().keys().filter(|field| *field != "time") {
            assert!(columns.iter().any(|(name, _)| name == field), "{field} is not in the table");
        }
        for field in fields["time"].as_object().unwrap().keys() {
            assert!(columns.iter().any(|(name, _)| name == field), "time.{field} is not in the table");
        }
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &run).unwrap();
        assert!(dir.path().join(TABLE_FILE).metadata().unwrap().len() > 1000);
    }
}
