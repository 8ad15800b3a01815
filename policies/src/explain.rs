//! Why a policy chose what it chose: how probable every cell was, and which parts of the picture its choice hangs on.
//!
//! From: one observation, and the tokens that were chosen for it. To: the live view. It needs a policy of its own, because an answer
//! costs many inferences: never the one that drives. No gradients: parts of the picture are covered with grey, and what that costs
//! the chosen tokens in probability is what the part was worth. Depth is not covered.

use crate::bundle::Bundle;
use crate::greedy;
use crate::registry::{LoadError, LoadOptions, load_watched};
use crate::watch::{StageOutput, Watch, Watched};
use egogrid_action_grids::TokenKind;
use egogrid_runtime::camera::RgbImage;
use egogrid_runtime::execution::Environment;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::{ActionChunk, PolicyError};
use egogrid_runtime::schedule::Token;
use egogrid_runtime::stage::Stage;
use std::ops::Range;

/// What a covered part is filled with: the middle of what a pixel can be.
pub const GREY: u8 = 128;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The policy cannot be loaded, or is of a family without cells and patches.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No answer to explain.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A block that is none.
    #[error(
        "found blocks of {found} patches a side to cover, expected 1 to {max}: the picture has that many patches a side"
    )]
    Block {
        /// As asked.
        found: u32,
        /// Patches of the shorter side.
        max: u32,
    },
    /// Nothing was chosen.
    #[error("no tokens to explain; expected those of a whole answer")]
    NoTokens,
}

/// A policy that is asked why.
pub struct Explainer {
    policy: Box<dyn Watched>,
    cells: Range<u32>,
    patches: [u32; 2],
}

/// An answer with everything that it was chosen over.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The answer.
    pub chunk: ActionChunk,
    /// Probability of each translation id as the first token, in the order of the ids. Over the whole vocabulary, as
    /// [`ActionChunk::confidence`] is: what is missing to 1 went to ids that are no translation.
    pub cells: Vec<f32>,
}

impl Explainer {
    /// Loads a policy of its own.
    ///
    /// # Errors
    /// As [`crate::registry::load`], and a family whose pictures are not cut into patches with cells as the answer.
    pub fn load(
        environment: &Environment,
        bundle: &Bundle,
        options: &LoadOptions,
        rules: SensorRules,
    ) -> Result<Self, ExplainError> {
        let ego3d = &bundle.manifest().spatialvla().map_err(LoadError::from)?.ego3d;
        let patches = [ego3d.patch_rows, ego3d.patch_cols];
        let cells = bundle.action_tokenizer().map_err(LoadError::from)?.table().ids(TokenKind::Translation);
        let policy = load_watched(environment, bundle, options, rules)?;
        Ok(Self { policy, cells, patches })
    }

    /// Answers, beginning with `committed`, and says how probable every first cell was.
    ///
    /// # Errors
    /// No answer.
    pub fn decide(&mut self, observation: &Observation, committed: &[Token]) -> Result<Decision, ExplainError> {
        let (mut cells, ids) = (None, self.cells.clone());
        let mut see = |output: StageOutput<'_>| {
            if let StageOutput::StepLogits(0, logits) = output {
                cells = greedy::probabilities(logits, ids.clone());
            }
        };
        let chunk = self.policy.infer_watched_from(observation, committed, Watch::with(&mut see))?;
        let cells = cells.ok_or(PolicyError::NotFinite { stage: Stage::Prefill, what: "logits" })?;
        Ok(Decision { chunk, cells })
    }

    /// What each patch is worth to `tokens`, a whole answer to `observation`: `[rows, columns]`, nats by which their log-probability
    /// falls when the `block` x `block` patches around it are covered. Negative: they are more probable without it. `None` when
    /// `goes_on`, which is asked before each of the many inferences, said no.
    ///
    /// # Errors
    /// A block that is none, or a policy that cannot weigh the tokens.
    pub fn occlude(
        &mut self,
        observation: &Observation,
        tokens: &[Token],
        block: u32,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, ExplainError> {
        let [rows, columns] = self.patches;
        let max = rows.min(columns);
        if !(1..=max).contains(&block) {
            return Err(ExplainError::Block { found: block, max });
        }
        let whole = self.log_probability(observation, tokens)?;
        let mut weights = vec![0.0; (rows * columns) as usize];
        for row in (0..rows).step_by(block as usize) {
            for column in (0..columns).step_by(block as usize) {
                if !goes_on() {
                    return Ok(None);
                }
                let part = [row..(row + block).min(rows), column..(column + block).min(columns)];
                let covered = covered(observation, self.patches, &part)?;
                let weight = (whole - self.log_probability(&covered, tokens)?) as f32;
                for row in part[0].clone() {
                    let first = row * columns;
                    weights[(first + part[1].start) as usize..(first + part[1].end) as usize].fill(weight);
                }
            }
        }
        Ok(Some(weights))
    }

    /// Of all `tokens` together, each after those before it. What the policy would say instead does not matter.
    fn log_probability(&mut self, observation: &Observation, tokens: &[Token]) -> Result<f64, ExplainError> {
        let (_, given) = tokens.split_last().ok_or(ExplainError::NoTokens)?;
        let (mut sum, mut weighed) = (0.0, 0);
        let mut see = |output: StageOutput<'_>| {
            if let StageOutput::StepLogits(position, logits) = output
                && let Some(token) = tokens.get(position)
                && let Some(log) = greedy::log_probability(logits, token.id)
            {
                (sum, weighed) = (sum + log, weighed + 1);
            }
        };
        // The last token is weighed too, whatever comes in its place: an answer that is refused for it has been heard.
        let answer = self.policy.infer_watched_from(observation, given, Watch::with(&mut see));
        if weighed == tokens.len() {
            return Ok(sum);
        }
        answer?;
        Err(PolicyError::NotFinite { stage: Stage::Decode, what: "logits" }.into())
    }
}

/// The same observation, with the patches of `part` (rows, columns) in grey.
fn covered(
    observation: &Observation,
    [rows, columns]: [u32; 2],
    part: &[Range<u32>; 2],
) -> Result<Observation, PolicyError> {
    let rgb = &observation.frame.rgb;
    let (width_px, height_px) = (rgb.width_px(), rgb.height_px());
    let pixels =
        |range: &Range<u32>, count: u32, side_px: u32| side_px * range.start / count..side_px * range.end / count;
    let (down, across) = (pixels(&part[0], rows, height_px), pixels(&part[1], columns, width_px));
    let mut data = rgb.data().to_vec();
    for row in down {
        let first = row * width_px;
        data[3 * (first + across.start) as usize..3 * (first + across.end) as usize].fill(GREY);
    }
    let refused = |source| PolicyError::Observation { stage: Stage::Preprocess, source };
    let rgb = RgbImage::new(width_px, height_px, data).map_err(|error| refused(Box::new(error)))?;
    let mut observation = observation.clone();
    observation.frame.rgb = rgb;
    Ok(observation)
}
