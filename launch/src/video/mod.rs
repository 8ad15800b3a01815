//! `demo.mp4`: what the camera saw, with the instruction and the result written below.
//!
//! From: the control loop, as a [`LoopObserver`]. To: raw RGB frames `[height, width, 3]` on the standard input of an
//! ffmpeg binary, which encodes H.264. A thread with a bounded queue does the work: the loop never waits for it.

mod caption;
mod ffmpeg;
mod film;

use crate::background::{self, Background, Ending};
use crate::view::{Outcome, Progress};
use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::tick::{Look, LoopObserver};
use ffmpeg::Ffmpeg;
use film::Film;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use film::{FRAME_HEIGHT_PX, FRAME_WIDTH_PX};

/// Pictures that wait for the encoder.
pub const QUEUE_MAX: usize = 256;
/// Bytes of them: 222 pictures of 224x224, 36 of 640x480.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// How long the result stays on the screen after each episode.
const HOLD_S: f64 = 0.7;

/// What to film, and with what.
#[derive(Debug, Clone)]
pub struct VideoConfig {
    /// The encoder, e.g. the binary that the Python package `imageio-ffmpeg` brings.
    pub ffmpeg: PathBuf,
    /// The file to write; an existing one is replaced.
    pub path: PathBuf,
    /// Looks per second of film.
    pub fps: u32,
    /// Episodes of the whole run, for the caption.
    pub episodes: u32,
}

/// What the film came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filmed {
    /// Pictures that the encoder took: one for each look, one for each result.
    pub pictures: u64,
    /// Pictures that were dropped because the encoder was too slow.
    pub dropped: u64,
}

/// Why there is no film. Never stops the loop.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// The encoder cannot be started.
    #[error("cannot start {ffmpeg}: {detail}; ./launch/demo installs one (Python package imageio-ffmpeg)")]
    Start {
        /// The program.
        ffmpeg: String,
        /// What the system said.
        detail: String,
    },
    /// The encoder gave up.
    #[error("ffmpeg made no film: {detail}; its own words: {words:?}")]
    Failed {
        /// What was seen of it.
        detail: String,
        /// The end of its error output.
        words: String,
    },
    /// The encoder does not end.
    #[error(
        "ffmpeg is stuck: not finished within {waited_ms} ms and stopped; {pictures} pictures were handed to it, \
             {dropped} were dropped; is the disk full?"
    )]
    Stuck {
        /// Bound of the wait.
        waited_ms: u128,
        /// Handed over before.
        pictures: u64,
        /// Dropped.
        dropped: u64,
    },
}

/// One picture for the encoding thread.
#[derive(Debug)]
struct Shot {
    /// `None` shows the last one again.
    picture: Option<RgbImage>,
    progress: Progress,
    frames: u32,
}

/// Films a run. [`LoopObserver::on_look`] hands over and returns; it never waits and never fails.
#[derive(Debug)]
pub struct Mp4Writer {
    thread: Background<Shot, std::io::Result<()>>,
    ffmpeg: Ffmpeg,
    progress: Progress,
    hold_frames: u32,
}

impl Mp4Writer {
    /// Starts the encoder.
    ///
    /// # Errors
    /// [`VideoError::Start`]. Whatever goes wrong later is reported by [`Self::finish`].
    pub fn new(config: VideoConfig) -> Result<Self, VideoError> {
        let VideoConfig { ffmpeg: program, path, fps, episodes } = config;
        let name = program.display().to_string();
        let open = move || {
            let (ffmpeg, frames) = Ffmpeg::start(&program, &path, fps, [FRAME_WIDTH_PX, FRAME_HEIGHT_PX])?;
            Ok((Film::new(frames, episodes), ffmpeg))
        };
        let started = Background::start("egogrid-video", QUEUE_MAX, open, |mut film, shots, pictures| {
            for shot in shots {
                film.show(&shot)?;
                pictures.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let start_error = |error: std::io::Error| VideoError::Start { ffmpeg: name, detail: error.to_string() };
        let (thread, ffmpeg) = started.map_err(start_error)?;
        let hold_frames = (HOLD_S * f64::from(fps)).ceil() as u32;
        Ok(Self { thread, ffmpeg, progress: Progress::default(), hold_frames })
    }

    /// An episode begins.
    pub fn episode_started(&mut self, task: &str, instruction: &str, seed: u32, episode_index: u32) {
        self.progress.begin(crate::view::Episode {
            task: task.to_owned(),
            instruction: instruction.to_owned(),
            seed,
            index: episode_index,
        });
    }

    /// The episode has ended: its result stays for a moment, over `last` or the picture before it.
    pub fn episode_ended(&mut self, outcome: Outcome, last: Option<&Observation>) {
        self.progress.end(outcome);
        let picture = last.map(|observation| observation.frame.rgb.clone());
        let shot = Shot { picture, progress: self.progress.clone(), frames: self.hold_frames };
        self.thread.offer_reserved(shot);
    }

    /// Pictures dropped so far.
    pub fn dropped(&self) -> u64 {
        self.thread.dropped()
    }

    /// Encodes what is queued and closes the file; waits at most `wait_max`, then stops the encoder.
    ///
    /// # Errors
    /// The encoder failed, or is stuck.
    pub fn finish(self, wait_max: Duration) -> Result<Filmed, VideoError> {
        let deadline = Instant::now() + wait_max;
        let Self { thread, ffmpeg, .. } = self;
        let (ending, pictures, dropped) = thread.finish(wait_max);
        let stuck = VideoError::Stuck { waited_ms: wait_max.as_millis(), pictures, dropped };
        if matches!(ending, Ending::Stuck) {
            ffmpeg.kill();
            return Err(stuck);
        }
        let Some((status, words)) = ffmpeg.wait(deadline) else { return Err(stuck) };
        let detail = match ending {
            Ending::Done(Ok(())) if status.success() => return Ok(Filmed { pictures, dropped }),
            Ending::Done(Err(error)) => format!("{status}, after it stopped taking pictures ({error})"),
            Ending::Died => format!("the thread before it panicked, see the message above; {status}"),
            Ending::Done(Ok(())) | Ending::Stuck => status.to_string(),
        };
        Err(VideoError::Failed { detail, words })
    }
}

impl LoopObserver for Mp4Writer {
    fn on_look(&mut self, look: &Look<'_>) {
        self.progress.count_look(look.sent.len());
        let picture = &look.observation.frame.rgb;
        let waiting_max = background::waiting_max(QUEUE_BYTES_MAX, picture.data().len());
        let shot = Shot { picture: Some(picture.clone()), progress: self.progress.clone(), frames: 1 };
        self.thread.offer(shot, waiting_max);
    }
}

#[cfg(test)]
mod tests;
