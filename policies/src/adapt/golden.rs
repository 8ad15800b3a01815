//! Golden tensors of an adapted bundle: those of the old one as far as nothing changed, and what the new graphs say after that, once it is
//! known to be what the old logits allow.

use super::{AdaptBundleError, Plan, rows};
use crate::bundle::{Bundle, BundleError, GoldenCase, RowsSpec};
use crate::check::{CheckError, CheckRow};
use crate::greedy;
use crate::judge::tolerance;
use crate::registry::Family;
use crate::spatialvla::over_cases;
use crate::watch::{StageOutput, Watch};
use egogrid_action_grids::TokenKind;
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::policy::PolicyError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// What a bundle answers to one case.
#[derive(Debug, Default)]
struct Answer {
    /// Stages before the first token, by name.
    before: Vec<(String, Vec<f32>)>,
    logits: Vec<Vec<f32>>,
    token_ids: Vec<i64>,
    /// Empty where the ids are no chunk.
    normalized: Vec<f64>,
    actions: Vec<f64>,
}

/// Bytes of the new `golden.safetensors`, in how many cases ids changed, and how many cases there are.
pub(super) fn golden(
    environment: &Environment,
    old: &Bundle,
    new: &Bundle,
    graph: &GraphOptions,
    plan: &Plan,
) -> Result<(Vec<u8>, usize, usize), AdaptBundleError> {
    let cases = old.golden()?;
    let mut answers = Vec::new();
    over_cases(environment, new, graph, &cases, |policy, case| {
        let mut answer = Answer::default();
        let outcome = policy.infer_watched(&case.observation, Watch::with(&mut |output| answer.hear(output)));
        match outcome {
            Ok(_) | Err(PolicyError::EarlyEnd { .. } | PolicyError::WrongKind { .. }) => {}
            Err(source) => return Err(CheckError::Policy { case: case.name.clone(), source }),
        }
        answers.push(answer);
        Ok(())
    })?;
    let mut changed = 0;
    for (case, answer) in cases.iter().zip(&answers) {
        require_unchanged(case, answer)?;
        require_between(case, answer, plan)?;
        changed += usize::from(case.i64("token_ids")? != answer.token_ids);
    }
    Ok((file(&old.golden_bytes()?, &cases, &answers, old.manifest().chunk.length)?, changed, cases.len()))
}

/// A row of the last check as an error.
pub(super) fn unlike(row: &CheckRow) -> AdaptBundleError {
    let allowed = row.tolerance.unwrap_or_default();
    let (case, stage) = (row.case.clone(), format!("{} (difference from what it said before)", row.stage));
    AdaptBundleError::NewBundle { case, stage, found: row.largest_abs_difference, low: 0.0, high: allowed }
}

impl Answer {
    fn hear(&mut self, output: StageOutput<'_>) {
        match output {
            StageOutput::StepLogits(_, logits) => {
                self.token_ids.extend(greedy::choose(logits).map(|choice| i64::from(choice.id)));
                self.logits.push(logits.to_vec());
            }
            StageOutput::Normalized(rows) => {
                self.normalized = rows.iter().flat_map(|row| row.values()).copied().collect()
            }
            StageOutput::Actions(rows) => self.actions = rows.iter().flat_map(|row| row.values()).copied().collect(),
            StageOutput::Vision(_, values)
            | StageOutput::PixelValues(values)
            | StageOutput::PatchDepth(values)
            | StageOutput::PointsXyz(values)
            | StageOutput::FreqEncoding(values) => self.before.push((output.name(), values.to_vec())),
            // Ids of the text are part of every logit; the estimator ends in the patch depth.
            StageOutput::TextIds(_) | StageOutput::Estimator(..) | StageOutput::TokenIds(_) => {}
        }
    }
}

/// What lies before the tokens does not know the grids. The old bundle has just been checked with the same graphs and library, so where
/// depth is estimated nothing more than rounding can differ either; the last stage says enough then.
fn require_unchanged(case: &GoldenCase, answer: &Answer) -> Result<(), AdaptBundleError> {
    for (stage, found) in &answer.before {
        if case.estimates_depth() && stage != "image_features" {
            continue;
        }
        let allowed = tolerance(Family::SpatialVla, stage).unwrap_or_default();
        for (index, (found, expected)) in found.iter().zip(case.f32(stage)?).enumerate() {
            let expected = f64::from(*expected);
            require(case, format!("{stage}[{index}]"), *found, [expected, expected], allowed)?;
        }
    }
    Ok(())
}

