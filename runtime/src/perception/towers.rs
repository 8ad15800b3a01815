//! The whole way from a camera picture to `pixel_values` of a model with one or more vision towers.
//!
//! From: [`RgbImage`]. To: the `pixel_values` input, `[3 * towers, side, side]` f32: the same square once per tower, each
//! with its own mean and deviation. Source: the official processor of OpenVLA computes in float32: `byte / 255`, then
//! `(value - mean) / std`; there are only 256 results per channel, so they are looked up.

use super::evaluation::EvaluationPlan;
use super::resize::ResizeError;
use super::square::{SquarePlan, Strategy};
use crate::camera::RgbImage;

/// What comes before the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preprocessing {
    /// Nothing: the official server.
    Processor,
    /// [`super::evaluation`]: the official evaluation scripts.
    Evaluation {
        /// For checkpoints that were trained with random crops.
        center_crop: bool,
    },
}

/// How one tower's numbers are made, red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tower {
    /// Subtracted from `byte / 255`.
    pub mean: [f32; 3],
    /// Divides the rest.
    pub std: [f32; 3],
}

/// Numbers that make no picture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "tower {tower} has mean {mean:?} and std {std:?}, expected finite numbers and std above 0; check `[image]` in the bundle"
)]
pub struct TowerError {
    /// Which one, from 0.
    pub tower: usize,
    /// As found.
    pub mean: [f32; 3],
    /// As found.
    pub std: [f32; 3],
}

/// Makes new plans when the camera changes its size, and only then.
#[derive(Debug, Clone)]
pub struct TowerInput {
    side_px: u32,
    strategy: Strategy,
    preprocessing: Preprocessing,
    /// What each byte becomes, one table per channel of every tower.
    tables: Vec<[f32; 256]>,
    plans: Option<Plans>,
    square: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Plans {
    source_px: [u32; 2],
    evaluation: Option<EvaluationPlan>,
    square: SquarePlan,
}

impl TowerInput {
    /// For a model that takes squares of `side_px`.
    ///
    /// # Errors
    /// A mean or deviation that is not finite, or a deviation of zero or less.
    pub fn new(
        side_px: u32,
        strategy: Strategy,
        preprocessing: Preprocessing,
        towers: &[Tower],
    ) -> Result<Self, TowerError> {
        let mut tables = Vec::with_capacity(3 * towers.len());
        for (tower, Tower { mean, std }) in towers.iter().copied().enumerate() {
            let divides = std.iter().all(|std| *std > 0.0 && std.is_finite());
            if !(divides && mean.iter().all(|mean| mean.is_finite())) {
                return Err(TowerError { tower, mean, std });
            }
            tables.extend(mean.iter().zip(std).map(|(mean, std)| table(*mean, std)));
        }
        let square = vec![0; 3 * (side_px as usize).pow(2)];
        Ok(Self { side_px, strategy, preprocessing, tables, plans: None, square })
    }

    /// `3 * towers * side * side`.
    pub fn values_len(&self) -> usize {
        self.tables.len() * (self.side_px as usize).pow(2)
    }

    /// Writes `pixel_values`, `[3 * towers, side, side]`.
    ///
    /// # Errors
    /// Sizes that cannot be resized, or a buffer that is not [`Self::values_len`] long.
    pub fn write(&mut self, picture: &RgbImage, pixel_values: &mut [f32]) -> Result<(), ResizeError> {
        let (expected, found) = (self.values_len(), pixel_values.len());
        if found != expected {
            return Err(ResizeError::Length { expected, found });
        }
        let source_px = [picture.width_px(), picture.height_px()];
        let plans = match self.plans.take().filter(|plans| plans.source_px == source_px) {
            Some(plans) => self.plans.insert(plans),
            None => self.plans.insert(Plans::new(source_px, self.side_px, self.strategy, self.preprocessing)?),
        };
        let processed = match &mut plans.evaluation {
            Some(evaluation) => evaluation.run(picture.data())?,
            None => picture.data(),
        };
        plans.square.run(processed, &mut self.square)?;
        let plane_len = (self.side_px as usize).pow(2);
        for (channel, (table, plane)) in self.tables.iter().zip(pixel_values.chunks_exact_mut(plane_len)).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(self.square.as_chunks::<3>().0) {
                *value = table[usize::from(pixel[channel % 3])];
            }
        }
        Ok(())
    }
}

impl Plans {
    fn new(
        source_px: [u32; 2],
        side_px: u32,
        strategy: Strategy,
        preprocessing: Preprocessing,
    ) -> Result<Self, ResizeError> {
        let (evaluation, processed_px) = match preprocessing {
            Preprocessing::Processor => (None, source_px),
            Preprocessing::Evaluation { center_crop } => {
                (Some(EvaluationPlan::new(source_px, [side_px; 2], center_crop)?), [side_px; 2])
            }
        };
        Ok(Self { source_px, evaluation, square: SquarePlan::new(processed_px, side_px, strategy)? })
    }
}

fn table(mean: f32, std: f32) -> [f32; 256] {
    let mut values = [0.0; 256];
    for (byte, value) in (0u8..=255).zip(&mut values) {
        *value = (f32::from(byte) / 255.0 - mean) / std;
    }
    values
}
