//! A recording of any bytes.
//!
//! Promise: messages, or an error with a byte; never a panic, and no more memory than the limits say.

#![no_main]

use egogrid_sim_bridge::recording::RecordingReader;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    // The magic bytes are given: finding them is not what is tested.
    let bytes = [b"\x89MCAP0\r\n".as_slice(), data].concat();
    if let Ok(reader) = RecordingReader::of(bytes.as_slice(), Path::new("fuzz")) {
        for message in reader {
            if message.is_err() {
                break;
            }
        }
    }
});
