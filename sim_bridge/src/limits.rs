//! Every bound of the wire. PROTOCOL.md prints the same table; `sim_worker` holds the same numbers in `limits.py`.

/// Version of everything in PROTOCOL.md. Both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest payload that is read or written, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Largest query that a worker reads, bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest string, bytes, its closing zero not counted.
pub const STRING_BYTES_MAX: usize = 4096;
/// Longest chunk, steps.
pub const CHUNK_LEN_MAX: usize = 64;
/// Most joints, and most distortion coefficients.
pub const JOINTS_MAX: usize = 64;
/// Most token confidences of a chunk: three per step.
pub const CONFIDENCE_MAX: usize = 3 * CHUNK_LEN_MAX;
/// Most safety reasons of a chunk: `runtime::safety::INTERVENTIONS_MAX` per step.
pub const REASONS_MAX: usize = 9 * CHUNK_LEN_MAX;
/// Most stage times of a status.
pub const STAGES_MAX: usize = 16;
/// Most tokens of a look.
pub const TOKENS_MAX: usize = 1024;
/// Most stage outputs of a look: one of logits for each token, and those of the stages before.
pub const SKETCHES_MAX: usize = 1100;
/// Most numbers that a point is made of.
pub const FIELDS_MAX: usize = 16;
/// Most counters of a status.
pub const COUNTS_MAX: usize = 128;
/// Most tasks of a simulator, and remarks of a status.
pub const TASKS_MAX: usize = 256;
/// Largest side of an image on the wire, pixels.
pub const IMAGE_SIDE_PX_MAX: u32 = 4096;
