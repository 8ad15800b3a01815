//! Which action runs in which tick, for every strategy.

#![allow(clippy::unwrap_used)]

mod schedule_support;

use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::policy::PolicySpec;
use egogrid_runtime::schedule::{
    Answered, EnsembleWeights, Planner, ScheduleConfig, StrategyConfig, TOKENS_PER_STEP_MAX,
};
use nalgebra::{UnitQuaternion, Vector3};
use proptest::prelude::*;
use safetensors::SafeTensors;
use schedule_support::{TICK, TOKENS, action, asked, chunk, chunk_of, planner, spec, tick};
use std::path::Path;

fn overlap(steps_between_looks: u16) -> StrategyConfig {
    StrategyConfig::Overlap { steps_between_looks }
}

fn committed(latency_steps_first: u16) -> StrategyConfig {
    StrategyConfig::Committed { steps_between_looks: 1, latency_steps_first }
}

/// A look at tick `n` whose answer arrives `latency` ticks later; what the ticks in between ask for.
fn look(planner: &mut Planner, n: &mut i64, look: u64, len: usize, latency: i64) -> Vec<Option<(u64, u16)>> {
    let exposed = tick(*n);
    planner.schedule.begin_look(exposed, exposed);
    let meanwhile = ticks(planner, n, latency as usize).into_iter().map(|(asked, _)| asked).collect();
    let steps = planner.ready(&chunk(look, len), exposed).unwrap();
    planner.schedule.answer(Some(&steps), tick(*n));
    meanwhile
}

/// `count` ticks: what each asks for, and whether a look is due.
fn ticks(planner: &mut Planner, n: &mut i64, count: usize) -> Vec<(Option<(u64, u16)>, bool)> {
    (0..count)
        .map(|_| {
            let due = planner.schedule.next(tick(*n));
            *n += 1;
            (asked(&due.asked), due.look)
        })
        .collect()
}

#[test]
fn sync_executes_one_action_and_looks() {
    let (mut planner, mut n) = (planner(StrategyConfig::Sync, 4), 0);
    assert_eq!(ticks(&mut planner, &mut n, 1), [(None, true)]);
    assert_eq!(look(&mut planner, &mut n, 1, 4, 3), [None; 3], "nothing is planned while it looks");
    assert_eq!(ticks(&mut planner, &mut n, 2), [(Some((1, 0)), true), (None, true)]);
}

#[test]
fn chunk_executes_the_first_n_and_asks_for_a_look_with_the_last() {
    let (mut planner, mut n) = (planner(StrategyConfig::Chunk { steps_executed: Some(3) }, 4), 0);
    look(&mut planner, &mut n, 1, 4, 0);
    let asked = ticks(&mut planner, &mut n, 4);
    assert_eq!(asked, [(Some((1, 0)), false), (Some((1, 1)), false), (Some((1, 2)), true), (None, true)]);
    planner.schedule.begin_look(tick(n), tick(n));
    planner.schedule.answer(None, tick(n));
    assert_eq!(ticks(&mut planner, &mut n, 1), [(None, true)], "a look that failed leaves nothing, and asks again");
}

#[test]
fn a_missed_tick_is_skipped_and_not_made_up_for() {
    let (mut planner, mut n) = (planner(StrategyConfig::Chunk { steps_executed: Some(4) }, 4), 0);
    look(&mut planner, &mut n, 1, 4, 0);
    ticks(&mut planner, &mut n, 1);
    n += 1;
    assert_eq!(ticks(&mut planner, &mut n, 2), [(Some((1, 2)), false), (Some((1, 3)), true)]);
}

#[test]
fn overlap_skips_what_has_passed_since_the_picture() {
    let (mut planner, mut n) = (planner(overlap(2), 4), 0);
    assert_eq!(look(&mut planner, &mut n, 1, 4, 2), [None, None]);
    assert_eq!(ticks(&mut planner, &mut n, 1), [(Some((1, 2)), true)], "steps 0 and 1 belonged to earlier ticks");
    assert_eq!(look(&mut planner, &mut n, 2, 4, 1), [Some((1, 3))], "it goes on while it looks");
    assert_eq!(ticks(&mut planner, &mut n, 2), [(Some((2, 1)), true), (Some((2, 2)), true)]);
}

