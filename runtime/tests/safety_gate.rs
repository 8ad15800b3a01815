//! Promises of the safety gate, for any input.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::grids::Action;
use egogrid_runtime::observation::EndEffectorState;
use egogrid_runtime::safety::{Gate, GateLimits, Intervention, SafeAction, SafetyConfig, StopReason};
use nalgebra::{Isometry3, Rotation3, Vector3};
use proptest::prelude::*;

const MIN_M: [f64; 3] = [-0.4, 0.3, 0.02];
const MAX_M: [f64; 3] = [0.4, 0.9, 0.5];

fn config() -> SafetyConfig {
    SafetyConfig {
        workspace_min_m: MIN_M,
        workspace_max_m: MAX_M,
        step_m_max: 0.02,
        rotation_rad_max: 0.1,
        policy_failures_max: 3,
    }
}

fn limits() -> GateLimits {
    config().checked().unwrap()
}

fn state_at(position_m: [f64; 3]) -> EndEffectorState {
    EndEffectorState {
        base_from_ee: Isometry3::translation(position_m[0], position_m[1], position_m[2]),
        gripper: 0.5,
        joints_rad: Vec::new(),
    }
}

fn gate_at(position_m: [f64; 3]) -> Gate {
    let mut gate = Gate::new(limits());
    gate.observe(Some(&state_at(position_m)));
    gate
}

fn kinds(safe: &SafeAction) -> Vec<&'static str> {
    safe.interventions().map(Intervention::kind).collect()
}

#[test]
fn an_action_within_every_bound_passes_unchanged() {
    let asked = Action::from_physical([0.004, -0.01, 0.003], [0.01, 0.0, -0.02], 1.0).unwrap();
    let safe = gate_at([0.0, 0.6, 0.2]).check(&asked);
    assert_eq!(*safe.action(), asked);
    assert!(!safe.is_hold());
    assert_eq!(kinds(&safe), Vec::<&str>::new());
}

#[test]
fn a_long_step_is_shortened_in_its_direction_and_says_so() {
    let asked = Action::from_physical([0.3, 0.0, -0.4], [0.0; 3], 0.0).unwrap();
    let safe = gate_at([0.0, 0.6, 0.2]).check(&asked);
    let step = Vector3::from(safe.action().translation_m());
    assert!((step - Vector3::new(0.012, 0.0, -0.016)).norm() < 1e-15, "{step:?}");
    assert_eq!(kinds(&safe), ["step_length"]);
}

#[test]
fn a_target_outside_the_box_is_held_at_its_wall() {
    let asked = Action::from_physical([0.0, 0.0, -0.015], [0.0; 3], 0.0).unwrap();
    let safe = gate_at([0.0, 0.6, 0.03]).check(&asked);
    assert!((safe.action().translation_m()[2] + 0.01).abs() < 1e-15);
    assert_eq!(kinds(&safe), ["workspace"]);
}

#[test]
fn the_steps_of_one_chunk_are_added_up_before_the_wall() {
    let mut gate = gate_at([0.0, 0.6, 0.05]);
    let down = Action::from_physical([0.0, 0.0, -0.02], [0.0; 3], 0.0).unwrap();
    let steps: Vec<f64> = (0..3).map(|_| gate.check(&down).action().translation_m()[2]).collect();
    assert!((steps[0] + 0.02).abs() < 1e-12 && (steps[1] + 0.01).abs() < 1e-12 && steps[2].abs() < 1e-12, "{steps:?}");
}

#[test]
fn a_robot_outside_the_box_may_come_back_but_not_go_further() {
    let mut gate = gate_at([0.0, 0.6, 0.6]);
    let up = Action::from_physical([0.0, 0.0, 0.01], [0.0; 3], 0.0).unwrap();
    let down = Action::from_physical([0.0, 0.0, -0.01], [0.0; 3], 0.0).unwrap();
    assert_eq!(gate.check(&up).action().translation_m()[2], 0.0);
    assert_eq!(gate.check(&down).action().translation_m()[2], -0.01);
}

#[test]
fn without_a_state_the_gate_holds_and_keeps_the_gripper() {
    let mut gate = gate_at([0.0, 0.6, 0.2]);
    let close = Action::from_physical([0.01, 0.0, 0.0], [0.0; 3], 0.0).unwrap();
    gate.check(&close);
    gate.observe(None);
    let safe = gate.check(&close);
    assert!(safe.is_hold());
    assert_eq!(safe.action().values(), [0.0; 7]);
    assert_eq!(kinds(&safe), ["no_state"]);
}

#[test]
fn a_state_that_is_not_finite_is_no_state() {
    let mut gate = gate_at([0.0, f64::NAN, 0.2]);
    let safe = gate.check(&Action::from_physical([0.01, 0.0, 0.0], [0.0; 3], 0.0).unwrap());
    assert!(safe.is_hold());
    assert_eq!(kinds(&safe), ["no_state"]);
}

#[test]
fn the_stop_stays_latched_until_it_is_rearmed() {
    let mut gate = gate_at([0.0, 0.6, 0.2]);
    let asked = Action::from_physical([0.01, 0.0, 0.0], [0.0; 3], 1.0).unwrap();
    gate.stop(StopReason::Operator);
    for _ in 0..5 {
        gate.observe(Some(&state_at([0.0, 0.6, 0.2])));
        let safe = gate.check(&asked);
        assert!(safe.is_hold());
        assert_eq!(kinds(&safe), ["stopped"]);
    }
    gate.rearm();
    assert_eq!(*gate.check(&asked).action(), asked);
}

