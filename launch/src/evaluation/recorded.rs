//! Failures with film and recordings: the same episode once more, by `egogrid demo`, which records everything.
//!
//! From: records of failures. To: `.mp4`, `.rrd` and `.mcap` where [`super::artifacts`] says. An episode is the same each time it runs, so recording all of them in case one fails would be waste; that it failed again is
//! checked. Only of `base`: the demo has no stress.

use super::arms::Actor;
use super::artifacts;
use super::plan::{BASE, Plan};
use super::record::EpisodeRecord;
use crate::exit::Failure;
use crate::view::Outcome;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is kept of a demo.
const KEPT: [&str; 3] = ["mp4", "rrd", "mcap"];

/// How an episode of a run is run once more.
#[derive(Debug, Clone)]
pub struct Again {
    dir: PathBuf,
    arguments: Vec<OsString>,
    count_max: usize,
    possible: bool,
}

impl Again {
    pub(super) fn of(plan: &Plan, dir: &Path) -> Self {
        let base = &plan.arms[0];
        let mut arguments: Vec<OsString> = ["demo", "--episodes", "1"].map(OsString::from).into();
        let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        option("--steps-max", plan.steps_max.to_string().into());
        option("--embodiment", plan.embodiment.clone().into());
        let strategy = serde_json::to_value(base.schedule.strategy).ok();
        if let Some(strategy) = strategy.as_ref().and_then(|value| value.as_str()) {
            option("--strategy", strategy.into());
        }
        if let Some(steps) = base.schedule.steps_executed {
            option("--steps-executed", steps.to_string().into());
        }
        if let Actor::Bundle(bundle) = &base.actor {
            option("--bundle", bundle.clone().into());
        }
        // The demo has the one simulator and policies only.
        let possible = matches!(base.actor, Actor::Bundle(_)) && plan.simulator.module == "egogrid_metaworld.worker";
        Self { dir: dir.to_path_buf(), arguments, count_max: plan.run.record_failures as usize, possible }
    }

    /// Runs the first failures once more. `tell` hears which. What could not be recorded is said and is no error: the run is whole without.
    pub fn record(&self, episodes: &[EpisodeRecord], tell: &mut dyn FnMut(&EpisodeRecord)) {
        let failed = episodes.iter().filter(|record| record.arm == BASE && record.is_judged() && !record.is_success());
        for record in failed.take(if self.possible { self.count_max } else { 0 }) {
            if self.dir.join(artifacts::of_episode(BASE, &record.task, record.seed, KEPT[0])).is_file() {
                continue;
            }
            tell(record);
            if let Err(why) = self.one(record) {
                eprintln!("warning: {} with seed {} was not recorded: {why}", record.task, record.seed);
            }
        }
    }

    fn one(&self, record: &EpisodeRecord) -> Result<(), String> {
        let place = |ending: &str| self.dir.join(artifacts::of_episode(BASE, &record.task, record.seed, ending));
        let out = place("part");
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let status = Command::new(program)
            .args(&self.arguments)
            .args(["--tasks", &record.task, "--seed", &record.seed.to_string(), "--out"])
            .arg(&out)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| error.to_string())?;
        // A latched stop is a failure of the episode and an exit code of its own.
        let stopped = matches!(record.outcome, Outcome::SafetyStop { .. });
        if !(status.success() || stopped && status.code() == Some(i32::from(Failure::Safety.code()))) {
            return Err(format!("egogrid demo ended with {status}"));
        }
        let moved =
            KEPT.iter().try_for_each(|ending| std::fs::rename(out.join(format!("demo.{ending}")), place(ending)));
        moved.map_err(|error| error.to_string())?;
        let summary = std::fs::read(out.join("summary.json")).map_err(|error| error.to_string())?;
        let summary: serde_json::Value = serde_json::from_slice(&summary).map_err(|error| error.to_string())?;
        std::fs::remove_dir_all(&out).map_err(|error| error.to_string())?;
        let outcome = &summary["episodes"][0]["outcome"]["kind"];
        if outcome == "success" {
            return Err(
                "it was solved this time; please report this, an episode is the same each time it runs".to_owned()
            );
        }
        Ok(())
    }
}
