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
    /// Of each observation of a batch; one without.
    text_tokens: Vec<usize>,
    /// Positions that hold something, of this inference and each observation.
    filled: Vec<i32>,
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
            Flavour::Static | Flavour::Batched => {
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
                Flavour::Static | Flavour::Batched => {
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
        let rows = manifest.batch(flavour) as usize;
        let (text_tokens, filled, side) = (vec![0; rows], vec![0; rows], Side::First);
        Ok(Self { prefill, decode, _cache: cache, flavour, image_tokens, text_tokens, filled, side })
    }

    /// Observations at once.
    pub(crate) fn rows(&self) -> usize {
        self.filled.len()
    }

    /// Sets the prompt of observation `row`, at most as long as the manifest says. For the CPU's graphs another length means other memory;
    /// that happens when the instruction changes.
    pub(crate) fn set_text(&mut self, row: usize, ids: &[i64]) -> Result<(), ExecutionError> {
        match self.flavour {
            Flavour::Cpu => {
                if ids.len() != self.text_tokens[row] {
                    self.text_tokens[row] = 0; // what it is if the next line fails
                    self.prefill.allocate_input("text_ids", ids.len())?;
                }
                self.prefill.input_mut("text_ids")?.copy_from_slice(ids);
            }
            Flavour::Static | Flavour::Batched => {
                let rows = self.filled.len();
                let text_ids = self.prefill.input_mut::<i64>("text_ids")?;
                let text_tokens_max = text_ids.len() / rows;
                let own = &mut text_ids[row * text_tokens_max..][..text_tokens_max];
                let Some((text, rest)) = own.split_at_mut_checked(ids.len()) else {
                    return Err(too_long(ids.len(), text_tokens_max));
                };
                text.copy_from_slice(ids);
                rest.fill(FILL_ID);
                let count = i64::from(self.image_tokens) + ids.len() as i64;
                self.prefill.input_mut("prompt_tokens")?[row] = count;
            }
        }
        self.text_tokens[row] = ids.len();
        Ok(())
    }

    /// Image features and prompt to the logits of the first token, `[rows, vocabulary]`.
    pub(crate) fn run_prefill(&mut self) -> Result<&[f32], ExecutionError> {
        self.prefill.run()?;
        for (filled, text_tokens) in self.filled.iter_mut().zip(&self.text_tokens) {
            *filled = self.image_tokens + *text_tokens as i32;
        }
        self.side = Side::First;
        self.prefill.output("logits")
    }

    /// One more token of each observation to the logits of the next. The caller stays within what the cache has room for.
    pub(crate) fn run_decode(&mut self, tokens: &[u32]) -> Result<&[f32], ExecutionError> {
        for (place, token) in self.decode.input_mut("token_id")?.iter_mut().zip(tokens) {
            *place = i64::from(*token);
        }
        match self.flavour {
            Flavour::Cpu => {
                self.decode.input_mut("seqlens_k")?.copy_from_slice(&self.filled);
                self.decode.input_mut("total_len")?.fill(self.filled[0] + 1);
                self.decode.run()?;
            }
            Flavour::Static | Flavour::Batched => {
                for (place, filled) in self.decode.input_mut("position")?.iter_mut().zip(&self.filled) {
                    *place = i64::from(*filled);
                }
                self.decode.run_on(self.side)?;
                self.side = self.side.other();
            }
        }
        self.filled.iter_mut().for_each(|filled| *filled += 1);
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
