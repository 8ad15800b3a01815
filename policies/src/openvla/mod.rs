//! OpenVLA, arXiv:2406.09246: picture and instruction to one action of as many numbers as the data set has.
//!
//! From: [`Observation`]. To: [`ActionChunk`]. [`OpenVla::infer_watched`] is the family on one screen; each stage writes
//! straight into the memory that the next one reads. Checked stage by stage against `golden.safetensors`.

mod inputs;
mod kind;
mod prompt;
mod replay;
mod session;
mod tables;

pub(crate) use replay::replay;
pub(crate) use tables::check_tables;

use crate::bundle::Bundle;
use crate::failure::{failed, observed};
use crate::generation::{Generation, generate};
use crate::prompt::Prompt;
use crate::registry::{self, LoadError, LoadOptions};
use crate::watch::{StageOutput, Watch, Watched};
use egogrid_action_grids::{ActionBins, NormalizedRow, RowStats, StatsError};
use egogrid_runtime::execution::Environment;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::towers::TowerInput;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::schedule::Token;
use egogrid_runtime::stage::{Stage, StageTimes};
use egogrid_runtime::units::ActionUnits;
use session::Session;

/// A loaded OpenVLA policy.
#[derive(Debug)]
pub struct OpenVla {
    spec: PolicySpec,
    pixels: TowerInput,
    prompt: Prompt,
    session: Session,
    bins: ActionBins,
    statistics: RowStats,
}

impl OpenVla {
    /// Loads everything; nothing large is allocated after that.
    ///
    /// # Errors
    /// Unknown statistics, a provider that cannot start, a tokenizer or graph that is not the one of the manifest.
    pub fn load(environment: &Environment, bundle: &Bundle, options: &LoadOptions) -> Result<Self, LoadError> {
        let statistics = bundle.statistics().get(&options.stats_key)?.clone();
        let pixels = inputs::pixels(bundle.manifest(), options.preprocessing)?;
        let prompt = prompt::load(bundle)?;
        let session = Session::load(environment, bundle, &options.graph)?;
        let bins = bundle.action_bins()?.clone();
        let spec = registry::spec(bundle, false, false);
        Ok(Self { spec, pixels, prompt, session, bins, statistics })
    }

    /// Goes on with other statistics of the same bundle: another number of tokens per inference, perhaps.
    ///
    /// # Errors
    /// An unknown key; the old statistics stay.
    pub fn use_statistics(&mut self, bundle: &Bundle, stats_key: &str) -> Result<(), StatsError> {
        self.statistics = bundle.statistics().get(stats_key)?.clone();
        Ok(())
    }

    /// [`Policy::infer`], showing every stage's output to `watch`.
    ///
    /// # Errors
    /// As [`Policy::infer`].
    pub fn infer_watched(&mut self, observation: &Observation, watch: Watch<'_>) -> Result<ActionChunk, PolicyError> {
        let (mut watch, mut times) = (watch, StageTimes::default());
        let session = &mut self.session;

        times.measure(Stage::Preprocess, || -> Result<(), PolicyError> {
            let text_ids = self.prompt.ids(&observation.instruction).map_err(observed(Stage::Preprocess))?;
            session.decoder.set_text(0, text_ids).map_err(failed(Stage::Preprocess))?;
            let pixels = session.pixel_values_mut().map_err(failed(Stage::Preprocess))?;
            self.pixels.write(&observation.frame.rgb, pixels).map_err(observed(Stage::Preprocess))?;
            watch.show(StageOutput::TextIds(text_ids));
            watch.show(StageOutput::PixelValues(pixels));
            Ok(())
        })?;
        times.measure(Stage::Vision, || session.run_vision()).map_err(failed(Stage::Vision))?;
        watch.vision(|| session.vision_outputs()).map_err(failed(Stage::Vision))?;

        let (dims, bins) = (self.statistics.dims(), &self.bins);
        let require = |token_ids: &[u32]| kind::require(bins, dims, token_ids);
        let generation = generate(&mut session.decoder, dims, require, &mut times, &mut watch)?;
        let Generation { token_ids, confidence, runner_up } = generation;

        let values =
            times.measure(Stage::Grid, || token_ids.iter().map(|id| bins.decode(*id)).collect::<Result<_, _>>());
        let normalized = NormalizedRow::new(values.map_err(observed(Stage::Grid))?).map_err(observed(Stage::Grid))?;
        watch.show(StageOutput::Normalized(std::slice::from_ref(&normalized)));
        let action = times.measure(Stage::Unnormalize, || self.statistics.unnormalize(&normalized));
        let action = action.map_err(observed(Stage::Unnormalize))?;
        watch.show(StageOutput::Actions(std::slice::from_ref(&action)));

        Ok(ActionChunk {
            sequence: observation.sequence,
            actions: vec![action],
            units: ActionUnits::PHYSICAL, // a robot with others says so, `runtime::units`
            normalized: vec![normalized],
            token_ids,
            confidence,
            runner_up,
            times,
            depth: None,
            points_xyz_m: Vec::new(),
            sketches: Vec::new(), // a sketching policy adds them
        })
    }
}

impl Watched for OpenVla {
    fn infer_watched_from(
        &mut self,
        observation: &Observation,
        committed: &[Token],
        watch: Watch<'_>,
    ) -> Result<ActionChunk, PolicyError> {
        if committed.is_empty() {
            return self.infer_watched(observation, watch);
        }
        let reason = format!("policy {} takes no beginning", self.spec.id);
        Err(PolicyError::CannotCommit { tokens: committed.len(), reason })
    }
}

impl Policy for OpenVla {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.infer_watched(observation, Watch::nobody())
    }

    /// Nothing outlives an inference but the tokenized instruction, which depends on nothing else.
    fn reset(&mut self) {}
}
