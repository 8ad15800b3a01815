//! The control thread's tick, with a clock that the test moves: what it does with answers that are late, missing or of
//! another episode, and with every sign of the operator.

#![allow(clippy::unwrap_used)]

mod live_support;
mod safety_support;
mod schedule_support;

use egogrid_runtime::live::Command;
use egogrid_runtime::safety::{Intervention, StopReason};
use egogrid_runtime::schedule::{EnsembleWeights, StrategyConfig};
use live_support::{Bench, bounds, with_operator};

fn kind(command: &Command) -> Option<&'static str> {
    command.safe.interventions().next().map(Intervention::kind)
}

fn moves(command: &Command) -> bool {
    command.safe.linear_m_s()[0] > 0.0 && !command.safe.is_hold()
}

#[test]
fn a_loop_without_pictures_holds_and_orders_nothing() {
    let mut bench = Bench::overlap();
    bench.alive = false;
    for _ in 0..5 {
        assert_eq!(kind(&bench.step()), Some("nothing_planned"));
        assert!(bench.order().is_none());
    }
}

#[test]
fn a_picture_is_looked_at_once_and_its_answer_is_executed_from_the_next_tick() {
    let mut bench = Bench::overlap();
    assert!(!moves(&bench.step()));
    let order = bench.order().unwrap();
    assert_eq!((order.look, order.set.sequence), (0, 0));
    bench.answer(&order);
    let command = bench.step();
    assert!(moves(&command), "{command:?}");
    assert_eq!(command.origin.map(|origin| (origin.sequence, origin.index)), Some((0, 1)), "the first step is over");
    assert_eq!(bench.order().unwrap().set.sequence, 1);
    bench.alive = false;
    let next = bench.step();
    assert_eq!((next.sequence, command.sequence), (2, 1), "commands are numbered without a gap");
    assert_eq!(bench.snapshot().answers_taken, 1);
}

#[test]
fn only_one_look_is_under_way_and_inference_never_holds_up_a_tick() {
    let mut bench = Bench::overlap();
    bench.step();
    let first = bench.order().unwrap();
    for _ in 0..2 {
        bench.step();
        assert!(bench.order().is_none(), "the first look is not over");
    }
    bench.answer(&first);
    // Three ticks after the picture: one step of the four is left.
    let left = bench.step();
    assert_eq!(left.origin.map(|origin| origin.index), Some(3));
    assert!(moves(&left));
}

#[test]
fn an_answer_that_is_wholly_late_is_counted_and_moves_nothing() {
    let mut bench = Bench::overlap();
    bench.step();
    let order = bench.order().unwrap();
    for _ in 0..5 {
        bench.step();
    }
    bench.answer(&order);
    assert!(!moves(&bench.step()));
    assert_eq!(bench.snapshot().answers_late, 1);
    assert!(bench.order().is_some(), "it looks again");
}

#[test]
fn a_chunk_is_finished_and_then_held_when_the_next_look_gives_none() {
    let mut bench = Bench::overlap();
    bench.step();
    let order = bench.order().unwrap();
    bench.answer(&order);
    bench.step();
    let order = bench.order().unwrap();
    bench.fail(&order, true);
    bench.alive = false;
    assert!(moves(&bench.step()) && moves(&bench.step()), "the chunk goes on");
    assert_eq!(kind(&bench.step()), Some("no_action"), "then it holds, with the reason");
    assert_eq!(bench.snapshot().answers_failed, 1);
}

#[test]
fn a_policy_that_fails_too_often_latches_the_stop_and_pictures_that_were_lost_do_not() {
    for (policy_failed, stopped) in [(true, Some(StopReason::PolicyFailed)), (false, None)] {
        let mut bench = Bench::overlap();
        for _ in 0..4 {
            bench.step();
            let order = bench.order().unwrap();
            bench.fail(&order, policy_failed);
        }
        bench.step();
        assert_eq!(bench.snapshot().stopped, stopped);
    }
}

#[test]
fn a_stop_is_in_the_very_next_command_and_stays_until_it_is_re_armed() {
    let mut bench = Bench::overlap();
    bench.step();
    let order = bench.order().unwrap();
    bench.answer(&order);
    assert!(moves(&bench.step()));
    bench.signs.stop();
    assert_eq!(kind(&bench.step()), Some("stopped"));
    assert_eq!(kind(&bench.step()), Some("stopped"));
    bench.signs.rearm();
    bench.signs.stop();
    assert_eq!(kind(&bench.step()), Some("stopped"), "a stop that comes with a re-arm stays");
    bench.signs.rearm();
    assert_ne!(kind(&bench.step()), Some("stopped"));
}

#[test]
fn an_operator_who_lets_go_stops_the_next_command_and_nobody_re_arms_without_one() {
    let mut bench = Bench::new(StrategyConfig::Overlap { steps_between_looks: 1 }, with_operator());
    assert_eq!(kind(&bench.step()), Some("no_operator"));
    bench.signs.operator(true, live_support::at(bench.tick));
    let order = bench.order().unwrap();
    bench.answer(&order);
    assert!(moves(&bench.step()));
    bench.signs.operator(false, live_support::at(bench.tick));
    assert_eq!(kind(&bench.step()), Some("stopped"));
    assert_eq!(bench.snapshot().stopped, Some(StopReason::DeadMan));
    bench.signs.rearm();
    bench.step();
    assert_eq!((bench.snapshot().rearms_refused, bench.snapshot().stopped), (1, Some(StopReason::DeadMan)));
}

