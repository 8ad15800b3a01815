//! One stage's output in few bytes: whether another run gave the same, and by how much not.
//!
//! From: any stage output while a policy runs. To: [`crate::policy::ActionChunk::sketches`], recordings, `egogrid replay`. The
//! checksum of all bytes says whether it is the same; samples at fixed places say how far off it is where it is not.

/// Samples of one output; fewer where it has fewer values.
pub const SAMPLES_MAX: usize = 48;

/// One stage's output.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSketch {
    /// Name as in golden tensors.
    pub stage: String,
    /// Values.
    pub count: u64,
    /// CRC-32 (IEEE) of all values as little-endian bytes.
    pub crc32: u32,
    /// Root of the mean square of all values.
    pub rms: f64,
    /// Values at `index * count / samples`.
    pub samples: Vec<f32>,
}

/// How two sketches of the same stage compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SketchDifference {
    /// Bit for bit.
    Same,
    /// Not the same; of what is in the samples.
    Differs {
        /// Largest absolute difference of a sample. 0: the difference lies between the samples.
        sample_max: f64,
        /// Relative to the root mean square of the first; 0 where that is 0.
        relative: f64,
    },
    /// Another number of values: another model, or another picture size.
    Shape {
        /// Of the first.
        first: u64,
        /// Of the second.
        second: u64,
    },
}

impl StageSketch {
    /// Of numbers.
    pub fn of(stage: String, values: &[f32]) -> Self {
        let mut crc = crc32fast::Hasher::new();
        let mut square_sum = 0.0;
        // In blocks that stay in the cache between the two readings.
        for block in values.chunks(8192) {
            #[cfg(target_endian = "little")]
            crc.update(bytemuck::cast_slice(block));
            #[cfg(target_endian = "big")]
            block.iter().for_each(|value| crc.update(&value.to_le_bytes()));
            square_sum += block.iter().map(|value| f64::from(value * value)).sum::<f64>();
        }
        Self::with(stage, values.len(), crc.finalize(), square_sum, |index| values[index])
    }

    /// Of ids.
    pub fn of_ids(stage: String, ids: &[i64]) -> Self {
        let mut crc = crc32fast::Hasher::new();
        ids.iter().for_each(|id| crc.update(&id.to_le_bytes()));
        let square_sum = ids.iter().map(|id| (*id as f64).powi(2)).sum();
        Self::with(stage, ids.len(), crc.finalize(), square_sum, |index| ids[index] as f32)
    }

    fn with(stage: String, count: usize, crc32: u32, square_sum: f64, value: impl Fn(usize) -> f32) -> Self {
        let taken = count.min(SAMPLES_MAX);
        let samples = (0..taken).map(|sample| value(sample * count / taken)).collect();
        Self { stage, count: count as u64, crc32, rms: (square_sum / count.max(1) as f64).sqrt(), samples }
    }

    /// How `other` compares.
    pub fn difference(&self, other: &Self) -> SketchDifference {
        if self.count != other.count || self.samples.len() != other.samples.len() {
            return SketchDifference::Shape { first: self.count, second: other.count };
        }
        if self.crc32 == other.crc32 && self.samples == other.samples {
            return SketchDifference::Same;
        }
        let pairs = self.samples.iter().zip(&other.samples);
        let sample_max = pairs.map(|(a, b)| f64::from(a - b).abs()).fold(0.0, f64::max);
        let relative = if self.rms > 0.0 { sample_max / self.rms } else { 0.0 };
        SketchDifference::Differs { sample_max, relative }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(values: &[f32]) -> StageSketch {
        StageSketch::of("vision".to_owned(), values)
    }

    #[test]
    fn a_change_of_any_one_value_shows_and_one_in_a_sample_says_how_large() {
        let values: Vec<f32> = (0..20_000).map(|i| (i as f32).sin()).collect();
        let first = sketch(&values);
        assert_eq!(first.samples.len(), SAMPLES_MAX);
        assert_eq!(first.difference(&sketch(&values)), SketchDifference::Same);
        for index in [1, 8191, 8192, 19_999] {
            let mut changed = values.clone();
            changed[index] += 0.5;
            let found = first.difference(&sketch(&changed));
            assert_eq!(found, SketchDifference::Differs { sample_max: 0.0, relative: 0.0 }, "{index}");
        }
        let mut changed = values;
        changed[20_000 / SAMPLES_MAX] += 0.5;
        let SketchDifference::Differs { sample_max, relative } = first.difference(&sketch(&changed)) else {
            unreachable!("one value was changed")
        };
        assert!(
            (sample_max - 0.5).abs() < 1e-6 && (relative - 0.5 / first.rms).abs() < 1e-6,
            "{sample_max} {relative}"
        );
    }

    #[test]
    fn small_and_empty_outputs_are_sketched_whole() {
        assert_eq!(sketch(&[]).difference(&sketch(&[])), SketchDifference::Same);
        assert_eq!(sketch(&[1.0, 2.0]).samples, [1.0, 2.0]);
        assert_eq!(sketch(&[1.0]).difference(&sketch(&[1.0, 1.0])), SketchDifference::Shape { first: 1, second: 2 });
        // Zeros of both signs are other bytes and the same number: a difference of nothing, and said.
        assert_ne!(sketch(&[0.0]).difference(&sketch(&[-0.0])), SketchDifference::Shape { first: 1, second: 1 });
        assert_eq!(StageSketch::of_ids("text_ids".to_owned(), &[3, 4]).samples, [3.0, 4.0]);
    }
}
