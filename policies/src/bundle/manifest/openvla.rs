//! What only OpenVLA has in its manifest.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// Tables of family `openvla`, without the keys that every family has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenVlaTables {
    /// How pictures become the model's numbers.
    pub image: SquareSpec,
    /// What is done to the instruction.
    pub prompt: FinalSpec,
    /// Where the action tokens lie.
    pub tokens: BinSpec,
}

/// How pictures become the model's numbers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SquareSpec {
    /// The processor's way to the square.
    pub strategy: SquareStrategy,
    /// Colour of the borders, red, green, blue; only with `letterbox`.
    pub letterbox_fill: Option<[u8; 3]>,
    /// What comes before the processor.
    pub preprocessing: PreprocessingSpec,
    /// One per vision tower, in the order of the graph's channels.
    pub towers: Vec<TowerSpec>,
}

/// How a picture that is not square becomes one; all of it with Pillow's 8-bit bicubic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SquareStrategy {
    /// Straight to the square.
    ResizeNaive,
    /// Borders on the short sides, then as `resize_crop`.
    Letterbox,
    /// The short side to the square's, then the middle.
    ResizeCrop,
}

/// What comes before the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreprocessingSpec {
    /// Nothing, as in the official server.
    Processor,
    /// JPEG round trip and lanczos3, as in the official evaluation scripts.
    Evaluation,
    /// The same and a centre crop.
    EvaluationCenterCrop,
}

impl PreprocessingSpec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Processor, Self::Evaluation, Self::EvaluationCenterCrop];

    /// As in `bundle.toml` and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Evaluation => "evaluation",
            Self::EvaluationCenterCrop => "evaluation_center_crop",
        }
    }
}

impl fmt::Display for PreprocessingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such preprocessing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no preprocessing {found:?}, only {:?}", PreprocessingSpec::ALL.map(PreprocessingSpec::name))]
pub struct UnknownPreprocessing {
    /// As written.
    pub found: String,
}

impl FromStr for PreprocessingSpec {
    type Err = UnknownPreprocessing;
    fn from_str(name: &str) -> Result<Self, UnknownPreprocessing> {
        let unknown = || UnknownPreprocessing { found: name.to_owned() };
        Self::ALL.into_iter().find(|preprocessing| preprocessing.name() == name).ok_or_else(unknown)
    }
}

/// How one tower's numbers are made, red, green, blue: `(u8 / 255 - mean) / std` in float32.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TowerSpec {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divides.
    pub std: [f32; 3],
}

/// What is done to the instruction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalSpec {
    /// As Python's `str.lower`.
    pub lowercase: bool,
    /// Last text id, appended unless it is there already.
    pub final_id: u32,
}

/// Where the action tokens lie in the vocabulary: `action_end_id - bins .. action_end_id`, one per dimension.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinSpec {
    /// One past the last action id.
    pub action_end_id: u32,
    /// Edges between -1 and 1, and as many ids.
    pub bins: u32,
}
