//! Sets of pictures: what is joined, what wins, and every reason not to use a picture by its name.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, RgbImage, Stamp};
use egogrid_runtime::clock::Moment;
use egogrid_runtime::observation_set::{Arrival, CameraSpec, Condition, FrameSet, ObservationSets, Part, SetRules};
use std::time::Duration;

const PX: u32 = 4;

/// Milliseconds of the loop's clock.
fn at(ms: f64) -> Moment {
    Moment::from_ns((1e9 + ms * 1e6) as u64)
}

fn camera(name: &str, depth: bool) -> CameraSpec {
    CameraSpec {
        name: name.to_owned(),
        size_px: [PX, PX],
        depth,
        frozen_frames: Some(3),
        dark_mean_min: Some(2.0),
        base_from_camera: None,
    }
}

fn rules(cameras: Vec<CameraSpec>) -> SetRules {
    SetRules {
        cameras,
        join_max: Duration::from_millis(5),
        age_max: Duration::from_millis(100),
        silent_max: Duration::from_millis(200),
        future_max: Duration::from_millis(2),
    }
}

/// Cameras and a world whose calendar clock runs `calendar_ms` ahead of the loop's.
struct Bench {
    sets: ObservationSets,
    calendar_ms: f64,
    pixels: u32,
}

impl Bench {
    fn new(cameras: Vec<CameraSpec>) -> Self {
        Self { sets: ObservationSets::new(rules(cameras), at(0.0)).unwrap(), calendar_ms: 1e9, pixels: 0 }
    }

    fn one() -> Self {
        Self::new(vec![camera("front", false)])
    }

    /// Exposed and arrived at those times; the loop sees the exposure through the calendar clock.
    fn arrive(
        &mut self,
        camera: usize,
        part: Part,
        exposed_ms: f64,
        now_ms: f64,
    ) -> Result<Option<FrameSet>, Condition> {
        let stamp = Stamp { ns: ((exposed_ms + self.calendar_ms) * 1e6) as i64 };
        self.sets.arrive(Arrival { camera, part, stamp, exposed: at(exposed_ms), now: at(now_ms) })
    }

    /// A picture with pixels of its own.
    fn picture(&mut self) -> Part {
        self.pixels += 1;
        picture_of(40 + (self.pixels % 100) as u8)
    }

    fn color(&mut self, camera: usize, exposed_ms: f64) -> Result<Option<FrameSet>, Condition> {
        let picture = self.picture();
        self.arrive(camera, picture, exposed_ms, exposed_ms + 3.0)
    }

    fn depth(&mut self, camera: usize, exposed_ms: f64) -> Result<Option<FrameSet>, Condition> {
        self.arrive(camera, depth_of(PX), exposed_ms, exposed_ms + 4.0)
    }
}

fn picture_of(value: u8) -> Part {
    Part::Color(RgbImage::new(PX, PX, vec![value; (PX * PX * 3) as usize]).unwrap())
}

fn depth_of(px: u32) -> Part {
    Part::Depth(DepthImage::new(px, px, DepthKind::Sensor, vec![0.5; (px * px) as usize]).unwrap())
}

#[test]
fn each_picture_of_a_single_camera_is_a_set_and_its_age_counts_from_exposure() {
    let mut bench = Bench::one();
    for n in 0..5 {
        let set = bench.color(0, f64::from(n) * 33.0).unwrap().unwrap();
        assert_eq!((set.sequence, set.exposed), (n as u64, at(f64::from(n) * 33.0)));
    }
    assert_eq!(bench.sets.sets(), 5);
}

#[test]
fn picture_and_depth_are_joined_in_either_order_within_the_tolerance_and_not_beyond() {
    let mut bench = Bench::new(vec![camera("front", true)]);
    assert!(bench.color(0, 0.0).unwrap().is_none());
    let set = bench.depth(0, 1.0).unwrap().unwrap();
    assert!(set.frames[0].depth.is_some());
    assert!(bench.depth(0, 33.0).unwrap().is_none());
    assert_eq!(bench.color(0, 33.0).unwrap().unwrap().sequence, 1);
    assert!(bench.color(0, 66.0).unwrap().is_none());
    assert!(bench.depth(0, 66.0 + 5.1).unwrap().is_none(), "beyond join_max");
}

#[test]
fn the_newest_complete_set_wins_and_no_older_one_follows() {
    let mut bench = Bench::new(vec![camera("front", true), camera("wrist", false)]);
    for ms in [0.0, 20.0, 40.0] {
        assert!(bench.color(0, ms).unwrap().is_none());
        assert!(bench.color(1, ms + 2.0).unwrap().is_none());
    }
    // The depth of the middle picture comes first, then that of the newest, then that of the oldest.
    let middle = bench.depth(0, 20.0).unwrap().unwrap();
    assert_eq!(middle.exposed, at(20.0), "the oldest exposure of the set");
    assert_eq!(middle.frames[1].stamp.ns - middle.frames[0].stamp.ns, 2_000_000);
    let newest = bench.depth(0, 40.0).unwrap().unwrap();
    assert_eq!((newest.sequence, newest.exposed), (1, at(40.0)));
    assert!(matches!(bench.depth(0, 0.0), Err(Condition::Reordered { .. })));
}

