//! Promises of the safety gate, rule by rule: what passes, what is changed, what is said about it.

#![allow(clippy::unwrap_used)]

mod safety_support;

use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::grids::Action;
use egogrid_runtime::observation::EndEffectorState;
use egogrid_runtime::safety::{
    Asked, Bound, ConeConfig, Gate, Intervention, Origin, RearmRefused, SafeAction, SafetyConfig, StopReason,
};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};
use safety_support::{kinds, state, teleported};
use std::time::Duration;

/// A gate at 100 Hz and its clock. Reports the pose before every tick unless told not to.
struct Bench {
    gate: Gate,
    now: Moment,
}

fn fresh(now: Moment) -> Origin {
    let expires = now.plus(Duration::from_millis(10));
    Origin { sequence: 1, index: 0, exposed: now, expires, confidence: 0.9 }
}

fn step(translation_m: [f64; 3], gripper: f64) -> Action {
    Action::from_physical(translation_m, [0.0; 3], gripper).unwrap()
}

impl Bench {
    fn at(config: SafetyConfig, position_m: [f64; 3]) -> Self {
        let mut bench = Self::unknown(config);
        bench.report(position_m);
        bench
    }

    fn unknown(config: SafetyConfig) -> Self {
        let gate = Gate::new(config.checked().unwrap(), ControlRate::new(100.0).unwrap()).unwrap();
        Self { gate, now: Moment::from_ns(5_000_000_000) }
    }

    fn report(&mut self, [x, y, z]: [f64; 3]) {
        self.gate.observe(Some(&state(Isometry3::translation(x, y, z))), self.now);
    }

    fn ask(&mut self, asked: Asked) -> SafeAction {
        let safe = self.gate.tick(self.now, asked);
        self.now = self.now.plus(Duration::from_millis(10));
        safe
    }

    fn tick(&mut self, action: Action) -> SafeAction {
        self.ask(Asked::Step(action, fresh(self.now)))
    }

    fn values(&mut self, values: [f64; 7]) -> SafeAction {
        self.ask(Asked::Values(values, fresh(self.now)))
    }
}

const MIDDLE: [f64; 3] = [0.0, 0.6, 0.2];

#[test]
fn an_action_within_every_bound_passes_bit_for_bit() {
    let asked = Action::from_physical([0.003, -0.001, 0.002], [0.003, 0.001, -0.002], 1.0).unwrap();
    for config in [teleported(), SafetyConfig { jerk_m_s3_max: Bound::At(1e5), ..safety_support::bounded() }] {
        let mut bench = Bench::at(
            SafetyConfig {
                acceleration_m_s2_max: Bound::At(50.0),
                angular_acceleration_rad_s2_max: Bound::At(60.0),
                angular_jerk_rad_s3_max: Bound::At(1e5),
                dead_man_ms_max: Bound::unbounded("a test"),
                ..config
            },
            MIDDLE,
        );
        let safe = bench.tick(asked);
        assert_eq!(*safe.action(), asked);
        assert!(!safe.is_hold());
        assert_eq!(kinds(&safe), Vec::<&str>::new());
        assert!((Vector3::from(safe.linear_m_s()) - Vector3::new(0.3, -0.1, 0.2)).norm() < 1e-15);
    }
}

#[test]
fn a_long_step_is_shortened_in_its_direction_and_says_so() {
    let safe = Bench::at(teleported(), MIDDLE).tick(step([0.3, 0.0, -0.4], 1.0));
    let sent = Vector3::from(safe.action().translation_m());
    assert!((sent - Vector3::new(0.003, 0.0, -0.004)).norm() < 1e-15, "{sent:?}");
    assert_eq!(kinds(&safe), ["speed"]);
}

