//! Promises of the codec: on the bytes that `rosbags` wrote (tests/fixtures/wire), and on bytes that nobody wrote.

#![allow(clippy::unwrap_used)]

use egogrid_sim_bridge::codec::{DecodeError, Message, decode, encode};
use egogrid_sim_bridge::message as m;
use proptest::prelude::*;
use serde_json::Value;

/// Runs `$body` with `$kind` as the message type that `$name` names.
macro_rules! for_type {
    ($name:expr, |$kind:ident| $body:expr) => {
        for_type!(@ $name, $kind, $body, Time, RosString, TwistStamped, CameraInfo, ActionChunk, EndEffectorState, PolicyStatus, Command, OperatorSign, PoseStamped,
            SimInfo, SimReset, SimStep, ErrorReply, PolicyLook, EpisodeMark; Image, SimObservation, RunInfo, PointCloud2)
    };
    (@ $name:expr, $kind:ident, $body:expr, $($plain:ident),*; $($borrowing:ident),*) => {{
        let name: &str = $name;
        $(if name == <m::$plain as Message<'_>>::ROS_TYPE { type $kind<'a> = m::$plain; $body } else)*
        $(if name == <m::$borrowing<'_> as Message<'_>>::ROS_TYPE { type $kind<'a> = m::$borrowing<'a>; $body } else)*
        { panic!("no such message: {name}") }
    }};
}

/// What it means, and the bytes it is written back to.
fn read(ros_type: &str, payload: &[u8]) -> Result<(Value, Vec<u8>), DecodeError> {
    for_type!(ros_type, |Kind| {
        let message: Kind<'_> = decode(payload)?;
        let written = encode(&message).unwrap();
        Ok((serde_json::to_value(message).unwrap(), written))
    })
}

fn entries(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn vectors() -> Vec<Value> {
    entries(include_str!("../../tests/fixtures/wire/vectors.json"))
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap()
}

fn bytes(entry: &Value) -> Vec<u8> {
    let hex = text(entry, "hex");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// JSON does not tell 1 from 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn bytes_have_the_meaning_that_the_vector_says_and_are_written_back_unchanged() {
    for vector in vectors() {
        let (value, written) = read(text(&vector, "type"), &bytes(&vector)).unwrap();
        assert!(same(&value, &vector["value"]), "{}: {value}", vector["name"]);
        assert_eq!(written, bytes(&vector), "{}", vector["name"]);
    }
}

#[test]
fn a_payload_cut_anywhere_is_refused() {
    for vector in vectors() {
        let whole = bytes(&vector);
        for length in 0..whole.len() {
            assert!(read(text(&vector, "type"), &whole[..length]).is_err(), "{} cut to {length}", vector["name"]);
        }
    }
}

#[test]
fn a_refusal_names_byte_and_field() {
    for entry in entries(include_str!("../../tests/fixtures/wire/invalid.json")) {
        let error = read(text(&entry, "type"), &bytes(&entry)).unwrap_err();
        assert_eq!(error.offset as u64, entry["offset"].as_u64().unwrap(), "{}: {error}", entry["name"]);
        assert_eq!(error.field, text(&entry, "field"), "{}: {error}", entry["name"]);
    }
}

#[test]
fn padding_of_up_to_three_zero_bytes_is_accepted() {
    let vector = vectors().into_iter().find(|vector| vector["name"] == "sim_reset").unwrap();
    for padding in 0..=3 {
        let padded = [bytes(&vector), vec![0; padding]].concat();
        assert!(decode::<m::SimReset>(&padded).is_ok());
    }
}

#[test]
fn what_the_other_side_would_refuse_is_not_written() {
    let text = |data: String| encode(&m::RosString { data });
    assert!(text("x".repeat(4096)).is_ok());
    assert!(text("x".repeat(4097)).is_err());
    assert!(text("a\0b".to_owned()).is_err());
    let steps = |count| {
        encode(&m::SimStep { protocol: 1, episode: 1, first_step: 0, steps: vec![m::ActionStep::default(); count] })
    };
    assert!(steps(64).is_ok());
    assert!(steps(65).is_err());
}

fn ros_type() -> impl Strategy<Value = String> {
    let types: Vec<String> = vectors().iter().map(|vector| text(vector, "type").to_owned()).collect();
    proptest::sample::select(types)
}

proptest! {
    #[test]
    fn random_bytes_are_read_or_refused(name in ros_type(), mut payload in prop::collection::vec(any::<u8>(), 0..600), header in any::<bool>()) {
        if header && payload.len() >= 4 {
            payload[..4].copy_from_slice(&[0, 1, 0, 0]);
        }
        let _ = read(&name, &payload);
    }

    #[test]
    fn damaged_messages_are_refused_or_written_back_as_read(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let vectors = vectors();
        let vector = &vectors[which.index(vectors.len())];
        let mut payload = bytes(vector);
        for (at, byte) in damage {
            let at = 4 + at.index(payload.len() - 4);
            payload[at] = byte;
        }
        if let Ok((value, written)) = read(text(vector, "type"), &payload) {
            let (again, _) = read(text(vector, "type"), &written).unwrap();
            // NaN becomes null in JSON and is then equal to itself.
            prop_assert_eq!(value, again);
        }
    }

    #[test]
    fn any_chunk_survives_the_wire(
        stamp in (any::<i32>(), any::<u32>()), sequence in any::<u64>(), policy_id in "[^\0]{0,40}",
        values in prop::collection::vec(prop::array::uniform7(-10.0..10.0f64), 0..=64),
        confidence in prop::collection::vec(0.0..=1.0f32, 0..=192),
        reasons in prop::collection::vec((any::<u16>(), "[a-z_]{0,12}", "[^\0]{0,30}"), 0..8),
    ) {
        let vector = |values: &[f64]| m::Vector3 { x: values[0], y: values[1], z: values[2] };
        let chunk = m::ActionChunk {
            header: m::Header { stamp: m::Time { sec: stamp.0, nanosec: stamp.1 }, frame_id: policy_id.clone() },
            observed: m::Time { sec: stamp.0, nanosec: 0 },
            sequence,
            policy_id,
            control_hz: 5.0,
            steps: values.iter().map(|v| m::ActionStep { translation_m: vector(v), rotation_rad: vector(&v[3..]), gripper: v[6] }).collect(),
            confidence,
            reasons: reasons.into_iter().map(|(step, kind, detail)| m::SafetyReason { step, kind, detail }).collect(),
        };
        let payload = encode(&chunk).unwrap();
        prop_assert_eq!(decode::<m::ActionChunk>(&payload).unwrap(), chunk);
    }
}
