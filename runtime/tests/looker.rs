//! The policy's thread: it answers what it was asked, ends at its deadline, and changes policies between episodes.

#![allow(clippy::unwrap_used)]

mod schedule_support;

use egogrid_runtime::camera::{Frame, RgbImage, Stamp};
use egogrid_runtime::clock::Moment;
use egogrid_runtime::live::{
    Answer, Assembler, CancelRun, Deadline, LoadedPolicy, LookOrder, LookReport, Looker, LookerPorts, NewestSet, Shelf,
    Signs, SlotReader, SlotWriter, clock, slot,
};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::observation_set::{Arrival, CameraSpec, ObservationSets, Part, SetRules};
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::schedule::CommittedPrefix;
use egogrid_runtime::stage::Stage;
use schedule_support::{chunk, spec};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A run that can be ended.
#[derive(Default)]
struct Run {
    ended: Mutex<bool>,
    changed: Condvar,
    /// Whether a look waits to be ended.
    hangs: AtomicBool,
}

impl CancelRun for Run {
    fn cancel(&self) {
        *self.ended.lock().unwrap() = true;
        self.changed.notify_all();
    }
    fn clear(&self) {
        *self.ended.lock().unwrap() = false;
    }
}

struct Numbers {
    spec: PolicySpec,
    run: Arc<Run>,
}

impl Policy for Numbers {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }
    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        let mut ended = self.run.ended.lock().unwrap();
        while self.run.hangs.load(Ordering::Relaxed) && !*ended {
            ended = self.run.changed.wait(ended).unwrap();
        }
        if *ended { Err(PolicyError::Cancelled { stage: Stage::Decode }) } else { Ok(chunk(observation.sequence, 4)) }
    }
    fn reset(&mut self) {}
}

/// A policy of numbers whose looks `run` ends.
fn loaded(run: &Arc<Run>, number: u32) -> LoadedPolicy {
    let policy = Box::new(Numbers { spec: spec(4), run: Arc::clone(run) });
    LoadedPolicy { policy, deadline: Deadline::start(Arc::clone(run) as Arc<dyn CancelRun>).unwrap(), number }
}

struct Bench {
    looker: Looker,
    run: Arc<Run>,
    orders: SlotWriter<Option<LookOrder>>,
    answers: SlotReader<Option<Answer>>,
    reports: Receiver<LookReport>,
    swaps: Sender<LoadedPolicy>,
    assembler: Assembler,
    pictures: u8,
}

impl Bench {
    fn new() -> Self {
        let run = Arc::<Run>::default();
        let (orders, order_reader) = slot(None);
        let (answer_writer, answers) = slot(None);
        let (report_sender, reports) = sync_channel(8);
        let (swaps, swap_receiver) = channel();
        let shelf = Shelf::default();
        let camera = CameraSpec {
            name: "front".to_owned(),
            size_px: [1, 1],
            depth: false,
            frozen_frames: None,
            dark_mean_min: None,
            base_from_camera: None,
        };
        let second = Duration::from_secs(1);
        let rules = SetRules {
            cameras: vec![camera],
            join_max: second,
            age_max: second,
            silent_max: second,
            future_max: second,
        };
        let sets = ObservationSets::new(rules, Moment::START).unwrap();
        let (newest, states) = (slot::<Option<NewestSet>>(None).0, slot(None).0);
        let assembler = Assembler::new(sets, Some("go".to_owned()), shelf.clone(), newest, states);
        let ports = LookerPorts {
            orders: order_reader,
            answers: answer_writer,
            shelf,
            signs: Arc::<Signs>::default(),
            reports: report_sender,
            swaps: swap_receiver,
        };
        let looker = Looker::new(loaded(&run, 0), 1, ports);
        Self { looker, run, orders, answers, reports, swaps, assembler, pictures: 0 }
    }

    fn picture(&mut self) {
        let n = u64::from(self.pictures);
        let rgb = RgbImage::new(1, 1, vec![self.pictures; 3]).unwrap();
        let now = Moment::from_ns((n + 1) * 1_000_000);
        let stamp = Stamp { ns: n as i64 * 1_000_000 };
        self.assembler.arrive(Arrival { camera: 0, part: Part::Color(rgb), stamp, exposed: now, now }).unwrap();
        self.pictures += 1;
    }