/// Three Euler angles of which each is within the bound, and the rotation is not.
#[test]
fn a_rotation_is_measured_on_so3_and_not_angle_by_angle() {
    let config = SafetyConfig { angular_speed_rad_s_max: 40.0, ..teleported() };
    let asked = Action::from_physical([0.0; 3], [0.39, 0.39, 0.39], 1.0).unwrap();
    let whole = UnitQuaternion::from_euler_angles(0.39, 0.39, 0.39);
    let safe = Bench::at(config, MIDDLE).tick(asked);
    let [roll, pitch, yaw] = safe.action().rotation_rad();
    let sent = UnitQuaternion::from_euler_angles(roll, pitch, yaw);
    assert!(whole.angle() > 0.6 && (sent.angle() - 0.4).abs() < 1e-12, "{} {}", whole.angle(), sent.angle());
    assert!((sent.axis().unwrap().into_inner() - whole.axis().unwrap().into_inner()).norm() < 1e-12);
    assert_eq!(kinds(&safe), ["angular_speed"]);
}

#[test]
fn a_target_outside_the_box_is_held_at_its_wall_and_slides_along_it() {
    let mut bench = Bench::at(teleported(), [0.0, 0.6, 0.021]);
    let safe = bench.tick(step([0.002, 0.0, -0.004], 1.0));
    let sent = Vector3::from(safe.action().translation_m());
    assert!((sent - Vector3::new(0.002, 0.0, -0.001)).norm() < 1e-15, "{sent:?}");
    assert_eq!(kinds(&safe), ["workspace"]);
}

#[test]
fn the_steps_between_two_reports_are_added_up_before_the_wall() {
    let mut bench = Bench::at(teleported(), [0.0, 0.6, 0.027]);
    let sent: Vec<f64> =
        (0..3).map(|_| bench.tick(step([0.0, 0.0, -0.005], 1.0)).action().translation_m()[2]).collect();
    assert!((sent[0] + 0.005).abs() < 1e-12 && (sent[1] + 0.002).abs() < 1e-12 && sent[2].abs() < 1e-12, "{sent:?}");
}

#[test]
fn a_robot_outside_the_box_may_come_back_but_not_go_further() {
    let mut bench = Bench::at(teleported(), [0.0, 0.6, 0.6]);
    assert_eq!(bench.tick(step([0.0, 0.0, 0.004], 1.0)).action().translation_m()[2], 0.0);
    assert_eq!(bench.tick(step([0.0, 0.0, -0.004], 1.0)).action().translation_m()[2], -0.004);
}

/// The order of bounds when two cannot both hold: a report moves the robot to where it cannot stop in time.
#[test]
fn acceleration_and_jerk_go_before_a_wall_that_a_report_has_made_unreachable() {
    let config = SafetyConfig { dead_man_ms_max: Bound::unbounded("a test"), ..safety_support::bounded() };
    let mut bench = Bench::at(config, [-0.3, 0.6, 0.25]);
    for _ in 0..60 {
        bench.tick(step([0.005, 0.0, 0.0], 1.0));
        bench.gate.observe(Some(&state(Isometry3::translation(-0.3, 0.6, 0.25))), bench.now);
    }
    let mut before = Vector3::from(bench.tick(step([0.005, 0.0, 0.0], 1.0)).linear_m_s());
    assert!(before.x > 0.49, "{before:?}");
    bench.report([0.395, 0.6, 0.25]);
    let (mut kinds_seen, mut way_m) = (Vec::new(), 0.0);
    for _ in 0..40 {
        let safe = bench.ask(Asked::Nothing);
        let now = Vector3::from(safe.linear_m_s());
        assert!((now - before).norm() <= 2.0 * 0.01 + 1e-12, "the brake obeys the acceleration bound");
        (way_m, before) = (way_m + now.x * 0.01, now);
        kinds_seen.extend(kinds(&safe));
    }
    assert_eq!(before, Vector3::zeros());
    assert!(kinds_seen.contains(&"outside"), "{kinds_seen:?}");
    // 0.5 m/s at 2 m/s² and 20 m/s³: 0.0875 m in continuous time.
    assert!((0.08..0.1).contains(&way_m), "{way_m}");
    bench.report([0.395 + way_m, 0.6, 0.25]);
    assert!(bench.tick(step([0.005, 0.0, 0.0], 1.0)).linear_m_s()[0].abs() < 1e-9, "outside it goes no further out");
    let back = bench.tick(step([-0.005, 0.0, 0.0], 1.0));
    assert!(back.linear_m_s()[0] < 0.0, "but back: {back:?}");
}

