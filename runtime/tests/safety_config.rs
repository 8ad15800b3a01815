//! `[safety]` of an embodiment file: nothing is off because a line is missing.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::safety::{Bound, SafetyConfig};
use serde_json::{Value, json};

fn written() -> Value {
    json!({
        "workspace_min_m": [-0.4, 0.3, 0.02], "workspace_max_m": [0.4, 0.9, 0.5],
        "speed_m_s_max": 0.5, "acceleration_m_s2_max": 2, "jerk_m_s3_max": 20.0,
        "angular_speed_rad_s_max": 1.0, "angular_acceleration_rad_s2_max": 6.0,
        "angular_jerk_rad_s3_max": { "unbounded": "the wrist is a direct drive" },
        "orientation_cone": { "tool_axis": [0, 0, 1], "base_axis": [0, 0, -1], "angle_rad_max": 0.5 },
        "gripper_debounce_ms": 50.0, "confidence_min": { "unbounded": "not calibrated" },
        "observation_ms_max": 300.0, "state_ms_max": 100.0, "response_ms": 20.0, "command_ms_max": 25.0,
        "dead_man_ms_max": 200.0, "policy_failures_max": 3,
    })
}

#[test]
fn a_file_with_every_line_is_read() {
    let config: SafetyConfig = serde_json::from_value(written()).unwrap();
    assert_eq!(config.acceleration_m_s2_max, Bound::At(2.0));
    let limits = config.checked().unwrap();
    assert_eq!(
        limits.unbounded().map(|(name, _)| name).collect::<Vec<_>>(),
        ["angular_jerk_rad_s3_max", "confidence_min"]
    );
    assert_eq!(limits.cone().unwrap().base_axis.z, -1.0);
}

#[test]
fn each_missing_line_is_an_error_that_names_it() {
    let names: Vec<String> = written().as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 17);
    for name in names {
        let mut file = written();
        file.as_object_mut().unwrap().remove(&name);
        let error = serde_json::from_value::<SafetyConfig>(file).unwrap_err().to_string();
        assert!(error.contains(&name), "{name}: {error}");
    }
}

#[test]
fn a_bound_that_is_neither_a_number_nor_a_reason_says_what_it_could_be() {
    for wrong in [json!("unbounded"), json!(null), json!({ "unbound": "typo" }), json!(true), json!([1.0])] {
        let mut file = written();
        file["jerk_m_s3_max"] = wrong.clone();
        let error = serde_json::from_value::<SafetyConfig>(file).unwrap_err().to_string();
        assert!(error.contains("{ unbounded = \"why this robot needs none\" }"), "{wrong}: {error}");
    }
    let mut file = written();
    file["speed_m_s_max"] = json!({ "unbounded": "fast" });
    assert!(serde_json::from_value::<SafetyConfig>(file).is_err(), "a speed is always bounded");
}

#[test]
fn an_unknown_line_is_an_error() {
    let mut file = written();
    file["step_m_max"] = json!(0.02);
    let error = serde_json::from_value::<SafetyConfig>(file).unwrap_err().to_string();
    assert!(error.contains("step_m_max"), "{error}");
}