#[test]
fn overlap_waits_for_its_steps_between_looks_unless_nothing_is_left() {
    let (mut planner, mut n) = (planner(overlap(3), 4), 0);
    look(&mut planner, &mut n, 1, 4, 0);
    let due: Vec<bool> = ticks(&mut planner, &mut n, 5).into_iter().map(|(_, look)| look).collect();
    assert_eq!(due, [false, false, true, true, true]);
    look(&mut planner, &mut n, 2, 1, 0);
    assert_eq!(ticks(&mut planner, &mut n, 2), [(Some((2, 0)), false), (None, true)]);
}

#[test]
fn a_chunk_that_is_wholly_late_is_said_to_be_and_the_last_one_goes_on_to_its_end() {
    for strategy in [overlap(1), committed(1)] {
        let (mut planner, mut n) = (planner(strategy, 6), 0);
        look(&mut planner, &mut n, 1, 6, 0);
        let exposed = tick(n);
        planner.schedule.begin_look(exposed, exposed);
        let meanwhile = ticks(&mut planner, &mut n, 2);
        assert_eq!(meanwhile, [(Some((1, 0)), false), (Some((1, 1)), false)]);
        let short = planner.ready(&chunk(2, 2), exposed).unwrap();
        assert_eq!(planner.schedule.answer(Some(&short), tick(n)), Answered::Late);
        assert_eq!(ticks(&mut planner, &mut n, 1)[0], (Some((1, 2)), true));
        planner.schedule.begin_look(tick(n), tick(n));
        assert_eq!(planner.schedule.answer(None, tick(n)), Answered::Failed);
        let rest: Vec<_> = ticks(&mut planner, &mut n, 4).into_iter().map(|(asked, _)| asked).collect();
        assert_eq!(rest, [Some((1, 3)), Some((1, 4)), Some((1, 5)), None], "the chunk to its end, then a hold");
    }
}

#[test]
fn committed_gives_the_policy_what_runs_while_it_thinks() {
    let (mut planner, mut n) = (planner(committed(2), 6), 0);
    assert!(planner.schedule.begin_look(tick(n), tick(n)).is_empty(), "the first look has nothing to continue");
    let first = planner.ready(&chunk(1, 6), tick(n)).unwrap();
    n += 1;
    planner.schedule.answer(Some(&first), tick(n)); // this look took one tick
    assert_eq!(ticks(&mut planner, &mut n, 1), [(Some((1, 1)), true)]);
    // Exposed a tick ago, expected to take one tick: what ran then (1), and what runs now (2).
    let prefix = planner.schedule.begin_look(tick(n), tick(n - 1));
    assert_eq!(prefix.steps(), 2);
    assert_eq!(prefix.tokens().iter().map(|token| token.id).collect::<Vec<_>>(), [1010, 1011, 1012, 1020, 1021, 1022]);
    assert_eq!(prefix.tokens()[0].confidence, 0.5 + 3.0 / 100.0, "with the probability that it had");
}

#[test]
fn committed_expects_the_longest_of_the_last_eight_looks() {
    let (mut planner, mut n) = (planner(committed(0), 30), 0);
    look(&mut planner, &mut n, 1, 30, 0);
    let mut lengths = Vec::new();
    for latency in [3, 1, 1, 1, 1, 1, 1, 1, 1, 1] {
        let exposed = tick(n);
        lengths.push(planner.schedule.begin_look(exposed, exposed).steps());
        ticks(&mut planner, &mut n, latency);
        let steps = planner.ready(&chunk(1, 30), exposed).unwrap();
        planner.schedule.answer(Some(&steps), tick(n));
    }
    assert_eq!(lengths, [0, 3, 3, 3, 3, 3, 3, 3, 3, 1]);
}

