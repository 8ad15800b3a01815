//! `observations.safetensors`: what goes in, and what the fp32 reference made of it, for many observations.
//!
//! From: the exporter. To: [`crate::precision`]. Names and shapes: `policies/BUNDLE.md`.

use super::error::BundleError;
use super::golden;
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, FrameError, RgbImage, Stamp};
use egogrid_runtime::observation::Observation;
use nalgebra::Isometry3;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Most observations of one file.
pub const OBSERVATIONS_MAX: u32 = 4096;
/// Logits that are kept of each step: the chosen one and the next.
pub const TOP: usize = 2;

/// Everything in the file.
#[derive(Debug, Clone)]
pub struct Observations {
    /// Statistics of the physical actions.
    pub stats_key: String,
    /// Readings beyond this are invalid; only with depth.
    pub depth_max_m: Option<f32>,
    /// In order.
    pub looks: Vec<Look>,
}

/// One observation and the reference's answer.
#[derive(Debug, Clone)]
pub struct Look {
    /// What goes in.
    pub observation: Observation,
    /// Up to the first that does not belong in its slot, it included.
    pub token_ids: Vec<i64>,
    /// Ids and logits of the two largest of each step.
    pub top: Vec<[(u32, f32); TOP]>,
    /// Normalized and physical numbers, one step after another; `None` where the ids are no whole chunk.
    pub chunk: Option<Chunk>,
}

/// Numbers of one chunk, one step after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Between -1 and 1.
    pub normalized: Vec<f64>,
    /// As the robot takes them.
    pub actions: Vec<f64>,
}

fn wrong(tensor: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> BundleError {
    BundleError::Observations { tensor: tensor.into(), found: found.to_string(), expected: expected.into() }
}

/// `intrinsics` of a statistics key, for families that look at geometry: asked for only where the file has depth.
pub(super) fn parse(
    bytes: &[u8],
    intrinsics: impl FnOnce(&str) -> Result<CameraIntrinsics, BundleError>,
) -> Result<Observations, BundleError> {
    let file = File(SafeTensors::deserialize(bytes).map_err(|error| wrong("header", error, "a safetensors file"))?);
    let pictures = file.u8("image_u8", &[None, None, None, Some(3)])?;
    let [count, height_px, width_px, _] = pictures.shape[..] else {
        return Err(wrong("image_u8", "no picture", "pictures"));
    };
    if !(1..=OBSERVATIONS_MAX as usize).contains(&count) {
        return Err(wrong("image_u8", count, format!("1 to {OBSERVATIONS_MAX} pictures")));
    }
    let size_px = [side("image_u8", width_px)?, side("image_u8", height_px)?];
    let stats_key = file.text("stats_key")?;
    let seen = Seen {
        pictures: pictures.values,
        depth: if file.has("depth_mm") { Some(file.depth(count, [height_px, width_px])?) } else { None },
        intrinsics: if file.has("depth_mm") { Some(intrinsics(&stats_key)?.resized(size_px)) } else { None },
        base_from_camera: file.pose()?,
        instructions: file.instructions(count)?,
        size_px,
    };
    let answers = file.answers(count)?;
    let looks = answers.into_iter().enumerate().map(|(number, answer)| seen.look(number, answer));
    let looks = looks.collect::<Result<_, FrameError>>().map_err(|error| wrong("image_u8", error, "pictures"))?;
    let depth_max_m = if file.has("depth_max_m") {
        Some(
            *file
                .f32("depth_max_m", &[Some(1)])?
                .values
                .first()
                .ok_or_else(|| wrong("depth_max_m", "nothing", "a number"))?,
        )
    } else {
        None
    };
    Ok(Observations { stats_key, depth_max_m, looks })
}

fn side(tensor: &str, pixels: usize) -> Result<u32, BundleError> {
    u32::try_from(pixels).map_err(|_| wrong(tensor, pixels, "a picture's size"))
}

/// What goes in, for all observations.
struct Seen {
    pictures: Vec<u8>,
    /// Metres; `None` for an observation that brings no depth.
    depth: Option<Vec<Option<Vec<f32>>>>,
    intrinsics: Option<CameraIntrinsics>,
    base_from_camera: Option<Isometry3<f64>>,
    instructions: Vec<String>,
    size_px: [u32; 2],
}

/// What the reference made of one.
struct Answer {
    token_ids: Vec<i64>,
    top: Vec<[(u32, f32); TOP]>,
    chunk: Option<Chunk>,
}

impl Seen {
    fn look(&self, number: usize, answer: Answer) -> Result<Look, FrameError> {
        let [width_px, height_px] = self.size_px;
        let bytes = 3 * width_px as usize * height_px as usize;
        let rgb = RgbImage::new(width_px, height_px, &self.pictures[number * bytes..(number + 1) * bytes])?;
        let depth = self.depth.as_ref().and_then(|maps| maps[number].as_ref());
        let depth = depth
            .map(|metres| DepthImage::new(width_px, height_px, DepthKind::Sensor, metres.as_slice()))
            .transpose()?;
        let frame = Frame {
            stamp: Stamp::default(),
            rgb,
            depth,
            intrinsics: self.intrinsics,
            base_from_camera: self.base_from_camera,
        };
        let instruction = self.instructions[number].clone();
        let observation = Observation { sequence: number as u64, frame, instruction, state: None };
        let Answer { token_ids, top, chunk } = answer;
        Ok(Look { observation, token_ids, top, chunk })
    }
}

/// Values of one tensor with their shape.
struct Tensor<T> {
    values: Vec<T>,
    shape: Vec<usize>,
}

struct File<'a>(SafeTensors<'a>);