#[test]
fn a_hold_from_full_speed_is_the_time_optimal_stop() {
    let config = SafetyConfig { dead_man_ms_max: Bound::unbounded("a test"), ..safety_support::bounded() };
    let mut bench = Bench::at(config, [-0.3, 0.6, 0.25]);
    for _ in 0..60 {
        bench.tick(step([0.005, 0.0, 0.0], 1.0));
        bench.report([-0.3, 0.6, 0.25]);
    }
    let ticks = (0..).take_while(|_| bench.ask(Asked::Nothing).linear_m_s() != [0.0; 3]).count();
    // v/a + a/j = 0.25 + 0.1 s.
    assert!((34..=36).contains(&ticks), "{ticks} ticks of 10 ms");
}

#[test]
fn without_a_state_the_gate_holds_and_keeps_what_the_gripper_was_sent() {
    let mut bench = Bench::at(teleported(), MIDDLE);
    bench.tick(step([0.001, 0.0, 0.0], 0.0));
    bench.gate.observe(None, bench.now);
    let safe = bench.tick(step([0.001, 0.0, 0.0], 1.0));
    assert!(safe.is_hold());
    assert_eq!(safe.action().values(), [0.0; 7]);
    assert_eq!(kinds(&safe), ["no_state"]);
}

#[test]
fn a_state_that_is_not_finite_is_no_state() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut bench = Bench::at(teleported(), [0.0, bad, 0.2]);
        assert_eq!(kinds(&bench.tick(step([0.001, 0.0, 0.0], 1.0))), ["no_state"]);
    }
}

#[test]
fn each_age_is_measured_and_named() {
    let mut bench = Bench::at(teleported(), MIDDLE);
    let old = Origin { exposed: bench.now.minus(Duration::from_millis(301)), ..fresh(bench.now) };
    let stale = bench.ask(Asked::Step(step([0.001, 0.0, 0.0], 1.0), old));
    assert!(matches!(
        stale.interventions().next(),
        Some(Intervention::StaleObservation { age_ms, max_ms }) if *age_ms == 301.0 && *max_ms == 300.0
    ));
    let early = Origin { exposed: bench.now.plus(Duration::from_millis(2)), ..fresh(bench.now) };
    assert_eq!(kinds(&bench.ask(Asked::Step(step([0.001, 0.0, 0.0], 1.0), early))), ["from_the_future"]);
    let late = Origin { expires: bench.now, ..fresh(bench.now) };
    assert_eq!(kinds(&bench.ask(Asked::Step(step([0.001, 0.0, 0.0], 1.0), late))), ["expired"]);
    for _ in 0..7 {
        bench.ask(Asked::Nothing);
    }
    assert!(!bench.tick(step([0.001, 0.0, 0.0], 1.0)).is_hold(), "a state of exactly state_ms_max counts");
    assert_eq!(kinds(&bench.tick(step([0.001, 0.0, 0.0], 1.0))), ["stale_state"]);
}

#[test]
fn commands_that_a_late_report_cannot_know_of_are_added_to_it() {
    let config = SafetyConfig { response_ms: 20.0, ..teleported() };
    let mut bench = Bench::at(config, [0.0, 0.6, 0.25]);
    for _ in 0..5 {
        bench.tick(step([0.0, 0.0, 0.004], 1.0));
    }
    // Measured now, but the robot answers after 20 ms: two steps of 4 mm are on their way.
    bench.report([0.0, 0.6, 0.49]);
    let safe = bench.tick(step([0.0, 0.0, 0.004], 1.0));
    assert!((safe.action().translation_m()[2] - 0.002).abs() < 1e-12, "{safe:?}");
    assert_eq!(kinds(&safe), ["workspace"]);
}