/// A policy that decides on x = 1, 2, 3, … and is asked to begin with what it is told: the executed sequence never jumps,
/// whatever the latency is, as long as it is expected.
#[test]
fn committed_chunks_continue_each_other_without_a_jump_where_overlap_jumps() {
    let run = |strategy: StrategyConfig, latency: usize| {
        let (mut planner, mut n, mut decided) = (planner(strategy, 8), 0, 0u32);
        let mut executed = Vec::new();
        for _ in 0..12 {
            let exposed = tick(n);
            let begin: Vec<u32> =
                planner.schedule.begin_look(exposed, exposed).tokens().iter().map(|token| token.id).collect();
            // It counts on from the committed steps, or from a place of its own.
            let mut ids = begin.clone();
            let mut next = begin.last().map_or(100 + decided, |last| last + 1);
            while ids.len() < 8 {
                ids.push(next);
                next += 1;
            }
            decided += 50;
            let rows: Vec<[f64; 7]> = ids.iter().map(|id| [f64::from(*id), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).collect();
            let tokens: Vec<(u32, f32)> = ids.iter().map(|id| (*id, 0.9)).collect();
            for _ in 0..latency {
                executed.push(planner.schedule.next(tick(n)).asked);
                n += 1;
            }
            let steps = planner.ready(&chunk_of(1, &rows, &tokens), exposed).unwrap();
            planner.schedule.answer(Some(&steps), tick(n));
            executed.push(planner.schedule.next(tick(n)).asked);
            n += 1;
        }
        let x: Vec<f64> = executed[latency..].iter().map(|asked| action(asked).translation_m()[0]).collect();
        x.windows(2).filter(|pair| pair[1] - pair[0] != 1.0).count()
    };
    for latency in 1..=3 {
        assert_eq!(run(committed(latency as u16), latency), 0, "latency {latency}");
        assert!(run(overlap(1), latency) > 5, "latency {latency}");
    }
}

#[test]
fn committed_leaves_at_least_one_action_to_decide() {
    let mut planner = planner(committed(3), 4);
    let mut look = |begun: i64, taken: i64, len: usize| {
        let steps = planner.schedule.begin_look(tick(begun), tick(begun)).steps();
        let answer = planner.ready(&chunk(1, len), tick(begun)).unwrap();
        planner.schedule.answer(Some(&answer), tick(begun + taken));
        steps
    };
    look(0, 5, 20);
    assert_eq!(look(5, 5, 6), 3, "five are expected, and chunks have four");
    assert_eq!(look(10, 0, 6), 1, "no more than the running chunk has left");
}

#[test]
fn ensembles_equal_the_official_ones() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/simpler/ensembles.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let rows = |name: &str| -> Vec<[f64; 7]> {
        let numbers: Vec<f64> =
            golden.tensor(name).unwrap().data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        numbers.as_chunks().0.to_vec()
    };
    let chunks = rows("chunks");
    let exponential = |temperature| EnsembleWeights::Exponential { temperature };
    let adaptive = |alpha| EnsembleWeights::Adaptive { alpha };
    for (weights, name) in [
        (exponential(0.0), "ensembler_temp0.0"),
        (exponential(-0.8), "ensembler_temp-0.8"),
        (exponential(0.5), "ensembler_temp0.5"),
        (adaptive(0.0), "adaptive_alpha0.0"),
        (adaptive(0.1), "adaptive_alpha0.1"),
        (adaptive(2.0), "adaptive_alpha2.0"),
    ] {
        let mut planner = planner(StrategyConfig::Ensemble { chunks: 4, weights }, 4);
        for (n, (chunk, expected)) in chunks.as_chunks::<4>().0.iter().zip(rows(name)).enumerate() {
            let now = tick(n as i64);
            planner.schedule.begin_look(now, now);
            let steps = planner.ready(&chunk_of(n as u64, chunk, &[(1, 0.9); 4 * TOKENS]), now).unwrap();
            planner.schedule.answer(Some(&steps), now);
            let due = planner.schedule.next(now);
            assert!(due.look, "it looks at every step");
            for (found, expected) in action(&due.asked).values().into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{name}, step {n}: {found} and {expected}");
            }
        }
    }
}

