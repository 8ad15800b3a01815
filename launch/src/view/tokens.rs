//! Action tokens where they are: the cells of the translation grid in the normalized cube, and which were chosen.
//!
//! From: the policy's tokenizer (once) and each chunk. To: entities below `tokens`, axes normalized x, y, z in [-1, 1].
//! Size and colour of a chosen cell are its confidence; a line leads to the runner-up.

use super::log::LogError;
use egogrid_action_grids::{ActionTokenizer, TOKENS_PER_ACTION, TokenKind};
use egogrid_runtime::policy::ActionChunk;
use egogrid_sim_bridge::message::PolicyToken;
use rerun::{Boxes3D, Color, FillMode, LineStrips3D, Points3D, Radius, RecordingStream, ViewCoordinates};
use std::collections::BTreeMap;
use std::sync::Arc;

const CELL_RGB: [u8; 3] = [105, 125, 155];
const RUNNER_UP_RGB: [u8; 3] = [190, 120, 255];
/// Cells below are dots of the grid.
const PROBABILITY_MIN: f32 = 1e-3;
const PROBABLE_RGB: [u8; 3] = [255, 150, 60];
const BOX_RGB: [u8; 3] = [110, 110, 120];
const AXIS_RGB: [u8; 3] = [200, 200, 210];

const LABEL_RGB: [u8; 3] = [235, 235, 240];
/// Cells nearer than this share a label.
const NEAR: f32 = 0.35;

/// A cell that this chunk chose, perhaps for several steps.
struct Choice {
    at: [f32; 3],
    steps: Vec<usize>,
    confidence: f32,
}

/// The translation cells of one tokenizer.
pub(super) struct TokenSpace {
    tokenizer: Arc<ActionTokenizer>,
}

impl TokenSpace {
    pub(super) fn new(tokenizer: Arc<ActionTokenizer>) -> Self {
        Self { tokenizer }
    }

    /// Where a translation token is; `None` for any other id.
    fn place(&self, token: u32) -> Option<[f32; 3]> {
        let table = self.tokenizer.table();
        let rest = [TokenKind::Rotation, TokenKind::Gripper].map(|kind| table.ids(kind).start);
        let action = self.tokenizer.decode(&[token, rest[0], rest[1]]).ok()?;
        Some(action.translation().map(|value| value as f32))
    }

    /// The official spelling: counted from the first action token.
    fn name(&self, token: u32) -> String {
        let table = self.tokenizer.table();
        let first = TokenKind::SLOTS.map(|kind| table.ids(kind).start).into_iter().min().unwrap_or_default();
        match token.checked_sub(first) {
            Some(index) => format!("<ACTION{index:05}>"),
            None => format!("id {token}"),
        }
    }

    pub(super) fn statics(&self, stream: &RecordingStream) -> Result<(), LogError> {
        stream.log_static("tokens", &ViewCoordinates::RIGHT_HAND_Z_UP())?;
        let cells: Vec<[f32; 3]> =
            self.tokenizer.table().ids(TokenKind::Translation).filter_map(|token| self.place(token)).collect();
        let dots = Points3D::new(cells).with_colors([CELL_RGB]).with_radii([Radius::new_ui_points(1.2)]);
        stream.log_static("tokens/cells", &dots)?;
        let cube = Boxes3D::from_centers_and_half_sizes([[0.0; 3]], [[1.0; 3]]);
        let cube = cube.with_colors([BOX_RGB]).with_radii([Radius::new_ui_points(0.6)]);
        stream.log_static("tokens/cube", &cube.with_fill_mode(FillMode::MajorWireframe))?;
        let ends = [[1.15, 0.0, 0.0], [0.0, 1.15, 0.0], [0.0, 0.0, 1.15_f32]];
        let axes = LineStrips3D::new(ends.map(|end| [[0.0; 3], end])).with_colors([AXIS_RGB]);
        let axes = axes.with_radii([Radius::new_ui_points(0.6)]);
        stream.log_static("tokens/axes", &axes.with_labels(["x", "y", "z"]).with_show_labels(true))?;
        Ok(())
    }

    /// The cells of one chunk.
    pub(super) fn chosen(&self, stream: &RecordingStream, chunk: &ActionChunk) -> Result<(), LogError> {
        let token = |(slot, id): (usize, &u32)| {
            let confidence = chunk.confidence.get(slot).copied().unwrap_or_default();
            let (runner_up, runner_up_confidence) = chunk.runner_up.get(slot).copied().unwrap_or_default();
            PolicyToken { id: *id, confidence, runner_up, runner_up_confidence }
        };
        let tokens: Vec<PolicyToken> = chunk.token_ids.iter().enumerate().map(token).collect();
        self.tokens(stream, &tokens)
    }

