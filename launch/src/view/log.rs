//! One rerun stream: times, episode state, and which part draws what.
//!
//! From: the recorder's messages. To: the entities that `layout` arranges. Timelines: `look` counts every moment shown,
//! `t` is the frame's stamp, `episode` counts episodes.

use super::event::{Done, Progress, Seen};
use super::{Clock, Event, Output, RecorderConfig, layout, panels::Panels, scene::Scene, tokens::TokenSpace};
use rerun::{RecordingStream, TextLog};
use std::time::Duration;

/// Longest wait for rerun to hand its last bytes to the file or the viewer.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(20);

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error(transparent)]
    Rerun(#[from] rerun::RecordingStreamError),
    #[error(transparent)]
    Flush(#[from] rerun::sink::SinkFlushError),
    #[error("the picture cannot be encoded: {0}")]
    Picture(#[from] image::ImageError),
}

/// Writes to one rerun stream.
pub(super) struct RerunOutput {
    stream: RecordingStream,
    clock: Clock,
    scene: Scene,
    panels: Panels,
    tokens: Option<TokenSpace>,
    layout_sent: bool,
}

impl RerunOutput {
    pub(super) fn boxed(stream: RecordingStream, config: &RecorderConfig) -> Box<dyn Output> {
        Box::new(Self {
            stream,
            clock: config.clock,
            scene: Scene::new(config.points_frame, config.workspace_m),
            panels: Panels::default(),
            tokens: config.tokenizer.clone().map(TokenSpace::new),
            layout_sent: false,
        })
    }

    fn event(&mut self, event: &Event) -> Result<(), LogError> {
        match event {
            Event::Started(progress, index) => {
                // Chunks of one episode only, because `t` begins anew with the next; and its last time is not this one's.
                self.stream.flush_async()?;
                self.stream.reset_time();
                self.episode_time(progress);
                self.stream.set_time_sequence("look", *index);
                self.say("INFO", started_text(progress))
            }
            Event::Look(look) => {
                let (progress, seen, done) = look.as_ref();
                self.moment(progress, seen)?;
                self.look(seen, done)
            }
            Event::Ended(progress, last) => {
                if let Some(seen) = last {
                    self.moment(progress, seen)?;
                    self.scene.clear_plan(&self.stream)?;
                }
                self.panels.progress(&self.stream, progress)?;
                let success = progress.outcome == Some(super::Outcome::Success);
                self.say(if success { "INFO" } else { "WARN" }, ended_text(progress))
            }
        }
    }

    /// What was seen, under its times.
    fn moment(&mut self, progress: &Progress, seen: &Seen) -> Result<(), LogError> {
        self.episode_time(progress);
        self.stream.set_time_sequence("look", seen.index);
        match self.clock {
            Clock::EpisodeStart => self.stream.set_duration_secs("t", seen.frame.stamp.ns as f64 * 1e-9),
            Clock::Unix => self.stream.set_timestamp_nanos_since_epoch("t", seen.frame.stamp.ns),
        }
        if !self.layout_sent {
            self.send_layout(seen)?;
        }
        self.panels.progress(&self.stream, progress)?;
        self.scene.seen(&self.stream, seen, progress.episode.as_ref().map(|episode| episode.index))?;
        self.panels.seen(&self.stream, seen)
    }

    fn look(&mut self, seen: &Seen, done: &Done) -> Result<(), LogError> {
        self.panels.done(&self.stream, done)?;
        self.scene.done(&self.stream, seen, done)?;
        match &done.answer {
            Ok(chunk) => {
                if let Some(tokens) = &self.tokens {
                    tokens.chosen(&self.stream, chunk)?;
                }
            }
            Err(reason) => self.say("ERROR", format!("no chunk: {reason}"))?,
        }
        for (step, action) in done.sent.iter().enumerate() {
            for intervention in action.interventions() {
                self.say("WARN", format!("gate, step {step}: {intervention}"))?;
            }
        }
        Ok(())
    }

    /// The layout depends on what this camera has, so it goes out with the first picture.
    fn send_layout(&mut self, seen: &Seen) -> Result<(), LogError> {
        // Only what is set below: wall clock and log counter would be two more timelines to choose from.
        self.stream.set_log_time_enabled(false);
        self.stream.set_log_tick_enabled(false);
        self.scene.statics(&self.stream)?;
        self.panels.statics(&self.stream)?;
        if let Some(tokens) = &self.tokens {
            tokens.statics(&self.stream)?;
        }
        layout::send(&self.stream, &layout::Content::of(seen, self.tokens.is_some()))?;
        self.layout_sent = true;
        Ok(())
    }

    fn episode_time(&self, progress: &Progress) {
        if let Some(episode) = &progress.episode {
            self.stream.set_time_sequence("episode", i64::from(episode.index));
        }
    }

    fn say(&self, level: &str, text: String) -> Result<(), LogError> {
        Ok(self.stream.log("log", &TextLog::new(text).with_level(level))?)
    }
}

impl Output for RerunOutput {
    fn write(&mut self, event: &Event) -> Result<(), String> {
        self.event(event).map_err(|error| error.to_string())
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        self.stream.flush_with_timeout(FLUSH_WAIT_MAX).map_err(|error| error.to_string())
        // Dropping the stream writes the file's footer.
    }
}

fn started_text(progress: &Progress) -> String {
    progress.episode.as_ref().map_or_else(
        || "an episode begins".to_owned(),
        |episode| {
            format!(
                "episode {}: {} with seed {}, \"{}\"",
                episode.index, episode.task, episode.seed, episode.instruction
            )
        },
    )
}

fn ended_text(progress: &Progress) -> String {
    let outcome = progress.outcome.as_ref().map_or_else(|| "ended".to_owned(), ToString::to_string);
    format!("{outcome} after {} steps; {} of {} so far", progress.steps, progress.successes, progress.judged)
}