#[test]
fn an_unsure_action_is_a_hold_and_so_is_one_without_a_probability() {
    let config = SafetyConfig { confidence_min: Bound::At(0.25), ..teleported() };
    let mut bench = Bench::at(config, MIDDLE);
    for (confidence, held) in [(0.25, false), (0.2499, true), (f32::NAN, true), (0.9, false)] {
        let origin = Origin { confidence, ..fresh(bench.now) };
        let safe = bench.ask(Asked::Step(step([0.001, 0.0, 0.0], 1.0), origin));
        assert_eq!(safe.is_hold(), held, "{confidence}");
        assert_eq!(kinds(&safe).contains(&"confidence"), held);
    }
}

#[test]
fn the_gripper_changes_side_only_when_asked_for_long_enough_without_a_break() {
    let config = SafetyConfig { gripper_debounce_ms: Bound::At(30.0), ..teleported() };
    let mut bench = Bench::at(config, MIDDLE);
    let asked = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.7, 0.2];
    let sent = asked.map(|gripper| bench.tick(step([0.0; 3], gripper)).action().gripper());
    assert_eq!(sent, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.3, 0.3, 0.2]);
    let mut bench = Bench::at(SafetyConfig { gripper_debounce_ms: Bound::At(30.0), ..teleported() }, MIDDLE);
    assert_eq!(kinds(&bench.tick(step([0.0; 3], 0.0))), ["gripper"], "the reported opening is what is changed first");
}

#[test]
fn the_tool_stays_in_its_cone() {
    let cone = ConeConfig { tool_axis: [0.0, 0.0, 3.0], base_axis: [0.0, 0.0, 1.0], angle_rad_max: 0.02 };
    let config = SafetyConfig { orientation_cone: Bound::At(cone), ..teleported() };
    let mut bench = Bench::at(config, MIDDLE);
    let lean = |rotation_rad| Action::from_physical([0.0; 3], rotation_rad, 1.0).unwrap();
    let mut turned = UnitQuaternion::identity();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let safe = bench.tick(lean([0.008, 0.0, 0.0]));
        let [roll, pitch, yaw] = safe.action().rotation_rad();
        turned = UnitQuaternion::from_euler_angles(roll, pitch, yaw) * turned;
        seen.push(kinds(&safe));
    }
    assert!((turned.angle() - 0.02).abs() < 1e-4 && turned.angle() <= 0.02 + 1e-9, "{}", turned.angle());
    assert_eq!(seen[0], Vec::<&str>::new());
    assert_eq!(seen[4], ["orientation_cone"]);
    let about_the_axis = bench.tick(Action::from_physical([0.0; 3], [0.0, 0.0, 0.009], 1.0).unwrap());
    assert!(
        kinds(&about_the_axis).is_empty(),
        "turning about the cone's own axis leans no further: {about_the_axis:?}"
    );
    assert!(kinds(&bench.tick(lean([-0.008, 0.0, 0.0]))).is_empty(), "back is free");
}

#[test]
fn the_stop_stays_latched_until_it_is_rearmed() {
    let mut bench = Bench::at(teleported(), MIDDLE);
    bench.gate.stop(StopReason::Operator);
    bench.gate.stop(StopReason::PolicyFailed);
    for _ in 0..5 {
        bench.report(MIDDLE);
        let safe = bench.tick(step([0.001, 0.0, 0.0], 1.0));
        assert!(safe.is_hold());
        assert_eq!(kinds(&safe), ["stopped"]);
    }
    assert_eq!(bench.gate.stopped(), Some(StopReason::Operator), "the first reason is kept");
    bench.gate.begin_at_rest();
    assert!(bench.gate.stopped().is_some(), "a new episode does not release it");
    assert_eq!(bench.gate.rearm(bench.now), Ok(()));
    bench.report(MIDDLE);
    assert!(!bench.tick(step([0.001, 0.0, 0.0], 1.0)).is_hold());
}