#[test]
fn an_ensemble_says_how_unsure_its_least_sure_chunk_is() {
    let weights = EnsembleWeights::Exponential { temperature: 0.0 };
    let mut planner = planner(StrategyConfig::Ensemble { chunks: 3, weights }, 2);
    for (n, confidence) in [0.4, 0.8].into_iter().enumerate() {
        let now = tick(n as i64);
        planner.schedule.begin_look(now, now);
        let rows = [[0.1 * n as f64, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]; 2];
        let steps = planner.ready(&chunk_of(n as u64, &rows, &[(1, confidence); 2 * TOKENS]), now).unwrap();
        planner.schedule.answer(Some(&steps), now);
    }
    let egogrid_runtime::safety::Asked::Step(_, origin) = planner.schedule.next(tick(1)).asked else { unreachable!() };
    assert_eq!((origin.confidence, origin.sequence), (0.4, 1));
}

#[test]
fn a_new_episode_begins_with_nothing() {
    let weights = EnsembleWeights::Adaptive { alpha: 0.1 };
    let ensemble = StrategyConfig::Ensemble { chunks: 4, weights };
    for strategy in
        [StrategyConfig::Sync, StrategyConfig::Chunk { steps_executed: None }, ensemble, overlap(1), committed(1)]
    {
        let (mut planner, mut n) = (planner(strategy.clone(), 4), 0);
        look(&mut planner, &mut n, 1, 4, 0);
        planner.schedule.begin_look(tick(n), tick(n)); // and its answer will never come
        planner.schedule.reset();
        assert_eq!(ticks(&mut planner, &mut n, 1), [(None, true)], "{strategy:?}");
        assert!(planner.schedule.begin_look(tick(n), tick(n)).is_empty());
    }
}

#[test]
fn an_action_of_several_ticks_is_done_in_equal_parts() {
    let spec = PolicySpec { control_hz: Some(5.0), ..spec(2) };
    let config = ScheduleConfig { step_hz: None, strategy: StrategyConfig::Chunk { steps_executed: Some(2) } };
    let mut planner = config.checked(&spec, ControlRate::new(20.0).unwrap()).unwrap();
    assert_eq!(planner.ticks_per_step(), 4);
    let rows = [[0.04, -0.02, 0.0, 0.3, -0.2, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]];
    planner.schedule.begin_look(tick(0), tick(0));
    let steps = planner.ready(&chunk_of(1, &rows, &[(1, 0.9); 2 * TOKENS]), tick(0)).unwrap();
    planner.schedule.answer(Some(&steps), tick(0));
    let (mut way_m, mut turned, mut grippers, mut looks) =
        (Vector3::zeros(), UnitQuaternion::identity(), vec![], vec![]);
    for n in 0..8 {
        let due = planner.schedule.next(tick(n));
        let part = action(&due.asked);
        let [roll, pitch, yaw] = part.rotation_rad();
        turned = UnitQuaternion::from_euler_angles(roll, pitch, yaw) * turned;
        way_m += Vector3::from(part.translation_m());
        grippers.push(part.gripper());
        looks.push(due.look);
    }
    assert!((way_m - Vector3::new(0.04, -0.02, 0.0)).norm() < 1e-15);
    assert!(turned.angle_to(&UnitQuaternion::from_euler_angles(0.3, -0.2, 0.5)) < 1e-7);
    assert_eq!(grippers, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(looks, [false, false, false, false, false, false, false, true]);
}

#[test]
fn a_chunk_whose_tokens_do_not_belong_to_its_actions_is_refused() {
    let planner = planner(StrategyConfig::Sync, 4);
    let rows = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]; 2];
    for tokens in [0, 1, 5, 2 * TOKENS_PER_STEP_MAX + 2] {
        let error = planner.ready(&chunk_of(1, &rows, &vec![(1, 0.5); tokens]), tick(0)).unwrap_err();
        assert_eq!(error.kind(), "shape", "{tokens} tokens: {error}");
    }
    let mut uneven = chunk_of(1, &rows, &[(1, 0.5); 6]);
    uneven.confidence.pop();
    assert_eq!(planner.ready(&uneven, tick(0)).unwrap_err().kind(), "shape");
    assert_eq!(planner.ready(&chunk_of(1, &[], &[]), tick(0)).unwrap_err().kind(), "shape");
}

