//! One camera: its pictures and depth images that wait to be joined, and what is wrong with those that do not.

use super::{Arrival, CameraSpec, Condition, Part, SetRules};
use crate::camera::{CameraIntrinsics, DepthImage, Frame, RgbImage, Stamp};
use crate::clock::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// Pictures, and depth images, that wait at most.
const WAITING_MAX: usize = 4;
/// How far two readings of one clock may seem to go back: the two clocks are read one after the other.
const CLOCK_READING_MAX: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Waiting<T> {
    stamp: Stamp,
    exposed: Moment,
    image: T,
}

/// One kind of message of one camera, in the order of exposure.
#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    last: Option<(Stamp, Moment)>,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(WAITING_MAX + 1), last: None }
    }

    /// Rules about order: each message is newer than the one before.
    fn in_order(&self, arrival: &Arrival) -> Result<(), Condition> {
        let camera = arrival.camera;
        match self.last {
            Some((stamp, _)) if stamp == arrival.stamp => {
                Err(Condition::Duplicated { camera, stamp_ns: arrival.stamp.ns })
            }
            Some((_, exposed)) if arrival.exposed.plus(CLOCK_READING_MAX) < exposed => {
                let by_ms = exposed.seconds_since(arrival.exposed) * 1e3;
                Err(Condition::Reordered { camera, by_ms })
            }
            _ => Ok(()),
        }
    }

    /// The one nearest to `anchor`, if it is near enough.
    fn nearest(&self, anchor: Stamp, join_max: Duration) -> Option<usize> {
        let distance = |item: &Waiting<T>| item.stamp.ns.abs_diff(anchor.ns);
        let (index, item) = self.waiting.iter().enumerate().min_by_key(|(_, item)| distance(item))?;
        (u128::from(distance(item)) <= join_max.as_nanos()).then_some(index)
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    color: Queue<RgbImage>,
    depth: Queue<DepthImage>,
    pub(super) intrinsics: Option<CameraIntrinsics>,
    /// Newest message that was used.
    heard: Moment,
    /// Newest pixels, and in how many pictures they came in a row.
    pixels: Option<(RgbImage, u32)>,
}

impl Stream {
    pub(super) fn new(now: Moment) -> Self {
        Self { color: Queue::new(), depth: Queue::new(), intrinsics: None, heard: now, pixels: None }
    }

    pub(super) fn heard(&self) -> Moment {
        self.heard
    }

    /// Stamps and exposures of the pictures that wait, oldest first.
    pub(super) fn stamps(&self) -> impl DoubleEndedIterator<Item = (Stamp, Moment)> {
        self.color.waiting.iter().map(|item| (item.stamp, item.exposed))
    }

    /// Lets one message wait; answers with how many pictures it pushed out that never had a depth.
    pub(super) fn take(&mut self, arrival: Arrival, spec: &CameraSpec, rules: &SetRules) -> Result<u64, Condition> {
        let camera = arrival.camera;
        let found_px = match &arrival.part {
            Part::Color(image) => [image.width_px(), image.height_px()],
            Part::Depth(image) => [image.width_px(), image.height_px()],
        };
        if found_px != spec.size_px {
            return Err(Condition::WrongSize { camera, found_px, expected_px: spec.size_px });
        }
        if arrival.exposed > arrival.now.plus(rules.future_max) {
            let by_ms = arrival.exposed.seconds_since(arrival.now) * 1e3;
            return Err(Condition::FutureStamped { camera, by_ms });
        }
        match &arrival.part {
            Part::Color(_) => self.color.in_order(&arrival)?,
            Part::Depth(_) => self.depth.in_order(&arrival)?,
        }
        let age = arrival.now.since(arrival.exposed).unwrap_or_default();
        if age > rules.age_max {
            let (age_ms, max_ms) = (age.as_secs_f64() * 1e3, rules.age_max.as_secs_f64() * 1e3);
            return Err(Condition::Stale { camera, age_ms, max_ms });
        }
        if let Part::Color(image) = &arrival.part {
            self.judge(camera, image, spec)?;
            self.heard = arrival.now;
        }
        Ok(self.push(arrival, spec.depth, rules.join_max))
    }

    /// Rules about pixels.
    fn judge(&mut self, camera: usize, image: &RgbImage, spec: &CameraSpec) -> Result<(), Condition> {
        let in_a_row = match &self.pixels {
            Some((pixels, in_a_row)) if pixels.data() == image.data() => in_a_row.saturating_add(1),
            _ => 1,
        };
        self.pixels = Some((image.clone(), in_a_row));
        if spec.frozen_frames.is_some_and(|frozen| in_a_row >= frozen) {
            return Err(Condition::Frozen { camera, frames: in_a_row });
        }
        let Some(min) = spec.dark_mean_min else { return Ok(()) };
        let sum: u64 = image.data().iter().map(|value| u64::from(*value)).sum();
        let mean = sum as f64 / image.data().len() as f64;
        if mean < min { Err(Condition::Dark { camera, mean, min }) } else { Ok(()) }
    }

    fn push(&mut self, arrival: Arrival, needs_depth: bool, join_max: Duration) -> u64 {
        let Arrival { part, stamp, exposed, .. } = arrival;
        let last = Some((stamp, exposed));
        match part {
            Part::Color(image) => {
                self.color.last = last;
                self.color.waiting.push_back(Waiting { stamp, exposed, image });
            }
            Part::Depth(image) => {
                self.depth.last = last;
                self.depth.waiting.push_back(Waiting { stamp, exposed, image });
            }
        }
        if self.depth.waiting.len() > WAITING_MAX {
            self.depth.waiting.pop_front();
        }
        let pushed_out = (self.color.waiting.len() > WAITING_MAX).then(|| self.color.waiting.pop_front()).flatten();
        let missed = pushed_out.filter(|item| needs_depth && self.depth.nearest(item.stamp, join_max).is_none());
        u64::from(missed.is_some())
    }

    /// Whether there is a picture for the set of `anchor`, and its depth.
    pub(super) fn has(&self, anchor: Stamp, needs_depth: bool, join_max: Duration) -> bool {
        let Some(index) = self.color.nearest(anchor, join_max) else { return false };
        !needs_depth || self.depth.nearest(self.color.waiting[index].stamp, join_max).is_some()
    }

    /// The frame for the set of `anchor`, when it was exposed, and how many older ones go without ever having had a depth.
    pub(super) fn use_up(
        &mut self,
        anchor: Stamp,
        spec: &CameraSpec,
        join_max: Duration,
    ) -> Option<(Frame, Moment, u64)> {
        let index = self.color.nearest(anchor, join_max)?;
        let missed = |item: &&Waiting<RgbImage>| spec.depth && self.depth.nearest(item.stamp, join_max).is_none();
        let missed = self.color.waiting.iter().take(index).filter(missed).count() as u64;
        self.color.waiting.drain(..index);
        let color = self.color.waiting.front()?;
        let depth = match self.depth.nearest(color.stamp, join_max).filter(|_| spec.depth) {
            Some(index) => {
                self.depth.waiting.drain(..index);
                self.depth.waiting.front()
            }
            None => None,
        };
        let exposed = depth.map_or(color.exposed, |depth| depth.exposed.min(color.exposed));
        let frame = Frame {
            stamp: color.stamp,
            rgb: color.image.clone(),
            depth: depth.map(|depth| depth.image.clone()),
            intrinsics: self.intrinsics,
            base_from_camera: spec.base_from_camera,
        };
        Some((frame, exposed, missed))
    }
}
