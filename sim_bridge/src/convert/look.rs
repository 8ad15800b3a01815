//! One look of the policy to `PolicyLook`: what it saw (by checksum), what it answered, and what each stage put out.
//!
//! From: the runtime's types, wherever a loop runs. To: the `look` topic, recordings and viewers. And back, as far as a replay needs it.

use super::{ConvertError, pose_to_wire, stamp_to_wire, state_to_wire, wire_to_pose, wire_to_stamp, wire_to_state};
use crate::message::{
    ActionRow, Header, LookInput, PointCloud2, PointField, PolicyLook, PolicyToken, StageSketch, StageTime,
};
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, Frame, RgbImage, Stamp};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::ActionChunk;
use egogrid_runtime::schedule::Token;
use egogrid_runtime::sketch;
use std::time::Duration;

/// Which policy, as recordings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLabel {
    /// Family and checkpoint.
    pub policy_id: String,
    /// Digest of its `bundle.toml`.
    pub bundle_sha256: String,
    /// Whose statistics.
    pub stats_key: String,
}

/// Why a look has no chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct LookFailureFacts<'a> {
    /// Stable short name.
    pub kind: &'a str,
    /// For people.
    pub detail: String,
    /// What was generated before.
    pub token_ids: &'a [u32],
}

/// One look.
#[derive(Debug, Clone)]
pub struct LookFacts<'a> {
    /// When the answer was there.
    pub at: Stamp,
    /// Counts up by one.
    pub look: u64,
    /// Of the observation.
    pub sequence: u64,
    /// Counts up with every episode.
    pub episode: u32,
    /// Who looked.
    pub policy: &'a PolicyLabel,
    /// Name of the camera.
    pub camera: &'a str,
    /// What it saw; `None` = gone.
    pub observation: Option<&'a Observation>,
    /// What the answer had to begin with.
    pub committed: &'a [Token],
    /// What came of it.
    pub result: Result<&'a ActionChunk, LookFailureFacts<'a>>,
    /// The look alone.
    pub took: Duration,
    /// Exposure to answer.
    pub age: Duration,
    /// Looks that were not told of so far.
    pub dropped: u64,
}

/// CRC-32 (IEEE) of the pixels, `[height, width, 3]`.
pub fn rgb_crc32(picture: &RgbImage) -> u32 {
    crc32fast::hash(picture.data())
}

/// CRC-32 (IEEE) of the depth, `[height, width]` metres, as little-endian bytes.
pub fn depth_crc32(depth: &DepthImage) -> u32 {
    if cfg!(target_endian = "little") {
        return crc32fast::hash(bytemuck::cast_slice(depth.data_m()));
    }
    let mut crc = crc32fast::Hasher::new();
    depth.data_m().iter().for_each(|value| crc.update(&value.to_le_bytes()));
    crc.finalize()
}

/// The message.
///
/// # Errors
/// A stamp outside what the wire can say.
pub fn look_to_wire(facts: &LookFacts<'_>) -> Result<PolicyLook, ConvertError> {
    let PolicyLabel { policy_id, bundle_sha256, stats_key } = facts.policy.clone();
    let chunk = facts.result.as_ref().ok();
    let failure = facts.result.as_ref().err();
    let tokens = match &facts.result {
        Ok(chunk) => chunk_tokens(chunk),
        Err(failure) => failure.token_ids.iter().map(|id| PolicyToken { id: *id, ..PolicyToken::default() }).collect(),
    };
    let rows =
        |rows: &mut dyn Iterator<Item = &[f64]>| rows.map(|values| ActionRow { values: values.to_vec() }).collect();
    let ms = |spent: Duration| spent.as_secs_f64() * 1e3;
    Ok(PolicyLook {
        header: Header { stamp: stamp_to_wire(facts.at)?, frame_id: String::new() },
        look: facts.look,
        sequence: facts.sequence,
        episode: facts.episode,
        policy_id,
        bundle_sha256,
        stats_key,
        instruction: facts.observation.map_or_else(String::new, |observation| observation.instruction.clone()),
        input: facts.observation.map(|observation| input_to_wire(observation, facts.camera)).transpose()?,
        committed: facts
            .committed
            .iter()
            .map(|token| PolicyToken { id: token.id, confidence: token.confidence, ..PolicyToken::default() })
            .collect(),
        failure: failure.map_or_else(String::new, |failure| failure.kind.to_owned()),
        failure_detail: failure.map_or_else(String::new, |failure| failure.detail.clone()),
        tokens,
        normalized: chunk.map_or_else(Vec::new, |c| rows(&mut c.normalized.iter().map(|row| row.values()))),
        actions: chunk.map_or_else(Vec::new, |c| rows(&mut c.actions.iter().map(|row| row.values()))),
        stages: chunk.map_or_else(Vec::new, |chunk| {
            chunk
                .times
                .iter()
                .map(|(stage, spent)| StageTime { stage: stage.name().to_owned(), ms: ms(spent) })
                .collect()
        }),
        sketches: chunk.map_or_else(Vec::new, |chunk| chunk.sketches.iter().map(sketch_to_wire).collect()),
        depth_source: chunk
            .and_then(|chunk| chunk.depth.as_ref())
            .map_or_else(String::new, |d| d.origin.name().to_owned()),
        took_ms: ms(facts.took),
        age_ms: ms(facts.age),
        dropped: facts.dropped,
    })
}