    fn look(&mut self, look: u64, sequence: u64, deadline: Moment, episode: u32) -> (Answer, LookReport) {
        let set = NewestSet { sequence, exposed: clock::now() };
        self.orders.put(Some(LookOrder { look, set, deadline, committed: CommittedPrefix::default(), episode }));
        assert!(self.looker.look());
        assert!(!self.looker.look(), "an order is followed once");
        (self.answers.take_new().copied().flatten().unwrap(), self.reports.recv().unwrap())
    }
}

fn far() -> Moment {
    clock::now().plus(Duration::from_secs(3600))
}

#[test]
fn the_very_picture_that_was_ordered_is_looked_at() {
    let mut bench = Bench::new();
    (0..3).for_each(|_| bench.picture());
    let (answer, report) = bench.look(7, 1, far(), 0);
    assert_eq!(answer.look, 7);
    assert!(answer.steps.is_some());
    let seen: &Frame = &report.observation.unwrap().frame;
    assert_eq!(seen.rgb.data()[0], 1);
    assert_eq!(report.result.unwrap().sequence, 1);
}

#[test]
fn a_picture_that_is_gone_is_no_failure_of_the_policy() {
    let mut bench = Bench::new();
    (0..6).for_each(|_| bench.picture());
    let (answer, report) = bench.look(0, 0, far(), 0);
    assert!(answer.steps.is_none() && !answer.policy_failed);
    assert_eq!(report.result.unwrap_err().kind(), "superseded");
}

/// The run hangs for ever; only the deadline ends it.
#[test]
fn a_look_ends_at_its_deadline_and_the_next_one_is_whole() {
    let mut bench = Bench::new();
    bench.picture();
    bench.run.hangs.store(true, Ordering::Relaxed);
    let (answer, report) = bench.look(0, 0, clock::now(), 0);
    assert!(answer.steps.is_none() && answer.policy_failed);
    assert_eq!(report.result.unwrap_err().kind(), "deadline");
    bench.run.hangs.store(false, Ordering::Relaxed);
    let (answer, _) = bench.look(1, 0, far(), 0);
    assert!(answer.steps.is_some());
}

#[test]
fn another_policy_takes_over_at_the_next_episode_and_not_before() {
    let mut bench = Bench::new();
    bench.picture();
    for number in [1, 2] {
        bench.swaps.send(loaded(&Arc::default(), number)).unwrap();
    }
    let policies = [0, 0, 1, 1].map(|episode| bench.look(u64::from(episode), 0, far(), episode).1.policy);
    assert_eq!(policies, [0, 0, 2, 2], "the last one that was sent");
}

/// Every policy has a deadline of its own: the old one's would end nothing.
#[test]
fn a_look_of_the_new_policy_ends_at_its_deadline_too() {
    let mut bench = Bench::new();
    bench.picture();
    let run = Arc::<Run>::default();
    run.hangs.store(true, Ordering::Relaxed);
    bench.swaps.send(loaded(&run, 1)).unwrap();
    let (answer, report) = bench.look(0, 0, clock::now(), 1);
    assert!(answer.steps.is_none() && report.policy == 1);
    assert_eq!(report.result.unwrap_err().kind(), "deadline");
    run.hangs.store(false, Ordering::Relaxed);
    assert!(bench.look(1, 0, far(), 1).0.steps.is_some());
}

#[test]
fn an_instruction_is_in_force_from_the_next_picture_on() {
    let mut bench = Bench::new();
    bench.picture();
    bench.assembler.instruct("stop".to_owned());
    bench.picture();
    assert_eq!(bench.look(0, 0, far(), 0).1.observation.unwrap().instruction, "go");
    assert_eq!(bench.look(1, 1, far(), 0).1.observation.unwrap().instruction, "stop");
}

#[test]
fn a_stamp_is_mapped_to_the_loops_clock_by_its_age() {
    let now = Moment::from_ns(5_000);
    let mapped = |stamp| clock::mapped(Stamp { ns: stamp }, now, Stamp { ns: 1_000_000 });
    assert_eq!(mapped(1_000_000), now);
    assert_eq!(mapped(999_000), Moment::from_ns(4_000));
    assert_eq!(mapped(1_001_000), Moment::from_ns(6_000), "a stamp in the future stays in the future");
    assert_eq!(mapped(-1_000_000_000), Moment::START);
}