/// The first step has seen no token, so only rows of the head can have changed its logits.
fn require_between(case: &GoldenCase, answer: &Answer, plan: &Plan) -> Result<(), AdaptBundleError> {
    let old = case.f32("step0_logits")?;
    let Some(new) = answer.logits.first().filter(|new| new.len() == old.len()) else {
        let (found, expected) = (answer.logits.first().map_or(0, Vec::len) as f64, old.len() as f64);
        return require(case, "step0_logits (how many)".to_owned(), found as f32, [expected; 2], 0.0);
    };
    let allowed = tolerance(Family::SpatialVla, "step0_logits").unwrap_or_default();
    let begin = plan.tokenizer.table().ids(TokenKind::Translation).start;
    for (id, found) in (0u32..).zip(new) {
        let own = f64::from(old[id as usize]);
        let cell = |first: u32| id.checked_sub(first).and_then(|cell| plan.stencils.get(cell as usize));
        let stencil = match plan.head {
            RowsSpec::Kept => None,
            // Rows that repeat cells may or may not have been cells: both are allowed there, and nothing decodes to them.
            RowsSpec::Interpolated => cell(begin).or_else(|| cell(rows::last_rows(plan)?)),
        };
        let around = stencil.map(|stencil| stencil.counted().map(|row| f64::from(old[(begin + row) as usize])));
        let range = match around {
            None => [own, own],
            Some(corners) => {
                let start = if cell(begin).is_some() { [f64::INFINITY, f64::NEG_INFINITY] } else { [own, own] };
                corners.fold(start, |[low, high], corner| [low.min(corner), high.max(corner)])
            }
        };
        require(case, format!("step0_logits[{id}]"), *found, range, allowed)?;
    }
    Ok(())
}

fn require(
    case: &GoldenCase,
    stage: String,
    found: f32,
    [low, high]: [f64; 2],
    allowed: f64,
) -> Result<(), AdaptBundleError> {
    let found = f64::from(found);
    if (low - allowed..=high + allowed).contains(&found) {
        return Ok(());
    }
    Err(AdaptBundleError::NewBundle { case: case.name.clone(), stage, found, low, high })
}

/// The old file with other answers.
fn file(old: &[u8], cases: &[GoldenCase], answers: &[Answer], chunk_len: u16) -> Result<Vec<u8>, BundleError> {
    let wrong = |found: String| BundleError::Golden {
        tensor: "header".to_owned(),
        found,
        expected: "a safetensors file".to_owned(),
    };
    let tensors = SafeTensors::deserialize(old).map_err(|error| wrong(error.to_string()))?;
    let answered = |name: &str| {
        let stage = name.split_once('.').map_or(name, |(_, stage)| stage);
        matches!(stage, "token_ids" | "normalized" | "actions") || stage.starts_with("step")
    };
    let mut views: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, view) in tensors.iter().filter(|(name, _)| !answered(name)) {
        views.insert(name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    }
    for (case, answer) in cases.iter().zip(answers) {
        let mut add = |stage: String, dtype, shape, data| {
            views.insert(format!("{}.{stage}", case.name), (dtype, shape, data));
        };
        let ids: Vec<u8> = answer.token_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        add("token_ids".to_owned(), Dtype::I64, vec![answer.token_ids.len()], ids);
        for (step, logits) in answer.logits.iter().enumerate() {
            let data = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
            add(format!("step{step}_logits"), Dtype::F32, vec![logits.len()], data);
        }
        for (stage, values) in [("normalized", &answer.normalized), ("actions", &answer.actions)] {
            if !values.is_empty() {
                let rows = usize::from(chunk_len);
                let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                add(stage.to_owned(), Dtype::F64, vec![rows, values.len() / rows], data);
            }
        }
    }
    let views = views.iter().map(|(name, (dtype, shape, data))| {
        TensorView::new(*dtype, shape.clone(), data)
            .map(|view| (name.clone(), view))
            .map_err(|error| wrong(error.to_string()))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize(views, None).map_err(|error| wrong(error.to_string()))
}