#[test]
fn an_operator_who_falls_silent_is_gone_when_the_last_sign_is_too_old() {
    let mut bench = Bench::new(StrategyConfig::Overlap { steps_between_looks: 1 }, with_operator());
    bench.signs.operator(true, live_support::at(0));
    for n in 0..=2 {
        assert_ne!(kind(&bench.step()), Some("stopped"), "tick {n} is within 120 ms");
    }
    assert_eq!(kind(&bench.step()), Some("stopped"), "150 ms without a sign");
}

#[test]
fn a_new_episode_drops_what_is_planned_and_the_answer_that_is_under_way() {
    let mut bench = Bench::overlap();
    bench.step();
    let old = bench.order().unwrap();
    bench.signs.begin_episode();
    bench.step();
    assert!(bench.order().is_none(), "the newest picture is from before");
    bench.step();
    let new = bench.order().unwrap();
    assert_eq!((new.look, new.episode), (1, 1), "it does not wait for the old look");
    bench.answer(&old);
    assert!(!moves(&bench.step()), "the answer belongs to the old episode");
    bench.answer(&new);
    assert!(moves(&bench.step()));
}

/// Nothing that was planned for the old instruction is executed: not the rest of the chunk, not the answer under way. The
/// arm brakes, and goes on once there is an answer for the new one. Schedules that mix chunks have nothing to mix either.
#[test]
fn another_instruction_drops_what_is_planned_for_the_old_one_and_the_answer_that_is_under_way() {
    let between = 1;
    for strategy in [
        StrategyConfig::Overlap { steps_between_looks: between },
        StrategyConfig::Committed { steps_between_looks: between, latency_steps_first: 1 },
        StrategyConfig::Ensemble { chunks: 4, weights: EnsembleWeights::Exponential { temperature: 0.0 } },
    ] {
        let mut bench = Bench::new(strategy.clone(), bounds());
        bench.step();
        let order = bench.order().unwrap();
        bench.answer(&order);
        assert!(moves(&bench.step()), "{strategy:?}");
        let old = bench.order().unwrap();
        // What the assembler does: the picture that is there says the old instruction, and is not looked at.
        bench.alive = false;
        bench.sets.put(None);
        bench.signs.instructed();
        assert_eq!(kind(&bench.step()), Some("nothing_planned"), "{strategy:?}: three steps of the chunk were left");
        assert!(bench.order().is_none(), "{strategy:?}: no picture with the new instruction yet");
        bench.alive = true;
        bench.answer(&old);
        assert!(!moves(&bench.step()), "{strategy:?}: the answer is to the old instruction");
        let new = bench.order().unwrap();
        assert_eq!(new.committed.tokens().len(), 0, "{strategy:?}: nothing old is the beginning of the new answer");
        bench.answer(&new);
        assert!(moves(&bench.step()), "{strategy:?}");
        let told = bench.snapshot();
        assert_eq!((told.instructions, told.answers_outdated, told.answers_taken, told.episodes), (1, 1, 2, 0));
    }
}

#[test]
fn a_camera_that_goes_silent_stops_the_arm_when_its_last_picture_is_too_old() {
    // Long chunks, so that there is something to execute; the picture may be 120 ms old.
    let stale = egogrid_runtime::safety::SafetyConfig { observation_ms_max: 120.0, ..bounds() };
    let mut bench = Bench::new(StrategyConfig::Chunk { steps_executed: Some(4) }, stale);
    bench.step();
    let order = bench.order().unwrap();
    bench.answer(&order);
    bench.alive = false;
    assert!(moves(&bench.step()) && moves(&bench.step()));
    assert_eq!(kind(&bench.step()), Some("stale_observation"), "160 ms after the exposure");
}

#[test]
fn an_ending_loop_holds_orders_nothing_and_is_over_once_it_stands() {
    let mut bench = Bench::overlap();
    bench.step();
    let order = bench.order().unwrap();
    bench.answer(&order);
    assert!(moves(&bench.step()));
    bench.order();
    bench.signs.end();
    for _ in 0..3 {
        assert!(!bench.control.is_over());
        assert!(!moves(&bench.step()));
        assert!(bench.order().is_none());
    }
    assert!(bench.control.is_over());
}

#[test]
fn ticks_and_their_lateness_are_counted() {
    let mut bench = Bench::overlap();
    for _ in 0..10 {
        bench.step();
    }
    bench.control.missed(2);
    bench.step();
    let told = bench.snapshot();
    assert_eq!((told.ticks, told.ticks_missed, told.lateness.count()), (11, 2, 11));
    assert_eq!(told.lateness.max(), std::time::Duration::from_micros(50));
}