#[test]
fn a_schedule_that_does_not_fit_is_refused_with_what_would() {
    let weights = |temperature| EnsembleWeights::Exponential { temperature };
    let refused = [
        (StrategyConfig::Chunk { steps_executed: Some(0) }, "steps_executed is 0"),
        (StrategyConfig::Chunk { steps_executed: Some(5) }, "use 1..=4"),
        (StrategyConfig::Ensemble { chunks: 17, weights: weights(0.0) }, "chunks is 17"),
        (StrategyConfig::Ensemble { chunks: 4, weights: weights(f64::NAN) }, "temperature is NaN"),
        (StrategyConfig::Ensemble { chunks: 4, weights: EnsembleWeights::Adaptive { alpha: 41.0 } }, "alpha is 41"),
        (overlap(0), "steps_between_looks is 0"),
        (committed(4), "use 0..=3"),
    ];
    let rate = ControlRate::new(20.0).unwrap();
    for (strategy, words) in refused {
        let error = ScheduleConfig { step_hz: None, strategy }.checked(&spec(4), rate).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
    let sync = |step_hz| ScheduleConfig { step_hz, strategy: StrategyConfig::Sync };
    for step_hz in [3.0, 40.0, 0.0, -5.0, f64::NAN, 1e-9] {
        assert!(sync(Some(step_hz)).checked(&spec(4), rate).is_err(), "{step_hz}");
    }
    let unknown = PolicySpec { control_hz: None, ..spec(4) };
    assert!(sync(None).checked(&unknown, rate).err().unwrap().to_string().contains("step_hz"));
    assert!(sync(Some(10.0)).checked(&unknown, rate).is_ok());
    let deaf = PolicySpec { commits: false, ..spec(4) };
    let config = ScheduleConfig { step_hz: None, strategy: committed(1) };
    assert!(config.checked(&deaf, rate).err().unwrap().to_string().contains("cannot continue"));
    assert!(sync(None).checked(&spec(65), rate).is_err());
}

#[test]
fn a_file_says_which_strategy_and_nothing_else() {
    let read = |text: &str| serde_json::from_str::<ScheduleConfig>(text);
    let config = read(
        r#"{"strategy": {"kind": "ensemble", "chunks": 4, "weights": {"kind": "exponential", "temperature": -0.8}}}"#,
    );
    let weights = EnsembleWeights::Exponential { temperature: -0.8 };
    assert_eq!(
        config.unwrap(),
        ScheduleConfig { step_hz: None, strategy: StrategyConfig::Ensemble { chunks: 4, weights } }
    );
    assert!(read(r#"{"step_hz": 5, "strategy": {"kind": "sync"}}"#).is_ok());
    for wrong in [
        r#"{"strategy": {"kind": "chunk", "steps": 4}}"#,
        r#"{"strategy": {"kind": "overlap"}}"#,
        r#"{"strategy": {"kind": "guess"}}"#,
        r#"{"strategy": {"kind": "sync"}, "steps_executed": 4}"#,
        r#"{"step_hz": 5}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    /// Ticks that come up to 0.45 of a tick early or late: every action once, in order.
    #[test]
    fn a_tick_that_is_a_little_early_or_late_neither_repeats_nor_skips_an_action(
        late in proptest::collection::vec(-0.45..0.45f64, 20),
        latency in 0i64..3,
        exposed_before in 0.0..0.5f64,
    ) {
        for strategy in [StrategyConfig::Chunk { steps_executed: Some(20) }, overlap(20), committed(1)] {
            let mut planner = planner(strategy.clone(), 30);
            let exposed = tick(10).minus(TICK.mul_f64(exposed_before));
            planner.schedule.begin_look(tick(10), exposed);
            let steps = planner.ready(&chunk(1, 30), exposed).unwrap();
            planner.schedule.answer(Some(&steps), tick(10 + latency));
            let mut indices = Vec::new();
            for (n, late) in late.iter().enumerate() {
                let now = tick(10 + latency + n as i64).minus(TICK).plus(TICK.mul_f64(1.0 + if n == 0 { 0.0 } else { *late }));
                indices.extend(asked(&planner.schedule.next(now).asked).map(|(_, index)| index));
            }
            let first = indices[0];
            let expected: Vec<u16> = (0..20).map(|i| first + i).collect();
            prop_assert_eq!(indices, expected, "{:?}", strategy);
        }
    }
}