    /// The same of tokens as they are on the wire.
    pub(super) fn tokens(&self, stream: &RecordingStream, tokens: &[PolicyToken]) -> Result<(), LogError> {
        let mut choices: BTreeMap<u32, Choice> = BTreeMap::new();
        let (mut others, mut other_radii, mut other_names, mut between) = (vec![], vec![], vec![], vec![]);
        for (step, said) in tokens.iter().step_by(TOKENS_PER_ACTION).enumerate() {
            let PolicyToken { id: token, confidence, runner_up: other, runner_up_confidence: probability } = *said;
            let Some(at) = self.place(token) else { continue };
            let choice = choices.entry(token).or_insert_with(|| Choice { at, steps: vec![], confidence });
            choice.steps.push(step + 1);
            choice.confidence = choice.confidence.min(confidence);
            if let Some(other_at) = self.place(other) {
                others.push(other_at);
                other_radii.push(radius(probability));
                other_names.push(format!("step {}: second {} p={probability:.2}", step + 1, self.name(other)));
                between.push([at, other_at]);
            }
        }
        let points = Points3D::new(choices.values().map(|choice| choice.at))
            .with_colors(choices.values().map(|choice| color(choice.confidence)))
            .with_radii(choices.values().map(|choice| radius(choice.confidence)));
        stream.log("tokens/chosen", &points)?;
        self.labels(stream, &choices)?;
        let points = Points3D::new(others).with_colors([RUNNER_UP_RGB]).with_radii(other_radii);
        stream.log("tokens/runner_up", &points.with_labels(other_names).with_show_labels(false))?;
        let lines = LineStrips3D::new(between).with_colors([RUNNER_UP_RGB]).with_radii([Radius::new_ui_points(0.7)]);
        stream.log("tokens/runner_up/line", &lines)?;
        Ok(())
    }

    /// Every cell that may have been the first token: size and colour are its probability. `cells` in the order of the ids.
    pub(super) fn probabilities(&self, stream: &RecordingStream, cells: &[f32]) -> Result<(), LogError> {
        let ids = self.tokenizer.table().ids(TokenKind::Translation);
        let shown = ids.zip(cells).filter(|(_, probability)| **probability >= PROBABILITY_MIN);
        let shown: Vec<_> = shown.filter_map(|(token, &p)| Some((token, self.place(token)?, p))).collect();
        let points = Points3D::new(shown.iter().map(|(_, at, _)| *at))
            .with_colors(
                shown.iter().map(|(_, _, p)| PROBABLE_RGB.map(|full| (f32::from(full) * (0.35 + 0.65 * p)) as u8)),
            )
            .with_radii(shown.iter().map(|(_, _, p)| Radius::new_scene_units(0.012 + 0.07 * p.sqrt())))
            .with_labels(shown.iter().map(|(token, _, p)| format!("{} p={p:.3}", self.name(*token))));
        Ok(stream.log("tokens/cells_probability", &points.with_show_labels(false))?)
    }

    /// Cells that lie close together share one label of several lines: two labels would cover each other.
    fn labels(&self, stream: &RecordingStream, choices: &BTreeMap<u32, Choice>) -> Result<(), LogError> {
        let mut labels: Vec<([f32; 3], String)> = Vec::new();
        for (&token, choice) in choices {
            let text = self.label(token, choice);
            let near = |at: &[f32; 3]| (0..3).map(|i| (at[i] - choice.at[i]).powi(2)).sum::<f32>() < NEAR * NEAR;
            match labels.iter_mut().find(|(at, _)| near(at)) {
                Some((_, lines)) => *lines = format!("{lines}\n{text}"),
                None => labels.push((choice.at, text)),
            }
        }
        let (places, texts): (Vec<_>, Vec<_>) = labels.into_iter().unzip();
        let points = Points3D::new(places).with_colors([LABEL_RGB]).with_radii([Radius::new_ui_points(1.0)]);
        stream.log("tokens/chosen/names", &points.with_labels(texts).with_show_labels(true))?;
        Ok(())
    }

    /// `1-3 <ACTION01234> p=0.83`: steps, name, and the smallest confidence of those steps.
    fn label(&self, token: u32, choice: &Choice) -> String {
        let steps = match choice.steps.as_slice() {
            [only] => only.to_string(),
            [first, .., last] if last - first + 1 == choice.steps.len() => format!("{first}-{last}"),
            steps => steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        format!("{steps}: {} p={:.2}", self.name(token), choice.confidence)
    }
}

fn radius(probability: f32) -> Radius {
    Radius::new_scene_units(0.035 + 0.05 * probability.clamp(0.0, 1.0))
}

/// Red (0) over amber to green (1).
fn color(probability: f32) -> Color {
    let p = probability.clamp(0.0, 1.0);
    let channel = |value: f32| (255.0 * value.clamp(0.0, 1.0)) as u8;
    Color::from_rgb(channel(2.0 - 2.0 * p), channel(0.25 + 1.2 * p), 70)
}
