//! The stage names. Timings, log fields, golden files and budgets all use these and no others.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// One stage of the way from a frame to a command, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Resize and rescale of the picture to the model's input.
    Preprocess,
    /// The depth estimator's graph; only where a frame brings no depth.
    Estimate,
    /// Depth at the model's sub-cells: averages of a sensor's or an estimator's map.
    Depth,
    /// Back-projection and frequency encoding.
    Ego3d,
    /// The vision graph.
    Vision,
    /// The prompt pass of the language model.
    Prefill,
    /// All token-by-token passes of one chunk.
    Decode,
    /// Token ids to normalized actions.
    Grid,
    /// Normalized to physical actions.
    Unnormalize,
    /// Choosing the action of this tick.
    Schedule,
    /// The safety gate.
    Safety,
    /// Handing over to the sink.
    Publish,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 12] = [
        Self::Preprocess,
        Self::Estimate,
        Self::Depth,
        Self::Ego3d,
        Self::Vision,
        Self::Prefill,
        Self::Decode,
        Self::Grid,
        Self::Unnormalize,
        Self::Schedule,
        Self::Safety,
        Self::Publish,
    ];

    /// The name used in files and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Estimate => "estimate",
            Self::Depth => "depth",
            Self::Ego3d => "ego3d",
            Self::Vision => "vision",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Grid => "grid",
            Self::Unnormalize => "unnormalize",
            Self::Schedule => "schedule",
            Self::Safety => "safety",
            Self::Publish => "publish",
        }
    }

    /// Whether the time of this stage is spent inside ONNX Runtime.
    pub fn is_onnx(self) -> bool {
        matches!(self, Self::Estimate | Self::Vision | Self::Prefill | Self::Decode)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Time spent in each stage of one pass. A stage that did not run is `None`, not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageTimes {
    spent: [Option<Duration>; Stage::ALL.len()],
}

impl StageTimes {
    /// Adds to the time of `stage`.
    pub fn add(&mut self, stage: Stage, spent: Duration) {
        let slot = &mut self.spent[stage as usize];
        *slot = Some(slot.unwrap_or_default() + spent);
    }

    /// Runs `work` and books its time on `stage`.
    pub fn measure<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let result = work();
        self.add(stage, start.elapsed());
        result
    }

    /// The stages that ran, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        Stage::ALL.into_iter().filter_map(|stage| self.spent[stage as usize].map(|spent| (stage, spent)))
    }

    /// Adds every stage of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (stage, spent) in other.iter() {
            self.add(stage, spent);
        }
    }

    /// Sum over all stages.
    pub fn total(&self) -> Duration {
        self.iter().map(|(_, spent)| spent).sum()
    }

    /// Sum over the stages that are not ONNX calls.
    pub fn outside_onnx(&self) -> Duration {
        self.iter().filter(|(stage, _)| !stage.is_onnx()).map(|(_, spent)| spent).sum()
    }
}
