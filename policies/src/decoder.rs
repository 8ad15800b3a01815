//! The language half that all families share: prefill, decode and the cache between them, wired so that nothing is copied.
//!
//! From: image features in a tensor that the family's vision graph writes. To: logits `[vocabulary]`, one row after the
//! other. Prefill writes the cache that decode reads; the host fills text ids and one token at a time. The CPU's graphs
//! extend the cache in place. Static graphs read one buffer and write another, so that a provider may compute in any
//! order: their steps alternate between two sides.

use crate::graph_tables::{GraphLoader, cache_names};
use crate::registry::LoadError;
use egogrid_runtime::execution::{ExecutionError, Flavour, Graph, SharedTensor, Side};

/// What a static prompt is filled up with. Any id will do: the graph leaves those rows out.
const FILL_ID: i64 = 0;

/// Both graphs with all of their memory.
#[derive(Debug)]
pub(crate) struct Decoder {
    prefill: Graph,
    decode: Graph,
    /// Only graphs touch it; it must live as long as they do.
    _cache: Vec<SharedTensor>,
    flavour: Flavour,
    image_tokens: i32,
    text_tokens: usize,
    /// Positions that hold something, of this inference.
    filled: i32,
    /// Whose input the last step wrote.
    side: Side,
}

impl Decoder {
    /// Loads and wires the graphs `prefill` and `decode` of a verified bundle; prefill reads `image_features`.
    ///
    /// # Errors
    /// A provider that cannot start, or a graph that is not the one of the manifest.
    pub(crate) fn load(graphs: &GraphLoader<'_>, image_features: &SharedTensor) -> Result<Self, LoadError> {
        let (flavour, manifest) = (graphs.flavour(), graphs.manifest());
        let (mut prefill, mut decode) = (graphs.load("prefill")?, graphs.load("decode")?);
        prefill.bind_input("image_features", image_features)?;
        prefill.allocate_output("logits")?;
        let places = match flavour {
            Flavour::Cpu => &["seqlens_k", "total_len"][..],
            Flavour::Static => {
                prefill.allocate_input("text_ids", 0)?;
                prefill.allocate_input("prompt_tokens", 0)?;
                &["position"]
            }
        };
        for input in ["token_id"].iter().chain(places) {
            decode.allocate_input(input, 0)?;
        }
        decode.allocate_output("logits")?;
        let names = cache_names("past", manifest.cache.layers).into_iter();
        let mut cache = Vec::new();
        for (past, present) in names.zip(cache_names("present", manifest.cache.layers)) {
            let mut tensor = decode.tensor_like(&present)?;
            prefill.bind_output(&present, &mut tensor)?;
            match flavour {
                Flavour::Cpu => {
                    decode.bind_output(&present, &mut tensor)?;
                    decode.bind_input(&past, &tensor)?;
                }
                Flavour::Static => {
                    let mut other = decode.tensor_like(&present)?;
                    decode.bind_input_on(Side::First, &past, &tensor)?;
                    decode.bind_output_on(Side::First, &present, &mut other)?;
                    decode.bind_input_on(Side::Second, &past, &other)?;
                    decode.bind_output_on(Side::Second, &present, &mut tensor)?;
                    cache.push(other);
                }
            }
            cache.push(tensor);
        }
        let image_tokens = manifest.prompt.image_tokens.cast_signed();
        let (text_tokens, filled, side) = (0, 0, Side::First);
        Ok(Self { prefill, decode, _cache: cache, flavour, image_tokens, text_tokens, filled, side })
    }

    /// Sets the prompt, at most as long as the manifest says. For the CPU's graphs another length means other memory;
    /// that happens when the instruction changes.
    pub(crate) fn set_text(&mut self, ids: &[i64]) -> Result<(), ExecutionError> {
        match self.flavour {
            Flavour::Cpu => {
                if ids.len() != self.text_tokens {
                    self.text_tokens = 0; // what it is if the next line fails
                    self.prefill.allocate_input("text_ids", ids.len())?;
                }
                self.prefill.input_mut("text_ids")?.copy_from_slice(ids);
            }
            Flavour::Static => {
                let text_ids = self.prefill.input_mut::<i64>("text_ids")?;
                let text_tokens_max = text_ids.len();
                let Some((text, rest)) = text_ids.split_at_mut_checked(ids.len()) else {
                    return Err(too_long(ids.len(), text_tokens_max));
                };
                text.copy_from_slice(ids);
                rest.fill(FILL_ID);
                let count = i64::from(self.image_tokens) + ids.len() as i64;
                self.prefill.input_mut("prompt_tokens")?.fill(count);
            }
        }
        self.text_tokens = ids.len();
        Ok(())
    }

    /// Image features and prompt to the logits of the first token.
    pub(crate) fn run_prefill(&mut self) -> Result<&[f32], ExecutionError> {
        self.prefill.run()?;
        (self.filled, self.side) = (self.image_tokens + self.text_tokens as i32, Side::First);
        self.prefill.output("logits")
    }

    /// One more token to the logits of the next. The caller stays within what the cache has room for.
    pub(crate) fn run_decode(&mut self, token: u32) -> Result<&[f32], ExecutionError> {
        self.decode.input_mut("token_id")?.fill(i64::from(token));
        match self.flavour {
            Flavour::Cpu => {
                self.decode.input_mut("seqlens_k")?.fill(self.filled);
                self.decode.input_mut("total_len")?.fill(self.filled + 1);
                self.decode.run()?;
            }
            Flavour::Static => {
                self.decode.input_mut("position")?.fill(i64::from(self.filled));
                self.decode.run_on(self.side)?;
                self.side = self.side.other();
            }
        }
        self.filled += 1;
        self.decode.output("logits")
    }
}

/// [`crate::prompt`] refuses it first.
fn too_long(found: usize, expected: usize) -> ExecutionError {
    ExecutionError::TensorKind {
        graph: "prefill".to_owned(),
        name: "text_ids".to_owned(),
        found: format!("{found} ids"),
        expected: format!("at most {expected}"),
    }
}