#[test]
fn a_second_camera_that_is_slower_holds_the_pace_of_sets_and_nothing_is_made_up() {
    let mut bench = Bench::new(vec![camera("front", false), camera("wrist", false)]);
    let mut sets = 0;
    for n in 0..30 {
        sets += u32::from(bench.color(0, f64::from(n) * 10.0).unwrap().is_some());
        if n % 3 == 0 {
            sets += u32::from(bench.color(1, f64::from(n) * 10.0 + 1.0).unwrap().is_some());
        }
    }
    assert_eq!(sets, 10);
}

#[test]
fn every_reason_not_to_use_a_picture_has_its_name() {
    let mut bench = Bench::one();
    bench.color(0, 0.0).unwrap();
    let mut refused = Vec::new();
    let mut refuse = |result: Result<Option<FrameSet>, Condition>| {
        let condition = result.unwrap_err();
        refused.push(condition.kind());
        assert!(!condition.to_string().is_empty());
    };
    let fresh = |value| picture_of(value);
    refuse(bench.arrive(0, fresh(60), 0.0, 5.0));
    refuse(bench.arrive(0, fresh(61), -20.0, 6.0));
    refuse(bench.arrive(0, fresh(62), 20.0, 10.0));
    refuse(bench.arrive(0, fresh(63), 20.0, 121.0));
    refuse(bench.arrive(0, fresh(1), 130.0, 131.0));
    let small = Part::Color(RgbImage::new(2, 2, vec![9; 12]).unwrap());
    refuse(bench.arrive(0, small, 140.0, 141.0));
    refuse(bench.arrive(7, fresh(64), 140.0, 141.0));
    assert_eq!(refused, ["duplicated", "reordered", "future_stamped", "stale", "dark", "wrong_size", "unknown_camera"]);
    let counted: Vec<_> = bench.sets.counters().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted.len(), 6, "{counted:?}");
    assert!(bench.color(0, 150.0).unwrap().is_some(), "what was refused leaves no trace");
}

#[test]
fn a_frozen_camera_is_named_at_its_third_picture_and_heals_by_itself() {
    let mut bench = Bench::one();
    for (n, frozen) in [(0, false), (1, false), (2, true), (3, true)] {
        let ms = f64::from(n) * 30.0;
        let result = bench.arrive(0, picture_of(90), ms, ms + 1.0);
        assert_eq!(matches!(result, Err(Condition::Frozen { frames, .. }) if frames == n as u32 + 1), frozen, "{n}");
    }
    assert!(bench.color(0, 200.0).unwrap().is_some());

    let mut still = Bench::new(vec![CameraSpec { frozen_frames: None, dark_mean_min: None, ..camera("front", false) }]);
    for n in 0..10 {
        let ms = f64::from(n) * 30.0;
        assert!(still.arrive(0, picture_of(0), ms, ms).unwrap().is_some(), "a rule that is off is off");
    }
}

#[test]
fn a_picture_whose_depth_never_comes_is_counted_and_memory_stays_bounded() {
    let mut bench = Bench::new(vec![camera("front", true)]);
    for n in 0..100 {
        assert!(bench.color(0, f64::from(n) * 10.0).unwrap().is_none());
    }
    assert_eq!(bench.sets.counters().missing_depth, 96, "all but those that still wait");
    let set = bench.depth(0, 990.0).unwrap().unwrap();
    assert_eq!(set.exposed, at(990.0));
    assert_eq!(bench.sets.counters().missing_depth, 99);
}

#[test]
fn a_lost_camera_is_named_once_it_is_silent_for_too_long() {
    let mut bench = Bench::new(vec![camera("front", false), camera("wrist", false)]);
    assert_eq!(bench.sets.lost(at(200.0)).count(), 0);
    bench.color(0, 100.0).unwrap();
    let lost: Vec<_> = bench.sets.lost(at(250.0)).collect();
    assert!(matches!(lost.as_slice(), [Condition::LostCamera { camera: 1, .. }]), "{lost:?}");
}

#[test]
fn a_calendar_clock_that_is_set_back_costs_no_picture_that_is_stamped_after_it() {
    let mut bench = Bench::new(vec![camera("front", true)]);
    bench.color(0, 0.0).unwrap();
    assert!(bench.depth(0, 0.0).unwrap().is_some());
    bench.calendar_ms -= 3_600_000.0;
    bench.color(0, 33.0).unwrap();
    let set = bench.depth(0, 33.0).unwrap().unwrap();
    assert_eq!(set.exposed, at(33.0));
}

#[test]
fn a_set_carries_the_calibration_that_is_known_when_it_is_made() {
    let mut bench = Bench::one();
    assert_eq!(bench.color(0, 0.0).unwrap().unwrap().frames[0].intrinsics, None);
    let k = CameraIntrinsics::from_matrix([4.0, 0.0, 1.5, 0.0, 4.0, 1.5, 0.0, 0.0, 1.0], [PX, PX]).unwrap();
    bench.sets.calibrate(0, k);
    assert_eq!(bench.color(0, 33.0).unwrap().unwrap().frames[0].intrinsics, Some(k));
    assert!(ObservationSets::new(rules(Vec::new()), at(0.0)).is_err());
}
