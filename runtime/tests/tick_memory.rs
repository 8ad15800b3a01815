//! The control tick takes no memory from the heap, whatever it is asked and whatever it has to say about it.

#![allow(clippy::unwrap_used)]

mod live_support;
mod safety_support;
mod schedule_support;

use allocation_counter::measure;
use egogrid_runtime::clock::Moment;
use egogrid_runtime::safety::{Asked, Gate, Origin, StopReason};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};
use safety_support::random::Random;
use safety_support::{any_config, state};
use std::time::Duration;

#[test]
fn the_counter_counts() {
    assert!(measure(|| drop(std::hint::black_box(vec![1u8; 100]))).count_total == 1);
}

#[test]
fn no_tick_of_the_gate_allocates() {
    let mut random = Random::new(7);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let (config, rate) = any_config(&mut random);
        let mut gate = Gate::new(config.checked().unwrap(), rate).unwrap();
        let mut now = Moment::from_ns(1_000_000_000);
        for tick in 0..600u64 {
            let at = Vector3::new(0.35, 0.6, 0.26) + Vector3::from([0; 3].map(|_| random.signed() * 0.08));
            let turned = UnitQuaternion::from_scaled_axis(Vector3::from([0; 3].map(|_| random.signed() * 0.3)));
            let reported = state(Isometry3::from_parts(at.into(), turned));
            let values =
                [0; 7].map(|_| random.signed() * 0.1).map(|value| if tick % 200 == 150 { f64::NAN } else { value });
            let values = [values[0], values[1], values[2], values[3], values[4], values[5], values[6].abs()];
            let exposed = now.minus(Duration::from_millis(if tick % 40 == 5 { 400 } else { 10 }));
            let confidence = if tick % 30 == 2 { 0.0 } else { 1.0 };
            let origin = Origin { sequence: tick, index: 0, exposed, expires: now.plus(rate.tick()), confidence };
            let late = if tick % 100 == 60 { 9 } else { 1 };
            let mut safe = None;
            let used = measure(|| {
                gate.operator(tick % 300 != 299, now);
                if tick % 3 != 0 {
                    gate.observe(Some(&reported), now);
                }
                if tick % 250 == 120 {
                    gate.stop(StopReason::Operator);
                }
                if tick % 10 == 0 {
                    let _ = gate.rearm(now);
                }
                gate.looked(tick % 17 != 0);
                safe =
                    Some(gate.tick(now, if tick % 23 == 0 { Asked::Nothing } else { Asked::Values(values, origin) }));
            });
            assert_eq!((used.count_total, used.bytes_total), (0, 0), "tick {tick}: {safe:?}");
            kinds.extend(safety_support::kinds(&safe.unwrap()));
            now = now.plus(rate.tick() * late);
        }
    }
    assert!(kinds.len() > 15, "the proof is only as good as what happened: {kinds:?}");
}

#[test]
fn no_method_of_a_schedule_allocates() {
    use egogrid_runtime::schedule::{EnsembleWeights, StrategyConfig};
    use schedule_support::{chunk, planner, tick};

    let weights = EnsembleWeights::Adaptive { alpha: 0.1 };
    for strategy in [
        StrategyConfig::Sync,
        StrategyConfig::Chunk { steps_executed: Some(3) },
        StrategyConfig::Ensemble { chunks: 4, weights },
        StrategyConfig::Overlap { steps_between_looks: 2 },
        StrategyConfig::Committed { steps_between_looks: 2, latency_steps_first: 1 },
    ] {
        let mut planner = planner(strategy.clone(), 8);
        for n in 0..200 {
            let steps = planner.ready(&chunk(n as u64, 8), tick(n)).unwrap();
            let used = measure(|| {
                if planner.schedule.next(tick(n)).look {
                    planner.schedule.begin_look(tick(n), tick(n));
                }
                if n % 3 == 0 {
                    planner.schedule.answer((n % 7 != 0).then_some(&steps), tick(n));
                }
                if n == 150 {
                    planner.schedule.reset();
                }
            });
            assert_eq!(used.count_total, 0, "{strategy:?}, tick {n}");
        }
    }
}

#[test]
fn no_tick_of_the_control_thread_allocates() {
    use egogrid_runtime::schedule::StrategyConfig;

    for strategy in [
        StrategyConfig::Overlap { steps_between_looks: 1 },
        StrategyConfig::Committed { steps_between_looks: 1, latency_steps_first: 1 },
        StrategyConfig::Chunk { steps_executed: Some(2) },
    ] {
        let mut bench = live_support::Bench::new(strategy.clone(), live_support::with_operator());
        let mut moved = 0;
        for n in 0..400u64 {
            bench.world();
            match bench.order() {
                Some(order) if n % 13 == 0 => bench.fail(&order, n % 2 == 0),
                Some(order) => bench.answer(&order),
                None => {}
            }
            bench.signs.operator(n % 100 != 99, live_support::at(bench.tick));
            match n % 50 {
                20 => bench.signs.begin_episode(),
                25 => bench.signs.instructed(),
                30 => bench.signs.stop(),
                31 => bench.signs.rearm(),
                _ => {}
            }
            if n == 395 {
                bench.signs.end();
            }
            let now = live_support::at(bench.tick);
            let used = measure(|| {
                bench.control.tick(now, Duration::from_micros(n));
            });
            bench.tick += 1;
            assert_eq!((used.count_total, used.bytes_total), (0, 0), "{strategy:?}, tick {n}");
            moved += u32::from(bench.commands.newest().unwrap().safe.linear_m_s()[0] > 0.0);
        }
        assert!(
            moved > 30 && bench.control.is_over(),
            "{strategy:?}: the proof is only as good as what happened: {moved}"
        );
    }
}
