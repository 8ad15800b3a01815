//! The graphs of this family: the depth estimator and vision here, prefill and decode in [`crate::decoder`].
//!
//! Vision writes the image features that prefill reads. The host fills pixels, the encoding, text ids and one token at a
//! time, and reads logits.

use super::tables::{ESTIMATED_DEPTH, ESTIMATOR};
use crate::bundle::Bundle;
use crate::decoder::Decoder;
use crate::graph_tables::GraphLoader;
use crate::registry::LoadError;
use egogrid_runtime::execution::{Environment, ExecutionError, Graph, GraphOptions, SharedTensor};

const PIXELS: &str = "pixel_values";

/// Loaded graphs with all of their memory.
#[derive(Debug)]
pub(super) struct Session {
    /// Absent where depth comes with every frame.
    estimator: Option<Graph>,
    vision: Graph,
    image_features: SharedTensor,
    /// Prompt to tokens.
    pub(super) decoder: Decoder,
}

impl Session {
    /// Loads and wires the graphs of a verified bundle.
    ///
    /// # Errors
    /// A provider that cannot start, or a graph that is not the one of the manifest.
    pub(super) fn load(environment: &Environment, bundle: &Bundle, options: &GraphOptions) -> Result<Self, LoadError> {
        let graphs = GraphLoader::new(environment, bundle, options)?;
        let estimator = graphs.has(ESTIMATOR).then(|| load_estimator(&graphs)).transpose()?;
        let mut vision = graphs.load("vision")?;
        for input in [PIXELS, "freq_encoding"] {
            vision.allocate_input(input, 0)?;
        }
        for output in ["siglip_last_hidden", "pos_embed_3d"] {
            vision.allocate_output(output)?;
        }
        let image_features = vision.share_output("image_features")?;
        let decoder = Decoder::load(&graphs, &image_features)?;
        graphs.finish();
        Ok(Self { estimator, vision, image_features, decoder })
    }

    /// `[3, height, width]`, to be filled before [`Self::run_vision`].
    pub(super) fn pixel_values_mut(&mut self) -> Result<&mut [f32], ExecutionError> {
        self.vision.input_mut(PIXELS)
    }

    /// The pixels of [`Self::pixel_values_mut`] to metric depth. The two graphs have their own copies of them.
    pub(super) fn run_estimator(&mut self) -> Result<(), ExecutionError> {
        let Some(estimator) = &mut self.estimator else { return Err(no_estimator()) };
        estimator.input_mut::<f32>(PIXELS)?.copy_from_slice(self.vision.input_mut(PIXELS)?);
        estimator.run()
    }

    /// Of the last [`Self::run_estimator`], `[height, width]` metres.
    pub(super) fn estimated_depth_m(&self) -> Result<&[f32], ExecutionError> {
        self.estimator.as_ref().ok_or_else(no_estimator)?.output(ESTIMATED_DEPTH)
    }

    /// Every output of the estimator by its name. Copies; for checks.
    pub(super) fn estimator_outputs(&self) -> Result<Vec<(String, Vec<f32>)>, ExecutionError> {
        let estimator = self.estimator.as_ref().ok_or_else(no_estimator)?;
        let copied = |name: &str| Ok((name.to_owned(), estimator.output::<f32>(name)?.to_vec()));
        estimator.outputs().iter().map(|spec| copied(&spec.name)).collect()
    }

    /// `[patches, numbers]`, to be filled before [`Self::run_vision`].
    pub(super) fn freq_encoding_mut(&mut self) -> Result<&mut [f32], ExecutionError> {
        self.vision.input_mut("freq_encoding")
    }

    /// Picture and points to image features.
    pub(super) fn run_vision(&mut self) -> Result<(), ExecutionError> {
        self.vision.run()
    }

    /// What vision made of the last picture: both halves of the sum, and the features. Copies; for checks.
    pub(super) fn vision_outputs(&self) -> Result<[(&'static str, Vec<f32>); 3], ExecutionError> {
        let half = |name| Ok::<_, ExecutionError>((name, self.vision.output::<f32>(name)?.to_vec()));
        Ok([half("siglip_last_hidden")?, half("pos_embed_3d")?, ("image_features", self.image_features.to_host()?)])
    }
}

fn load_estimator(graphs: &GraphLoader<'_>) -> Result<Graph, LoadError> {
    let mut estimator = graphs.load(ESTIMATOR)?;
    estimator.allocate_input(PIXELS, 0)?;
    let outputs: Vec<String> = estimator.outputs().iter().map(|spec| spec.name.clone()).collect();
    for output in &outputs {
        estimator.allocate_output(output)?;
    }
    Ok(estimator)
}

/// [`super::inputs`] asks for an estimate only where the bundle has an estimator.
fn no_estimator() -> ExecutionError {
    ExecutionError::NoSuchTensor {
        graph: ESTIMATOR.to_owned(),
        what: "output",
        name: ESTIMATED_DEPTH.to_owned(),
        known: Vec::new(),
    }
}