#[test]
fn an_operator_who_lets_go_stops_the_robot_and_must_hold_on_to_rearm() {
    let config = SafetyConfig { dead_man_ms_max: Bound::At(25.0), ..teleported() };
    let mut bench = Bench::at(config, MIDDLE);
    let go = step([0.001, 0.0, 0.0], 1.0);
    assert_eq!(kinds(&bench.tick(go)), ["no_operator"]);
    assert_eq!(bench.gate.stopped(), None, "before the first sign nothing is latched");
    bench.gate.operator(true, bench.now);
    for _ in 0..3 {
        assert!(!bench.tick(go).is_hold());
    }
    assert_eq!(kinds(&bench.tick(go)), ["stopped"], "30 ms without a sign");
    assert_eq!(bench.gate.stopped(), Some(StopReason::DeadMan));
    assert_eq!(bench.gate.rearm(bench.now), Err(RearmRefused::NoOperator));
    bench.gate.operator(true, bench.now);
    assert!(bench.tick(go).is_hold(), "gripping again does not set it in motion");
    assert_eq!(bench.gate.rearm(bench.now), Ok(()));
    assert!(!bench.tick(go).is_hold());
    bench.gate.operator(false, bench.now);
    assert_eq!(kinds(&bench.tick(go)), ["stopped"], "letting go acts in the same tick");
}

#[test]
fn a_clock_that_jumps_is_a_hold_until_the_pose_is_reported_anew() {
    let go = step([0.001, 0.0, 0.0], 1.0);
    for (jump_ns, kind) in [(0, "clock"), (-3_000_000, "clock"), (10_000_001, "clock"), (10_000_000, "")] {
        let mut bench = Bench::at(teleported(), MIDDLE);
        bench.tick(go);
        bench.now = Moment::from_ns((bench.now.ns() - 10_000_000).saturating_add_signed(jump_ns));
        let safe = bench.tick(go);
        assert_eq!(kinds(&safe).first().copied().unwrap_or_default(), kind, "{jump_ns} ns");
        assert_eq!(safe.is_hold(), !kind.is_empty());
        if safe.is_hold() {
            assert_eq!(kinds(&bench.tick(go)), ["no_state"]);
            bench.report(MIDDLE);
            assert!(!bench.tick(go).is_hold());
        }
    }
}

#[test]
fn each_value_that_is_not_an_action_stops() {
    for dim in 0..7 {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut bench = Bench::at(teleported(), MIDDLE);
            let mut values = [0.0; 7];
            values[dim] = value;
            let safe = bench.values(values);
            assert!(safe.is_hold() && safe.action().values().iter().all(|value| value.is_finite()));
            assert_eq!(kinds(&safe), ["not_an_action"]);
            assert_eq!(bench.gate.stopped(), Some(StopReason::NotAnAction));
            assert!(bench.values([0.0; 7]).is_hold(), "latched");
        }
    }
}

#[test]
fn a_policy_that_keeps_failing_is_stopped_and_one_good_chunk_forgives() {
    let mut bench = Bench::at(teleported(), MIDDLE);
    let fail = |bench: &mut Bench| {
        bench.gate.looked(false);
        kinds(&bench.ask(Asked::Nothing)).concat()
    };
    for _ in 0..10 {
        assert_eq!([fail(&mut bench), fail(&mut bench)], ["no_action", "no_action"]);
        bench.gate.looked(true);
        assert_eq!(kinds(&bench.ask(Asked::Nothing)), ["nothing_planned"]);
    }
    assert_eq!([fail(&mut bench), fail(&mut bench), fail(&mut bench)], ["no_action", "no_action", "stopped"]);
    assert_eq!(bench.gate.stopped(), Some(StopReason::PolicyFailed));
}

#[test]
fn every_rule_counts_what_it_did() {
    let mut bench = Bench::at(teleported(), MIDDLE);
    bench.tick(step([0.1, 0.0, 0.0], 1.0));
    bench.tick(step([0.1, 0.0, 0.0], 1.0));
    bench.ask(Asked::Nothing);
    let counters = bench.gate.counters();
    assert_eq!((counters.asked, counters.held, counters.changed), (3, 1, 2));
    let of = |kind| counters.by_kind[Intervention::KINDS.iter().position(|name| *name == kind).unwrap()];
    assert_eq!((of("speed"), of("nothing_planned"), of("workspace")), (2, 1, 0));
}

