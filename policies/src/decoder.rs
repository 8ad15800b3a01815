//! The language half that all families share: prefill, decode and the cache between them, wired so that nothing is copied.
//!
//! From: image features in a tensor that the family's vision graph writes. To: logits `[vocabulary]`, one row after the
//! other. Prefill writes the cache that decode reads and extends in place. The host fills text ids and one token at a time.

use crate::graph_tables::{GraphLoader, cache_names};
use crate::registry::LoadError;
use egogrid_runtime::execution::{ExecutionError, Graph, SharedTensor};

/// Both graphs with all of their memory.
#[derive(Debug)]
pub(crate) struct Decoder {
    prefill: Graph,
    decode: Graph,
    /// Only graphs touch it; it must live as long as they do.
    _cache: Vec<SharedTensor>,
    image_tokens: i32,
    text_tokens: usize,
    /// Positions that hold something, of this inference.
    filled: i32,
}

impl Decoder {
    /// Loads and wires the graphs `prefill` and `decode` of a verified bundle; prefill reads `image_features`.
    ///
    /// # Errors
    /// A provider that cannot start, or a graph that is not the one of the manifest.
    pub(crate) fn load(graphs: &GraphLoader<'_>, image_features: &SharedTensor) -> Result<Self, LoadError> {
        let (mut prefill, mut decode) = (graphs.load("prefill")?, graphs.load("decode")?);
        prefill.bind_input("image_features", image_features)?;
        prefill.allocate_output("logits")?;
        for input in ["token_id", "seqlens_k", "total_len"] {
            decode.allocate_input(input, 0)?;
        }
        decode.allocate_output("logits")?;
        let layers = graphs.manifest().cache.layers;
        let mut cache = Vec::new();
        for (past, present) in cache_names("past", layers).into_iter().zip(cache_names("present", layers)) {
            let mut tensor = decode.share_output(&present)?;
            decode.bind_input(&past, &tensor)?;
            prefill.bind_output(&present, &mut tensor)?;
            cache.push(tensor);
        }
        let image_tokens = graphs.manifest().prompt.image_tokens.cast_signed();
        Ok(Self { prefill, decode, _cache: cache, image_tokens, text_tokens: 0, filled: 0 })
    }

    /// Sets the prompt. Another length means other memory; that happens when the instruction changes.
    pub(crate) fn set_text(&mut self, ids: &[i64]) -> Result<(), ExecutionError> {
        if ids.len() != self.text_tokens {
            self.text_tokens = 0; // what it is if the next line fails
            self.prefill.allocate_input("text_ids", ids.len())?;
            self.text_tokens = ids.len();
        }
        self.prefill.input_mut("text_ids")?.copy_from_slice(ids);
        Ok(())
    }

    /// Image features and prompt to the logits of the first token.
    pub(crate) fn run_prefill(&mut self) -> Result<&[f32], ExecutionError> {
        self.prefill.run()?;
        self.filled = self.image_tokens + self.text_tokens as i32;
        self.prefill.output("logits")
    }

    /// One more token to the logits of the next. The caller stays within what the cache has room for.
    pub(crate) fn run_decode(&mut self, token: u32) -> Result<&[f32], ExecutionError> {
        self.decode.input_mut("token_id")?.fill(i64::from(token));
        self.decode.input_mut("seqlens_k")?.fill(self.filled);
        self.decode.input_mut("total_len")?.fill(self.filled + 1);
        self.decode.run()?;
        self.filled += 1;
        self.decode.output("logits")
    }
}
