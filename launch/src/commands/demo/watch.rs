//! Everything that looks at the demo while it runs: progress bar, rerun recording, video. None of it may slow the loop.

use super::Pipeline;
use super::episode::EpisodeResult;
use super::summary::Summary;
use crate::assemble;
use crate::cli::{Common, DemoArgs};
use crate::exit::{CommandError, CommandResult};
use crate::lockstep::LockstepPlan;
use crate::recording::LookRecordingConfig;
use crate::video::{Mp4Writer, VideoConfig};
use crate::view::{Clock, Outcome, PointsFrame, Recorder, RecorderConfig};
use egogrid_policies::bundle::Bundle;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::tick::{Look, LoopObserver};
use egogrid_sim_bridge::convert::PolicyLabel;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the recorders may take to write what is still queued.
const FINISH_MAX: Duration = Duration::from_secs(60);
/// Looks per second of film: about real time for a chunk of four steps at 80 Hz.
const FILM_FPS: u32 = 20;

/// What an episode is about.
pub(super) struct EpisodeStart<'a> {
    pub(super) task: &'a str,
    pub(super) instruction: &'a str,
    pub(super) seed: u32,
    pub(super) index: u32,
}

/// What became of the recording.
#[derive(Debug, Serialize)]
pub(super) struct RecordingReport {
    files: Vec<String>,
    looks_recorded: u64,
    looks_dropped: u64,
    pictures_dropped: u64,
    errors: Vec<String>,
}

impl RecordingReport {
    pub(super) fn print(&self) {
        println!("recorded: {}", self.files.join(", "));
        if self.looks_dropped + self.pictures_dropped > 0 {
            println!(
                "          dropped to keep the loop on time: {} looks, {} pictures",
                self.looks_dropped, self.pictures_dropped
            );
        }
        for error in &self.errors {
            println!("          not whole: {error}");
        }
    }
}

/// The watchers.
pub(super) struct Watch {
    bar: ProgressBar,
    successes: u32,
    judged: u32,
    recording: Option<(Recorder, Mp4Writer)>,
    files: Vec<String>,
}

impl Watch {
    pub(super) fn start(common: &Common, args: &DemoArgs, bundle: &Bundle, pipeline: &Pipeline) -> CommandResult<Self> {
        let episodes = args.tasks.len() as u64 * u64::from(args.episodes);
        let bar = ProgressBar::with_draw_target(Some(episodes), ProgressDrawTarget::stderr_with_hz(5))
            .with_style(assemble::style("{bar:30} {pos}/{len} episodes  {msg}  {elapsed} (left {eta})"));
        let mut watch = Self { bar, successes: 0, judged: 0, recording: None, files: Vec::new() };
        if args.no_recording {
            return Ok(watch);
        }
        let [rrd, mcap, mp4] = ["demo.rrd", "demo.mcap", "demo.mp4"].map(|file| args.out.join(file));
        let spec = pipeline.policy.spec();
        let recorder = Recorder::new(RecorderConfig {
            rrd: Some(rrd.clone()),
            mcap: Some(about_run(common, args, bundle, pipeline, mcap.clone())?),
            connect: args.connect.clone(),
            // A family without grids has no cells to show.
            tokenizer: bundle.action_tokenizer().ok().map(|tokenizer| Arc::new(tokenizer.clone())),
            points_frame: if spec.needs_extrinsics { PointsFrame::Base } else { PointsFrame::Camera },
            clock: Clock::EpisodeStart,
            workspace_m: Some(pipeline.gate.limits().workspace_m()),
        });
        let recorder = recorder.map_err(CommandError::usage)?;
        let episodes = u32::try_from(episodes).unwrap_or(u32::MAX);
        let config = VideoConfig {
            ffmpeg: crate::commands::dataset::ffmpeg_path(common)?,
            path: mp4.clone(),
            fps: FILM_FPS,
            episodes,
        };
        watch.recording = Some((recorder, Mp4Writer::new(config).map_err(CommandError::missing)?));
        watch.files = [rrd, mcap, mp4].map(|file| file.display().to_string()).into();
        Ok(watch)
    }

    pub(super) fn episode_started(&mut self, start: &EpisodeStart<'_>) {
        self.bar.set_message(format!("{} of {} succeeded, now: {}", self.successes, self.judged, start.instruction));
        if let Some((recorder, film)) = &mut self.recording {
            recorder.episode_started(start.task, start.instruction, start.seed, start.index);
            film.episode_started(start.task, start.instruction, start.seed, start.index);
        }
    }

    pub(super) fn episode_ended(&mut self, result: &EpisodeResult, last: Option<&Observation>) {
        self.judged += u32::from(!matches!(result.outcome, Outcome::Harness { .. }));
        self.successes += u32::from(result.outcome == Outcome::Success);
        self.bar.inc(1);
        if let Some((recorder, film)) = &mut self.recording {
            recorder.episode_ended(result.outcome.clone(), last);
            film.episode_ended(result.outcome.clone(), last);
        }
    }

    /// Waits for what is queued, for a bounded time. A recording that failed is reported, not fatal.
    pub(super) fn finish(self) -> Option<RecordingReport> {
        self.bar.finish_and_clear();
        let (recorder, film) = self.recording?;
        let mut report = RecordingReport {
            files: self.files,
            looks_recorded: 0,
            looks_dropped: 0,
            pictures_dropped: 0,
            errors: Vec::new(),
        };
        match recorder.finish(FINISH_MAX) {
            Ok(finished) => {
                (report.looks_recorded, report.looks_dropped) = (finished.looks_recorded, finished.looks_dropped)
            }
            Err(error) => report.errors.push(error.to_string()),
        }
        match film.finish(FINISH_MAX) {
            Ok(filmed) => report.pictures_dropped = filmed.dropped,
            Err(error) => report.errors.push(error.to_string()),
        }
        Some(report)
    }
}

/// What the recording says about the run, so that it can be replayed.
fn about_run(
    common: &Common,
    args: &DemoArgs,
    bundle: &Bundle,
    pipeline: &Pipeline,
    path: PathBuf,
) -> CommandResult<LookRecordingConfig> {
    let embodiment = assemble::embodiment_path(common, args.embodiment.as_deref())?;
    Ok(LookRecordingConfig {
        path,
        robot: pipeline.robot.clone(),
        label: PolicyLabel {
            policy_id: bundle.id(),
            bundle_sha256: bundle.digest().to_owned(),
            stats_key: pipeline.stats_key.clone(),
        },
        precision: bundle.manifest().precision.to_string(),
        provider: assemble::provider(common)?.to_string(),
        rate: pipeline.gate.rate(),
        points_in_base: assemble::points_in_base(bundle),
        deployment: toml::to_string(&LockstepPlan::from(args)).map_err(CommandError::usage)?,
        embodiment: assemble::small_text(&embodiment)?,
    })
}

/// The loop's observer: books the figures and passes the look on.
pub(super) struct Watched<'a> {
    pub(super) watch: &'a mut Watch,
    pub(super) summary: &'a mut Summary,
}

impl LoopObserver for Watched<'_> {
    fn on_look(&mut self, look: &Look<'_>) {
        self.summary.look(look);
        if let Some((recorder, film)) = &mut self.watch.recording {
            recorder.on_look(look);
            film.on_look(look);
        }
        self.watch.bar.tick();
    }
}