impl File<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.tensor(name).is_ok()
    }

    fn view(&self, name: &str, dtype: Dtype, shape: &[Option<usize>]) -> Result<TensorView<'_>, BundleError> {
        let expected = || format!("{dtype:?} {shape:?}");
        let view = self.0.tensor(name).map_err(|_| wrong(name, "nothing", expected()))?;
        let fits = view.shape().len() == shape.len()
            && view.shape().iter().zip(shape).all(|(found, wanted)| wanted.is_none_or(|wanted| wanted == *found));
        if view.dtype() != dtype || !fits {
            return Err(wrong(name, format!("{:?} {:?}", view.dtype(), view.shape()), expected()));
        }
        Ok(view)
    }

    fn u8(&self, name: &str, shape: &[Option<usize>]) -> Result<Tensor<u8>, BundleError> {
        let view = self.view(name, Dtype::U8, shape)?;
        Ok(Tensor { values: view.data().to_vec(), shape: view.shape().to_vec() })
    }

    fn f32(&self, name: &str, shape: &[Option<usize>]) -> Result<Tensor<f32>, BundleError> {
        let view = self.view(name, Dtype::F32, shape)?;
        let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Tensor { values, shape: view.shape().to_vec() })
    }

    fn f64(&self, name: &str, shape: &[Option<usize>]) -> Result<Tensor<f64>, BundleError> {
        let view = self.view(name, Dtype::F64, shape)?;
        let values = view.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(Tensor { values, shape: view.shape().to_vec() })
    }

    fn i64(&self, name: &str, shape: &[Option<usize>]) -> Result<Vec<i64>, BundleError> {
        let view = self.view(name, Dtype::I64, shape)?;
        Ok(view.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    fn text(&self, name: &str) -> Result<String, BundleError> {
        String::from_utf8(self.u8(name, &[None])?.values).map_err(|_| wrong(name, "other bytes", "UTF-8"))
    }

    /// Millimetres to metres; nothing for observations that bring no depth.
    fn depth(&self, count: usize, picture: [usize; 2]) -> Result<Vec<Option<Vec<f32>>>, BundleError> {
        let [height, width] = picture;
        let view = self.view("depth_mm", Dtype::U16, &[Some(count), Some(height), Some(width)])?;
        let metres = |bytes: &[u8; 2]| f32::from(u16::from_le_bytes(*bytes)) / 1000.0;
        let metres: Vec<f32> = view.data().as_chunks().0.iter().map(metres).collect();
        let has = self.u8("has_depth", &[Some(count)])?.values;
        Ok(metres.chunks(height * width).zip(has).map(|(map, has)| (has != 0).then(|| map.to_vec())).collect())
    }

    fn pose(&self) -> Result<Option<Isometry3<f64>>, BundleError> {
        if !self.has("base_from_camera") {
            return Ok(None);
        }
        let matrix = self.f64("base_from_camera", &[Some(4), Some(4)])?.values;
        let rigid = || wrong("base_from_camera", format!("{matrix:?}"), "a rigid 4x4 transform");
        golden::rigid(&matrix).map(Some).ok_or_else(rigid)
    }

    fn instructions(&self, count: usize) -> Result<Vec<String>, BundleError> {
        let text = self.text("instructions")?;
        let known: Vec<&str> = text.split('\n').collect();
        let indices = self.i64("instruction_index", &[Some(count)])?;
        let of = |index: &i64| usize::try_from(*index).ok().and_then(|index| known.get(index));
        let found = indices.iter().map(|index| {
            of(index)
                .map(|words| (*words).to_owned())
                .ok_or_else(|| wrong("instruction_index", index, format!("0 to {}", known.len() - 1)))
        });
        found.collect()
    }

    fn answers(&self, count: usize) -> Result<Vec<Answer>, BundleError> {
        let counts = self.i64("token_counts", &[Some(count)])?;
        let mut total = 0usize;
        for found in &counts {
            let tokens = usize::try_from(*found).ok().filter(|tokens| *tokens > 0).and_then(|t| total.checked_add(t));
            total = tokens.ok_or_else(|| wrong("token_counts", found, "at least 1"))?;
        }
        let ids = self.i64("token_ids", &[Some(total)])?;
        let top_ids = self.i64("top_ids", &[Some(total), Some(TOP)])?;
        let top_logits = self.f32("top_logits", &[Some(total), Some(TOP)])?.values;
        let mut top = Vec::with_capacity(total);
        for (ids, logits) in top_ids.as_chunks::<TOP>().0.iter().zip(top_logits.as_chunks::<TOP>().0) {
            let id = |at: usize| u32::try_from(ids[at]).map_err(|_| wrong("top_ids", ids[at], "a vocabulary id"));
            top.push([(id(0)?, logits[0]), (id(1)?, logits[1])]);
        }
        let mut chunks = self.chunks(count)?.into_iter();
        let (mut ids, mut top) = (ids.into_iter(), top.into_iter());
        let answers = counts.iter().map(|tokens| {
            let tokens = *tokens as usize; // summed up above
            let token_ids = ids.by_ref().take(tokens).collect();
            Answer { token_ids, top: top.by_ref().take(tokens).collect(), chunk: chunks.next().flatten() }
        });
        Ok(answers.collect())
    }

    fn chunks(&self, count: usize) -> Result<Vec<Option<Chunk>>, BundleError> {
        let whole = self.u8("whole", &[Some(count)])?.values;
        let wholes = whole.iter().filter(|whole| **whole != 0).count();
        if wholes == 0 {
            return Ok(vec![None; count]);
        }
        let shape = [Some(wholes), None, None];
        let (normalized, actions) = (self.f64("normalized", &shape)?, self.f64("actions", &shape)?);
        if normalized.shape != actions.shape || normalized.values.is_empty() {
            return Err(wrong("actions", format!("{:?}", actions.shape), format!("{:?}", normalized.shape)));
        }
        let numbers = normalized.values.len() / wholes;
        let mut pairs = normalized.values.chunks(numbers).zip(actions.values.chunks(numbers));
        let chunk = |(normalized, actions): (&[f64], &[f64])| Chunk {
            normalized: normalized.to_vec(),
            actions: actions.to_vec(),
        };
        Ok(whole.iter().map(|whole| if *whole == 0 { None } else { pairs.next().map(chunk) }).collect())
    }
}
