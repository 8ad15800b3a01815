//! The three graphs of this family, wired so that nothing is copied between them.
//!
//! Vision writes the image features that prefill reads; prefill writes the cache that decode reads and extends in
//! place. The host fills pixels, the encoding, text ids and one token at a time, and reads logits.

use super::tables;
use crate::bundle::{Bundle, BundleError, WEIGHTS_FILE};
use crate::registry::LoadError;
use egogrid_runtime::execution::{Environment, ExecutionError, Graph, GraphOptions, SharedTensor, Weights};

/// Loaded graphs with all of their memory.
#[derive(Debug)]
pub(super) struct Session {
    vision: Graph,
    prefill: Graph,
    decode: Graph,
    image_features: SharedTensor,
    /// Only graphs touch it; it must live as long as they do.
    _cache: Vec<SharedTensor>,
    image_tokens: i32,
    text_tokens: usize,
    /// Positions that hold something, of this chunk.
    filled: i32,
}

impl Session {
    /// Loads and wires the graphs of a verified bundle.
    ///
    /// # Errors
    /// A provider that cannot start, or a graph that is not the one of the manifest.
    pub(super) fn load(environment: &Environment, bundle: &Bundle, options: &GraphOptions) -> Result<Self, LoadError> {
        let weights = Weights::open(&bundle.path(WEIGHTS_FILE))?;
        let graph = |name: &str| -> Result<Graph, LoadError> {
            let missing = || BundleError::Graph {
                graph: name.to_owned(),
                found: "no table".to_owned(),
                expected: "one".to_owned(),
            };
            let table = bundle.manifest().graph(name).ok_or_else(missing)?;
            let graph = Graph::load_sharing(environment, &bundle.path(&table.file), &weights, options)?;
            tables::check_session(table, &graph)?;
            Ok(graph)
        };
        let (mut vision, mut prefill, mut decode) = (graph("vision")?, graph("prefill")?, graph("decode")?);
        weights.release_pages();
        for input in ["pixel_values", "freq_encoding"] {
            vision.allocate_input(input, 0)?;
        }
        for output in ["siglip_last_hidden", "pos_embed_3d"] {
            vision.allocate_output(output)?;
        }
        let image_features = vision.share_output("image_features")?;
        prefill.bind_input("image_features", &image_features)?;
        prefill.allocate_output("logits")?;
        for input in ["token_id", "seqlens_k", "total_len"] {
            decode.allocate_input(input, 0)?;
        }
        decode.allocate_output("logits")?;
        let layers = bundle.manifest().cache.layers;
        let names = tables::cache_names("past", layers).into_iter().zip(tables::cache_names("present", layers));
        let mut cache = Vec::new();
        for (past, present) in names {
            let mut tensor = decode.share_output(&present)?;
            decode.bind_input(&past, &tensor)?;
            prefill.bind_output(&present, &mut tensor)?;
            cache.push(tensor);
        }
        let image_tokens = bundle.manifest().prompt.image_tokens.cast_signed();
        Ok(Self { vision, prefill, decode, image_features, _cache: cache, image_tokens, text_tokens: 0, filled: 0 })
    }

    /// `[3, height, width]`, to be filled before [`Self::run_vision`].
    pub(super) fn pixel_values_mut(&mut self) -> Result<&mut [f32], ExecutionError> {
        self.vision.input_mut("pixel_values")
    }

    /// `[patches, numbers]`, to be filled before [`Self::run_vision`].
    pub(super) fn freq_encoding_mut(&mut self) -> Result<&mut [f32], ExecutionError> {
        self.vision.input_mut("freq_encoding")
    }

    /// Picture and points to image features.
    pub(super) fn run_vision(&mut self) -> Result<(), ExecutionError> {
        self.vision.run()
    }

    /// Sets the prompt. Another length means other memory; that happens when the instruction changes.
    pub(super) fn set_text(&mut self, ids: &[i64]) -> Result<(), ExecutionError> {
        if ids.len() != self.text_tokens {
            self.text_tokens = 0; // what it is if the next line fails
            self.prefill.allocate_input("text_ids", ids.len())?;
            self.text_tokens = ids.len();
        }
        self.prefill.input_mut("text_ids")?.copy_from_slice(ids);
        Ok(())
    }

    /// Image features and prompt to the logits of the first token.
    pub(super) fn run_prefill(&mut self) -> Result<&[f32], ExecutionError> {
        self.prefill.run()?;
        self.filled = self.image_tokens + self.text_tokens as i32;
        self.prefill.output("logits")
    }

    /// One more token to the logits of the next. The caller stays within the chunk, for which the cache has room.
    pub(super) fn run_decode(&mut self, token: u32) -> Result<&[f32], ExecutionError> {
        self.decode.input_mut("token_id")?.fill(i64::from(token));
        self.decode.input_mut("seqlens_k")?.fill(self.filled);
        self.decode.input_mut("total_len")?.fill(self.filled + 1);
        self.decode.run()?;
        self.filled += 1;
        self.decode.output("logits")
    }

    /// What vision made of the last picture: both halves of the sum, and the features. Copies; for checks.
    pub(super) fn vision_outputs(&self) -> Result<[(&'static str, Vec<f32>); 3], ExecutionError> {
        let half = |name| Ok::<_, ExecutionError>((name, self.vision.output::<f32>(name)?.to_vec()));
        Ok([half("siglip_last_hidden")?, half("pos_embed_3d")?, ("image_features", self.image_features.to_host()?)])
    }
}
