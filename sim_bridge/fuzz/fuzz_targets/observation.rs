//! A worker's whole answer on any bytes: decoded, then turned into the runtime's checked types.

#![no_main]

use egogrid_sim_bridge::codec::decode;
use egogrid_sim_bridge::convert::{wire_to_frame, wire_to_state};
use egogrid_sim_bridge::message::SimObservation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Ok(observation) = decode::<SimObservation<'_>>(payload) {
        let _ = wire_to_frame(&observation.camera);
        let _ = observation.state.map(wire_to_state);
    }
});
