//! Frames of several cameras and their depth, joined by exposure into sets; the newest complete set wins.
//!
//! From: pictures as they arrive, in any order, with the stamp of their exposure. To: [`FrameSet`]s, each newer than the
//! one before, and [`Condition`]s: every picture that is not used has a name for why. Time is an argument; no I/O.
//!
//! Pictures are joined by the stamps that their sources gave them; their age counts on the loop's own monotonic clock,
//! to which the caller has mapped the stamp. So a step of the calendar clock costs the pictures around it, and no more.

mod condition;
mod stream;

pub use condition::{Condition, ConditionCounters};

use crate::camera::{CameraIntrinsics, DepthImage, Frame, RgbImage, Stamp};
use crate::clock::Moment;
use nalgebra::Isometry3;
use std::time::Duration;
use stream::Stream;

/// What is expected of one camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSpec {
    /// As in its keys.
    pub name: String,
    /// `[width, height]` of the picture and, where there is one, of its depth.
    pub size_px: [u32; 2],
    /// Whether every picture needs the depth of the same exposure.
    pub depth: bool,
    /// So many pictures in a row with the same pixels are a frozen camera; `None`: they may be the same.
    pub frozen_frames: Option<u32>,
    /// Smallest mean of all pixel values, 0..255; `None`: it may be dark.
    pub dark_mean_min: Option<f64>,
    /// Pose of its optical axes in the base, where it is known.
    pub base_from_camera: Option<Isometry3<f64>>,
}

/// What is expected of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct SetRules {
    /// The first one gives the pace: there is at most one set for each of its pictures.
    pub cameras: Vec<CameraSpec>,
    /// Largest distance between exposures of one set.
    pub join_max: Duration,
    /// Oldest picture that is taken, exposure to arrival.
    pub age_max: Duration,
    /// A camera that is silent for longer is lost.
    pub silent_max: Duration,
    /// How far in the future a stamp may lie: clocks of two machines are never quite the same.
    pub future_max: Duration,
}

/// A picture, or the depth that belongs to one.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The picture.
    Color(RgbImage),
    /// Its depth.
    Depth(DepthImage),
}

/// One message of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Place in [`SetRules::cameras`].
    pub camera: usize,
    /// What came.
    pub part: Part,
    /// Exposure, on the source's clock.
    pub stamp: Stamp,
    /// The same on the loop's clock.
    pub exposed: Moment,
    /// When it arrived.
    pub now: Moment,
}

/// One picture of every camera.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameSet {
    /// Counts up by one.
    pub sequence: u64,
    /// In the order of [`SetRules::cameras`].
    pub frames: Vec<Frame>,
    /// The oldest exposure in it, on the loop's clock.
    pub exposed: Moment,
}

/// Rules for cameras that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no camera; name at least one")]
pub struct NoCamera;

/// The joiner. Memory is bounded: a few pictures of each camera.
#[derive(Debug)]
pub struct ObservationSets {
    rules: SetRules,
    streams: Vec<Stream>,
    /// Stamp and exposure of the newest set's first picture.
    last: Option<(Stamp, Moment)>,
    next_sequence: u64,
    counters: ConditionCounters,
}

impl ObservationSets {
    /// Waits for the first pictures from `now` on.
    ///
    /// # Errors
    /// No camera.
    pub fn new(rules: SetRules, now: Moment) -> Result<Self, NoCamera> {
        if rules.cameras.is_empty() {
            return Err(NoCamera);
        }
        let streams = rules.cameras.iter().map(|_| Stream::new(now)).collect();
        Ok(Self { rules, streams, last: None, next_sequence: 0, counters: ConditionCounters::default() })
    }

    /// The rules in force.
    pub fn rules(&self) -> &SetRules {
        &self.rules
    }

    /// Intrinsics that a camera has sent; they belong to its pictures from now on.
    pub fn calibrate(&mut self, camera: usize, intrinsics: CameraIntrinsics) {
        if let Some(stream) = self.streams.get_mut(camera) {
            stream.intrinsics = Some(intrinsics);
        }
    }

    /// Takes one message.
    ///
    /// # Errors
    /// Why it is not used. It is counted; the caller has only to tell.
    pub fn arrive(&mut self, arrival: Arrival) -> Result<Option<FrameSet>, Condition> {
        let camera = arrival.camera;
        let (Some(stream), Some(spec)) = (self.streams.get_mut(camera), self.rules.cameras.get(camera)) else {
            return Err(Condition::UnknownCamera { camera });
        };
        match stream.take(arrival, spec, &self.rules) {
            Ok(missed_depth) => self.counters.missing_depth += missed_depth,
            Err(condition) => {
                self.counters.count(&condition);
                return Err(condition);
            }
        }
        Ok(self.join())
    }

    /// Cameras that are silent for too long.
    pub fn lost(&self, now: Moment) -> impl Iterator<Item = Condition> {
        let silent = move |(camera, stream): (usize, &Stream)| {
            let silent_ms = now.since(stream.heard())?.as_secs_f64() * 1e3;
            let max_ms = self.rules.silent_max.as_secs_f64() * 1e3;
            (silent_ms > max_ms).then_some(Condition::LostCamera { camera, silent_ms, max_ms })
        };
        self.streams.iter().enumerate().filter_map(silent)
    }

    /// How often each condition was met.
    pub fn counters(&self) -> &ConditionCounters {
        &self.counters
    }

    /// Sets so far.
    pub fn sets(&self) -> u64 {
        self.next_sequence
    }

    /// The newest complete set that is newer than the last one.
    fn join(&mut self) -> Option<FrameSet> {
        let pace = self.streams.first()?.stamps();
        // By exposure and not by stamp: a stepped calendar clock must not stop us for as long as it went back.
        let newer =
            |(stamp, exposed): &(Stamp, Moment)| self.last.is_none_or(|last| *stamp != last.0 && *exposed > last.1);
        let (anchor, seen_first) = pace.rev().take_while(newer).find(|(stamp, _)| self.is_complete(*stamp))?;
        let mut exposed = None::<Moment>;
        let mut frames = Vec::with_capacity(self.streams.len());
        for (stream, spec) in self.streams.iter_mut().zip(&self.rules.cameras) {
            let (frame, seen, missed) = stream.use_up(anchor, spec, self.rules.join_max)?;
            self.counters.missing_depth += missed;
            exposed = Some(exposed.map_or(seen, |oldest| oldest.min(seen)));
            frames.push(frame);
        }
        self.last = Some((anchor, seen_first));
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Some(FrameSet { sequence, frames, exposed: exposed? })
    }

    fn is_complete(&self, anchor: Stamp) -> bool {
        let mut streams = self.streams.iter().zip(&self.rules.cameras);
        streams.all(|(stream, spec)| stream.has(anchor, spec.depth, self.rules.join_max))
    }
}