#[test]
fn what_is_switched_off_is_listed_with_its_reason() {
    let limits = teleported().checked().unwrap();
    let off: Vec<_> = limits.unbounded().collect();
    assert!(off.contains(&("jerk_m_s3_max", "teleported in a test")) && off.len() == 8, "{off:?}");
    let bare = SafetyConfig { jerk_m_s3_max: Bound::unbounded("  "), ..teleported() };
    let error = bare.checked().unwrap_err().to_string();
    assert!(error.contains("jerk_m_s3_max") && error.contains("reason"), "{error}");
}

#[test]
fn bounds_that_cannot_be_meant_are_refused() {
    type Change = fn(&mut SafetyConfig);
    let refused: [(Change, &str); 13] = [
        (|c| c.speed_m_s_max = 0.0, "speed_m_s_max"),
        (|c| c.speed_m_s_max = f64::NAN, "speed_m_s_max"),
        (|c| c.angular_speed_rad_s_max = 101.0, "angular_speed_rad_s_max"),
        (|c| c.workspace_min_m[1] = 0.9, "workspace"),
        (|c| c.workspace_max_m[2] = f64::INFINITY, "workspace"),
        (|c| c.policy_failures_max = 0, "policy_failures_max"),
        (|c| c.acceleration_m_s2_max = Bound::unbounded("no"), "jerk_m_s3_max"),
        (|c| c.acceleration_m_s2_max = Bound::At(0.01), "takes 50.0 s"),
        (|c| c.response_ms = 950.0, "response_ms"),
        (|c| c.state_ms_max = 1001.0, "state_ms_max"),
        (|c| c.confidence_min = Bound::At(1.01), "confidence_min"),
        (|c| c.command_ms_max = 0.0, "command_ms_max"),
        (
            |c| {
                let cone = ConeConfig { tool_axis: [0.0; 3], base_axis: [0.0, 0.0, 1.0], angle_rad_max: 0.1 };
                c.orientation_cone = Bound::At(cone);
            },
            "tool_axis",
        ),
    ];
    for (change, words) in refused {
        let mut config = safety_support::bounded();
        change(&mut config);
        let error = config.checked().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let limits = teleported().checked().unwrap();
    let error = Gate::new(limits, ControlRate::new(50.0).unwrap()).unwrap_err().to_string();
    assert!(error.contains("command_ms_max is 10") && error.contains("20 ms"), "{error}");
    let fast = SafetyConfig { angular_speed_rad_s_max: 90.0, command_ms_max: 50.0, ..teleported() };
    assert!(Gate::new(fast.checked().unwrap(), ControlRate::new(20.0).unwrap()).is_err(), "4.5 rad in a tick");
}

#[test]
fn every_kind_has_its_own_name_and_words() {
    assert_eq!(Intervention::KINDS.iter().collect::<std::collections::BTreeSet<_>>().len(), Intervention::KINDS.len());
    let words = Intervention::Workspace { axis: 2, asked_m: 0.6, allowed_m: 0.5 }.to_string();
    assert_eq!(words, "target z = 0.6000 m held at 0.5000 m by the workspace");
}

/// A state built as the wire builds it, so that the support's shortcut is not the only one that works.
#[test]
fn a_reported_gripper_that_is_no_opening_changes_nothing() {
    let mut bench = Bench::unknown(teleported());
    for gripper in [0.25, f64::NAN, 7.0] {
        let base_from_ee = Isometry3::translation(0.0, 0.6, 0.2);
        bench.gate.observe(Some(&EndEffectorState { base_from_ee, gripper, joints_rad: vec![] }), bench.now);
    }
    assert_eq!(bench.ask(Asked::Nothing).action().gripper(), 0.25);
}
