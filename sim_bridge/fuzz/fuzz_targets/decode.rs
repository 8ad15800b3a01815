//! Every decoder on any bytes: the first byte chooses the message, the rest is the payload.
//!
//! Promise: read or refused, never a panic; what was read can be written.

#![no_main]

use egogrid_sim_bridge::codec::{Message, decode, encode};
use egogrid_sim_bridge::message as m;
use libfuzzer_sys::fuzz_target;

fn check<'a, T: Message<'a>>(payload: &'a [u8]) {
    if let Ok(message) = decode::<T>(payload) {
        encode(&message).expect("what was read is within the limits");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((which, payload)) = data.split_first() else { return };
    let checks: [fn(&[u8]); 19] = [
        |p| check::<m::Time>(p),
        |p| check::<m::RosString>(p),
        |p| check::<m::TwistStamped>(p),
        |p| check::<m::CameraInfo>(p),
        |p| check::<m::Image<'_>>(p),
        |p| check::<m::ActionChunk>(p),
        |p| check::<m::EndEffectorState>(p),
        |p| check::<m::PolicyStatus>(p),
        |p| check::<m::SimInfo>(p),
        |p| check::<m::SimReset>(p),
        |p| check::<m::SimStep>(p),
        |p| check::<m::SimObservation<'_>>(p),
        |p| check::<m::ErrorReply>(p),
        |p| check::<m::PoseStamped>(p),
        |p| check::<m::Command>(p),
        |p| check::<m::PolicyLook>(p),
        |p| check::<m::EpisodeMark>(p),
        |p| check::<m::RunInfo<'_>>(p),
        |p| check::<m::PointCloud2<'_>>(p),
    ];
    checks[usize::from(*which) % checks.len()](payload);
});
