//! What the weights of a bundle do to its tokens and actions on this machine, against the fp32 reference.
//!
//! From: the observations of a bundle that is not fp32, and what the reference made of them. To: `egogrid check`. It is
//! what the exporter did with its own graphs (`measured.py`), through the policy that drives a robot.

use crate::bundle::Bundle;
use crate::bundle::manifest::PrecisionCheck;
use crate::bundle::observations::{Look, TOP};
use crate::check::CheckError;
use crate::failure::observed;
use crate::judge::{Difference, ids_that_differ};
use crate::registry::{self, LoadError, LoadOptions};
use crate::watch::{StageOutput, Watch, Watched};
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::perception::depth::{EmptyCells, SensorRules};
use egogrid_runtime::policy::PolicyError;
use egogrid_runtime::stage::Stage;
use serde::Serialize;

/// Figures of this machine beside those of the exporter's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecisionReport {
    /// How many were looked at.
    pub observations: usize,
    /// Those with an id that differs.
    pub observations_differ: usize,
    /// Of the reference.
    pub ids: usize,
    /// Those that differ, and positions that only one side has.
    pub ids_differ: usize,
    /// Observations in which one side has a whole chunk of actions and the other has not.
    pub chunks_differ: usize,
    /// Of the reference's two largest logits, as long as the ids before them are the same.
    pub logit_difference_max: f64,
    /// Of normalized actions.
    pub action_difference_max: f64,
    /// Of physical ones, in the units of the data set.
    pub physical_difference_max: f64,
    /// How much a normalized action may differ.
    pub action_bound: f64,
    /// Whether none does.
    pub within_bound: bool,
    /// What the exporter found, over all observations of the bundle.
    pub recorded: PrecisionCheck,
}

impl PrecisionReport {
    /// False where the bundle says that its actions are within its bound, and here they are not.
    pub fn ok(&self) -> bool {
        self.within_bound || !self.recorded.within_bound
    }

    fn new(recorded: &PrecisionCheck) -> Self {
        Self {
            observations: 0,
            observations_differ: 0,
            ids: 0,
            ids_differ: 0,
            chunks_differ: 0,
            logit_difference_max: 0.0,
            action_difference_max: 0.0,
            physical_difference_max: 0.0,
            action_bound: recorded.action_bound,
            within_bound: true,
            recorded: recorded.clone(),
        }
    }

    fn add(&mut self, look: &Look, answer: &Answer) {
        let wrong = ids_that_differ(&answer.token_ids, &look.token_ids);
        self.observations += 1;
        self.observations_differ += usize::from(wrong > 0);
        self.ids += look.token_ids.len();
        self.ids_differ += wrong;
        let same = look.token_ids.iter().zip(&answer.token_ids).take_while(|(one, other)| one == other).count();
        // The step after the last id that is the same still had the same ids before it.
        let steps = answer.top_logits.iter().zip(&look.top).take(same + 1);
        let logits =
            steps.flat_map(|(found, expected)| (0..TOP).map(|at| (f64::from(found[at]), f64::from(expected[at].1))));
        raise(&mut self.logit_difference_max, logits);
        match (&look.chunk, &answer.chunk) {
            (Some(expected), Some(found)) if expected.normalized.len() == found.0.len() => {
                raise(&mut self.action_difference_max, pairs(&found.0, &expected.normalized));
                raise(&mut self.physical_difference_max, pairs(&found.1, &expected.actions));
            }
            (None, None) => {}
            _ => self.chunks_differ += 1,
        }
        self.within_bound = self.chunks_differ == 0 && self.action_difference_max <= self.action_bound;
    }
}

/// What the policy made of one observation.
#[derive(Debug, Default)]
struct Answer {
    token_ids: Vec<i64>,
    /// At the ids of the reference's two largest.
    top_logits: Vec<[f32; TOP]>,
    /// Normalized and physical, one step after another.
    chunk: Option<(Vec<f64>, Vec<f64>)>,
}

fn pairs<'a>(found: &'a [f64], expected: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    found.iter().copied().zip(expected.iter().copied())
}

fn raise(largest: &mut f64, pairs: impl Iterator<Item = (f64, f64)>) {
    *largest = largest.max(Difference::largest(pairs).largest);
}

/// Looks at the first `count_max` observations of `bundle`, telling `progress` how many of how many are done. `None`
/// for an fp32 bundle, and for one whose exporter measured nothing.
///
/// # Errors
/// Whatever keeps an observation from running. A difference is no error.
pub fn measure(
    environment: &Environment,
    bundle: &Bundle,
    graph: &GraphOptions,
    count_max: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<PrecisionReport>, CheckError> {
    let Some(recorded) = &bundle.manifest().precision_check else { return Ok(None) };
    let Some(observations) = bundle.observations()?.filter(|_| count_max > 0) else { return Ok(None) };
    let rules = match observations.depth_max_m {
        Some(depth_max_m) => SensorRules::new([0.0, depth_max_m], EmptyCells::refused()),
        None => registry::whole_depth(),
    };
    let options = LoadOptions { stats_key: observations.stats_key.clone(), graph: graph.clone(), preprocessing: None };
    let rules = rules.map_err(LoadError::from)?;
    let mut policy = registry::load_watched(environment, bundle, &options, rules)?;
    let mut report = PrecisionReport::new(recorded);
    let looks = &observations.looks[..count_max.min(observations.looks.len())];
    for (number, look) in looks.iter().enumerate() {
        let named = |source| CheckError::Policy { case: format!("observation {number}"), source };
        report.add(look, &answer(policy.as_mut(), look).map_err(named)?);
        progress(number + 1, looks.len());
    }
    Ok(Some(report))
}

fn answer(policy: &mut dyn Watched, look: &Look) -> Result<Answer, PolicyError> {
    let (mut answer, mut unknown) = (Answer::default(), None);
    let mut see = |output: StageOutput<'_>| match output {
        StageOutput::StepLogits(step, logits) => {
            if let Some(top) = look.top.get(step) {
                match top.map(|(id, _)| logits.get(id as usize).copied()) {
                    [Some(first), Some(second)] => answer.top_logits.push([first, second]),
                    _ => unknown = Some(NoSuchId { top: top.map(|(id, _)| id), vocabulary: logits.len() }),
                }
            }
        }
        StageOutput::TokenIds(ids) => answer.token_ids = ids.iter().map(|id| i64::from(*id)).collect(),
        _ => {}
    };
    let outcome = policy.infer_watched(&look.observation, Watch::with(&mut see));
    if let Some(error) = unknown {
        return Err(observed(Stage::Prefill)(error));
    }
    match outcome {
        Ok(chunk) => {
            let normalized = chunk.normalized.iter().flat_map(|row| row.values()).copied().collect();
            let actions = chunk.actions.iter().flat_map(|row| row.values()).copied().collect();
            answer.chunk = Some((normalized, actions));
            Ok(answer)
        }
        Err(PolicyError::EarlyEnd { .. } | PolicyError::WrongKind { .. }) => Ok(answer),
        Err(error) => Err(error),
    }
}

/// Observations of another checkpoint.
#[derive(Debug, thiserror::Error)]
#[error(
    "observations.safetensors has the ids {top:?}, expected less than the {vocabulary} of the graph; export the checkpoint again"
)]
struct NoSuchId {
    top: [u32; TOP],
    vocabulary: usize,
}