#[test]
fn each_value_that_is_not_an_action_stops() {
    for dim in 0..7 {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut gate = gate_at([0.0, 0.6, 0.2]);
            let mut values = [0.0; 7];
            values[dim] = value;
            let safe = gate.check_values(values);
            assert!(safe.is_hold() && safe.action().values().iter().all(|value| value.is_finite()));
            assert_eq!(kinds(&safe), ["not_an_action"]);
            assert_eq!(gate.stopped(), Some(StopReason::NotAnAction));
            assert!(gate.check_values([0.0; 7]).is_hold(), "latched");
        }
    }
}

#[test]
fn a_policy_that_keeps_failing_is_stopped() {
    let mut gate = gate_at([0.0, 0.6, 0.2]);
    assert_eq!(kinds(&gate.hold_for_policy()), ["no_action"]);
    assert_eq!(kinds(&gate.hold_for_policy()), ["no_action"]);
    assert_eq!(kinds(&gate.hold_for_policy()), ["stopped"]);
    assert_eq!(gate.stopped(), Some(StopReason::PolicyFailed));
}

#[test]
fn one_good_chunk_forgives_earlier_failures() {
    let mut gate = gate_at([0.0, 0.6, 0.2]);
    let asked = Action::from_physical([0.01, 0.0, 0.0], [0.0; 3], 1.0).unwrap();
    for _ in 0..10 {
        gate.hold_for_policy();
        gate.hold_for_policy();
        assert!(!gate.check(&asked).is_hold());
    }
}

#[test]
fn bounds_that_cannot_be_meant_are_refused() {
    let refused: [fn(&mut SafetyConfig); 6] = [
        |c| c.step_m_max = 0.0,
        |c| c.step_m_max = f64::NAN,
        |c| c.rotation_rad_max = 4.0,
        |c| c.workspace_min_m[1] = 0.9,
        |c| c.workspace_max_m[2] = f64::INFINITY,
        |c| c.policy_failures_max = 0,
    ];
    for (case, change) in refused.into_iter().enumerate() {
        let mut config = config();
        change(&mut config);
        assert!(config.checked().is_err(), "case {case}");
    }
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -0.05..0.05f64,
        2 => -4.0..4.0f64,
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(-f64::MAX), Just(f64::MIN_POSITIVE), Just(-0.0)],
    ]
}

/// One thing that can happen to a gate.
#[derive(Debug, Clone)]
enum Event {
    Values([f64; 7]),
    State([f64; 3]),
    NoState,
    Stop,
    Rearm,
    PolicyFailed,
}

fn any_event() -> impl Strategy<Value = Event> {
    let values = proptest::array::uniform7(any_value()).prop_map(Event::Values);
    let calm = (proptest::array::uniform6(-0.2..0.2f64), 0.0..1.0f64)
        .prop_map(|([a, b, c, d, e, f], g)| Event::Values([a, b, c, d, e, f, g]));
    prop_oneof![
        3 => values,
        6 => calm,
        2 => proptest::array::uniform3(-1.0..1.0f64).prop_map(Event::State),
        1 => proptest::array::uniform3(any_value()).prop_map(Event::State),
        1 => Just(Event::NoState),
        1 => Just(Event::Stop),
        3 => Just(Event::Rearm),
        1 => Just(Event::PolicyFailed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_sequence_of_events_makes_the_output_break_a_bound(events in proptest::collection::vec(any_event(), 1..40)) {
        let mut gate = Gate::new(limits());
        let mut position: Option<Vector3<f64>> = None;
        for event in events {
            let safe = match event {
                Event::Values(values) => gate.check_values(values),
                Event::PolicyFailed => gate.hold_for_policy(),
                Event::State(at) => {
                    gate.observe(Some(&state_at(at)));
                    position = at.iter().all(|value| value.is_finite()).then(|| Vector3::from(at));
                    continue;
                }
                Event::NoState => { gate.observe(None); position = None; continue }
                Event::Stop => { gate.stop(StopReason::Operator); continue }
                Event::Rearm => { gate.rearm(); continue }
            };
            let values = safe.action().values();
            prop_assert!(values.iter().all(|value| value.is_finite()));
            let step = Vector3::from(safe.action().translation_m());
            prop_assert!(step.norm() <= 0.02);
            let [roll, pitch, yaw] = safe.action().rotation_rad();
            prop_assert!(Rotation3::from_euler_angles(roll, pitch, yaw).angle() <= 0.1 + 1e-9);
            prop_assert!((-1e-6..=1.0 + 1e-6).contains(&values[6]));
            if safe.is_hold() {
                prop_assert_eq!(&values[..6], &[0.0; 6]);
                prop_assert!(safe.interventions().next().is_some(), "a hold has a reason");
                continue;
            }
            prop_assert!(gate.stopped().is_none());
            let before = position.unwrap();
            let after = before + step;
            for axis in 0..3 {
                let slack = 1e-12 * before[axis].abs().max(1.0);
                let low = MIN_M[axis].min(before[axis]) - slack;
                let high = MAX_M[axis].max(before[axis]) + slack;
                prop_assert!((low..=high).contains(&after[axis]), "axis {} from {} to {}", axis, before[axis], after[axis]);
            }
            position = Some(after);
        }
    }
}