fn chunk_tokens(chunk: &ActionChunk) -> Vec<PolicyToken> {
    let (mut confidence, mut others) = (chunk.confidence.iter(), chunk.runner_up.iter());
    let token = |id: &u32| {
        let (runner_up, runner_up_confidence) = others.next().copied().unwrap_or_default();
        let confidence = confidence.next().copied().unwrap_or_default();
        PolicyToken { id: *id, confidence, runner_up, runner_up_confidence }
    };
    chunk.token_ids.iter().map(token).collect()
}

fn input_to_wire(observation: &Observation, camera: &str) -> Result<LookInput, ConvertError> {
    let frame = &observation.frame;
    let stamp = stamp_to_wire(frame.stamp)?;
    // A state has no stamp in an observation: that of the picture.
    let state_header = Header { stamp, frame_id: "base".to_owned() };
    Ok(LookInput {
        camera: camera.to_owned(),
        stamp,
        width: frame.rgb.width_px(),
        height: frame.rgb.height_px(),
        rgb_crc32: rgb_crc32(&frame.rgb),
        depth_crc32: frame.depth.as_ref().map(depth_crc32),
        intrinsics: frame.intrinsics.map_or_else(Vec::new, |lens| lens.matrix().map(f64::from).to_vec()),
        base_from_camera: frame.base_from_camera.as_ref().map(pose_to_wire),
        state: observation.state.as_ref().map(|state| state_to_wire(state, state_header)),
    })
}

/// Points in `axes` at the exposure `stamp`, `[n, 3]` metres.
///
/// # Errors
/// A stamp outside what the wire can say.
pub fn points_to_wire<'a>(
    points_xyz_m: &'a [[f32; 3]],
    stamp: Stamp,
    axes: &str,
) -> Result<PointCloud2<'a>, ConvertError> {
    const FLOAT32: u8 = 7;
    let field = |(index, name): (u32, &str)| PointField {
        name: name.to_owned(),
        offset: 4 * index,
        datatype: FLOAT32,
        count: 1,
    };
    let width = u32::try_from(points_xyz_m.len()).unwrap_or(u32::MAX); // a payload of that size is refused anyway
    Ok(PointCloud2 {
        header: Header { stamp: stamp_to_wire(stamp)?, frame_id: axes.to_owned() },
        height: 1,
        width,
        fields: (0..).zip(["x", "y", "z"]).map(field).collect(),
        is_bigendian: cfg!(target_endian = "big"),
        point_step: 12,
        row_step: width.saturating_mul(12),
        data: bytemuck::cast_slice(points_xyz_m),
        is_dense: points_xyz_m.iter().flatten().all(|value| value.is_finite()),
    })
}

/// Points as [`points_to_wire`] sends them, and the name of their axes.
///
/// # Errors
/// Another layout.
pub fn wire_to_points(cloud: &PointCloud2<'_>) -> Result<Vec<[f32; 3]>, ConvertError> {
    let names: Vec<&str> = cloud.fields.iter().map(|field| field.name.as_str()).collect();
    let floats = cloud.fields.iter().zip(0..).all(|(field, index)| field.datatype == 7 && field.offset == 4 * index);
    let size = u64::from(cloud.width) * 12 * u64::from(cloud.height) == cloud.data.len() as u64;
    if names != ["x", "y", "z"] || !floats || cloud.is_bigendian || !size {
        let found = format!("{names:?}, {} bytes for {} points", cloud.data.len(), cloud.width);
        return Err(ConvertError::Value {
            what: "points",
            found,
            expected: "x, y, z as little-endian float32, 12 bytes each",
        });
    }
    let number =
        |bytes: &[u8; 12], at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok(cloud.data.as_chunks::<12>().0.iter().map(|bytes| [0, 4, 8].map(|at| number(bytes, at))).collect())
}

/// What the policy saw, of a picture and a depth that have been found again.
///
/// # Errors
/// A stamp, matrix or pose that is none.
pub fn wire_to_observation(
    look: &PolicyLook,
    input: &LookInput,
    rgb: RgbImage,
    depth: Option<DepthImage>,
) -> Result<Observation, ConvertError> {
    let intrinsics = wire_to_look_intrinsics(input)?;
    let base_from_camera = input.base_from_camera.map(|pose| wire_to_pose(&pose, "base_from_camera")).transpose()?;
    let frame = Frame { stamp: wire_to_stamp(input.stamp)?, rgb, depth, intrinsics, base_from_camera };
    let state = input.state.clone().map(wire_to_state).transpose()?;
    Ok(Observation { sequence: look.sequence, frame, instruction: look.instruction.clone(), state })
}

/// The lens that a look was computed with, if the policy was told one.
pub fn wire_to_look_intrinsics(input: &LookInput) -> Result<Option<CameraIntrinsics>, ConvertError> {
    match <[f64; 9]>::try_from(input.intrinsics.as_slice()) {
        Ok(matrix) => Ok(Some(CameraIntrinsics::from_matrix(matrix, [input.width, input.height])?)),
        Err(_) if input.intrinsics.is_empty() => Ok(None),
        Err(_) => {
            let found = format!("{} numbers", input.intrinsics.len());
            Err(ConvertError::Value { what: "look.input.intrinsics", found, expected: "9 or none" })
        }
    }
}

fn sketch_to_wire(sketch: &sketch::StageSketch) -> StageSketch {
    let sketch::StageSketch { stage, count, crc32, rms, samples } = sketch.clone();
    StageSketch { stage, count, crc32, rms, samples }
}

/// A stage's sketch as it was recorded.
pub fn wire_to_sketch(sketch: &StageSketch) -> sketch::StageSketch {
    let StageSketch { stage, count, crc32, rms, samples } = sketch.clone();
    sketch::StageSketch { stage, count, crc32, rms, samples }
}
