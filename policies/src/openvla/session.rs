//! The graphs of this family: vision here, prefill and decode in [`crate::decoder`].
//!
//! Vision writes the image features that prefill reads. The host fills pixels, text ids and one token at a time, and
//! reads logits.

use crate::bundle::Bundle;
use crate::decoder::Decoder;
use crate::graph_tables::GraphLoader;
use crate::registry::LoadError;
use egogrid_runtime::execution::{Environment, ExecutionError, Graph, GraphOptions, SharedTensor};

/// Loaded graphs with all of their memory.
#[derive(Debug)]
pub(super) struct Session {
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
        let mut vision = graphs.load("vision")?;
        vision.allocate_input("pixel_values", 0)?;
        vision.allocate_output("patch_features")?;
        let image_features = vision.share_output("image_features")?;
        let decoder = Decoder::load(&graphs, &image_features)?;
        graphs.finish();
        Ok(Self { vision, image_features, decoder })
    }

    /// `[3 * towers, height, width]`, to be filled before [`Self::run_vision`].
    pub(super) fn pixel_values_mut(&mut self) -> Result<&mut [f32], ExecutionError> {
        self.vision.input_mut("pixel_values")
    }

    /// Picture to image features.
    pub(super) fn run_vision(&mut self) -> Result<(), ExecutionError> {
        self.vision.run()
    }

    /// What vision made of the last picture: the towers side by side, and the features. Copies; for checks.
    pub(super) fn vision_outputs(&self) -> Result<[(&'static str, Vec<f32>); 2], ExecutionError> {
        let patches = self.vision.output::<f32>("patch_features")?.to_vec();
        Ok([("patch_features", patches), ("image_features", self.image_features.to_host()?)])
    }
}
