//! Statistics of features, as LeRobot keeps them: least, largest, mean, deviation, count and five quantiles.
//!
//! Quantiles of numbers are exact (linear between the two nearest, as numpy does it); those of pictures come from one count per
//! possible value, and so are exact too.

use serde_json::{Value, json};

/// Which, and what they are called.
pub(super) const QUANTILES: [(f64, &str); 5] = [(0.01, "q01"), (0.1, "q10"), (0.5, "q50"), (0.9, "q90"), (0.99, "q99")];

/// Of sorted values, between the two nearest; `None` of none. As `numpy.quantile`.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = (sorted.len().checked_sub(1)? as f64) * share;
    let (low, part) = (place.floor() as usize, place.fract());
    let first = *sorted.get(low)?;
    Some(sorted.get(low + 1).map_or(first, |next| first + (next - first) * part))
}

/// One feature's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FeatureFigures {
    /// Name of the statistic, and one number per dimension or channel.
    pub(super) values: Vec<(&'static str, Vec<f64>)>,
    pub(super) count: u64,
    /// Pictures: each number is `[1, 1]`.
    pub(super) picture: bool,
}

impl FeatureFigures {
    /// Of `[rows, per_row]`, at least one row.
    pub(super) fn of_numbers(values: &[f64], per_row: usize) -> Self {
        let per_row = per_row.max(1);
        let rows = values.len() / per_row;
        let mut named: Vec<(&'static str, Vec<f64>)> = ["min", "max", "mean", "std"]
            .into_iter()
            .chain(QUANTILES.map(|(_, name)| name))
            .map(|n| (n, vec![]))
            .collect();
        for dim in 0..per_row {
            let mut column: Vec<f64> = values.iter().skip(dim).step_by(per_row).copied().collect();
            let mean = column.iter().sum::<f64>() / rows as f64;
            let variance = column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / rows as f64;
            column.sort_unstable_by(f64::total_cmp);
            let all = |share| quantile(&column, share).unwrap_or(f64::NAN);
            let first = [all(0.0), all(1.0), mean, variance.sqrt()];
            let figures = first.into_iter().chain(QUANTILES.map(|(share, _)| all(share)));
            named.iter_mut().zip(figures).for_each(|((_, values), figure)| values.push(figure));
        }
        Self { values: named, count: rows as u64, picture: false }
    }

    /// As in `meta/stats.json`.
    pub(super) fn json(&self) -> Value {
        let mut object = serde_json::Map::new();
        for (name, values) in &self.values {
            let nested =
                if self.picture { values.iter().map(|value| json!([[value]])).collect() } else { json!(values) };
            object.insert((*name).to_owned(), nested);
        }
        object.insert("count".to_owned(), json!([self.count]));
        Value::Object(object)
    }
}

/// How often each value of each channel was seen.
#[derive(Debug, Clone)]
pub(super) struct PictureCounts {
    counts: Vec<Vec<u64>>,
    pictures: u64,
    /// What a value is divided by: 255 where readers scale pictures to 0..1.
    scale: f64,
}

impl PictureCounts {
    pub(super) fn new(channels: usize, values: usize, scale: f64) -> Self {
        Self { counts: vec![vec![0; values]; channels], pictures: 0, scale }
    }

    /// `[height, width, channels]`.
    pub(super) fn add<T: Copy + Into<usize>>(&mut self, pixels: &[T]) {
        let channels = self.counts.len();
        for pixel in pixels.chunks_exact(channels) {
            for (counts, value) in self.counts.iter_mut().zip(pixel) {
                if let Some(count) = counts.get_mut((*value).into()) {
                    *count += 1;
                }
            }
        }
        self.pictures += 1;
    }

    /// Those of others too.
    pub(super) fn merge(&mut self, other: &Self) {
        for (all, more) in self.counts.iter_mut().zip(&other.counts) {
            all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        }
        self.pictures += other.pictures;
    }

    pub(super) fn figures(&self) -> FeatureFigures {
        let mut values: Vec<(&'static str, Vec<f64>)> = ["min", "max", "mean", "std"]
            .into_iter()
            .chain(QUANTILES.map(|(_, name)| name))
            .map(|n| (n, vec![]))
            .collect();
        for counts in &self.counts {
            let total = counts.iter().sum::<u64>().max(1);
            let weighted = |f: &dyn Fn(f64) -> f64| {
                counts.iter().enumerate().map(|(value, count)| f(value as f64) * *count as f64).sum::<f64>()
                    / total as f64
            };
            let mean = weighted(&|value| value);
            let variance = weighted(&|value| (value - mean).powi(2));
            let at = |share: f64| {
                let rank = ((total - 1) as f64 * share).round() as u64;
                let mut seen = 0;
                let value = counts.iter().position(|count| {
                    seen += count;
                    seen > rank
                });
                value.unwrap_or(0) as f64
            };
            let first = [at(0.0), at(1.0), mean, variance.sqrt()];
            let figures = first.into_iter().chain(QUANTILES.map(|(share, _)| at(share)));
            values.iter_mut().zip(figures).for_each(|((_, all), figure)| all.push(figure / self.scale));
        }
        FeatureFigures { values, count: self.pictures, picture: true }
    }
}
