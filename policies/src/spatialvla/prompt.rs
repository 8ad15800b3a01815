//! Instruction to text ids: prefix, instruction, suffix, as the checkpoint was trained with; no lower-casing.
//!
//! From: an observation's instruction. To: the `text_ids` input of the prefill graph, `[1, text_tokens]`.
//! The last instruction is remembered: an episode has one, and tokenizing it again would be most of the time spent here.

use crate::bundle::{Bundle, BundleError, Manifest};
use std::collections::BTreeSet;
use tokenizers::Tokenizer;

/// Longest instruction.
pub const INSTRUCTION_BYTES_MAX: usize = 8192;

/// Marks the place of the picture in prompts that were written for the official processor.
const PICTURE_MARK: &str = "<image>";

/// Why an instruction has no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// Nothing to do.
    #[error("the instruction is empty, expected what the robot should do; send one before the first observation")]
    Empty,
    /// More than anybody says to a robot.
    #[error("the instruction has {bytes} bytes, expected at most {INSTRUCTION_BYTES_MAX}; shorten it")]
    TooManyBytes {
        /// Found.
        bytes: usize,
    },
    /// More than the cache holds.
    #[error("the prompt has {tokens} text tokens, expected at most {tokens_max}; shorten the instruction")]
    TooManyTokens {
        /// Found, prefix and suffix included.
        tokens: usize,
        /// Of the bundle.
        tokens_max: usize,
    },
    /// A control token, such as the one that stands for the picture or the one that ends a generation.
    #[error("the instruction contains the control token {token:?}, expected plain text; take it out")]
    ControlToken {
        /// As the tokenizer writes it.
        token: String,
    },
    /// The tokenizer gave up.
    #[error("the instruction cannot be tokenized: {detail}; write it in other words")]
    Tokenizer {
        /// What it said.
        detail: String,
    },
}

/// The tokenizer of a bundle with its prompt template.
#[derive(Debug)]
pub(super) struct Prompt {
    tokenizer: Tokenizer,
    control_ids: BTreeSet<u32>,
    prefix: String,
    suffix: String,
    tokens_max: usize,
    instruction: Option<String>,
    ids: Vec<i64>,
}

impl Prompt {
    /// Reads the tokenizer and checks that it is the one of the manifest.
    ///
    /// # Errors
    /// A tokenizer that cannot be read, or whose ids are not those of the manifest.
    pub(super) fn load(bundle: &Bundle) -> Result<Self, BundleError> {
        let tokenizer = Tokenizer::from_bytes(bundle.tokenizer_json()?);
        let mut tokenizer = tokenizer.map_err(|error| vocabulary(error, "a Hugging Face tokenizers file"))?;
        // A file may carry these from training. An instruction is taken whole or refused, never cut or padded.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| vocabulary(error, "a tokenizer that does not cut"))?;
        let manifest = bundle.manifest();
        let special = tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        let control_ids = special.map(|(id, _)| id).collect();
        let (prefix, suffix) = (manifest.prompt.prefix.clone(), manifest.prompt.suffix.clone());
        let tokens_max = manifest.prompt.text_tokens_max as usize;
        let prompt = Self { tokenizer, control_ids, prefix, suffix, tokens_max, instruction: None, ids: Vec::new() };
        prompt.check(manifest)?;
        Ok(prompt)
    }

    /// Ids of the prompt for `instruction`.
    ///
    /// # Errors
    /// An instruction that is empty, too long, or holds a control token.
    pub(super) fn ids(&mut self, instruction: &str) -> Result<&[i64], PromptError> {
        if self.instruction.as_deref() != Some(instruction) {
            self.ids = self.tokenize(instruction)?;
            self.instruction = Some(instruction.to_owned());
        }
        Ok(&self.ids)
    }

    fn tokenize(&self, instruction: &str) -> Result<Vec<i64>, PromptError> {
        // At the start it says what holds anyway, and the official ids are the same with and without it.
        let instruction = instruction.strip_prefix(PICTURE_MARK).unwrap_or(instruction);
        if instruction.trim().is_empty() {
            return Err(PromptError::Empty);
        }
        if instruction.len() > INSTRUCTION_BYTES_MAX {
            return Err(PromptError::TooManyBytes { bytes: instruction.len() });
        }
        let ids = self.encode(instruction).map_err(|detail| PromptError::Tokenizer { detail })?;
        if ids.len() > self.tokens_max {
            return Err(PromptError::TooManyTokens { tokens: ids.len(), tokens_max: self.tokens_max });
        }
        // The first id is the prefix. A picture token in the text would take the place of picture features.
        match ids.iter().skip(1).find(|id| self.control_ids.contains(id)) {
            Some(id) => Err(PromptError::ControlToken { token: self.tokenizer.id_to_token(*id).unwrap_or_default() }),
            None => Ok(ids.into_iter().map(i64::from).collect()),
        }
    }

    fn encode(&self, instruction: &str) -> Result<Vec<u32>, String> {
        let text = format!("{}{instruction}{}", self.prefix, self.suffix);
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokenizer knows the manifest's ids, and makes the template of them.
    fn check(&self, manifest: &Manifest) -> Result<(), BundleError> {
        let size = self.tokenizer.get_vocab_size(true);
        if size > manifest.tokens.vocabulary_size as usize {
            return Err(vocabulary(format!("{size} tokens"), format!("at most {}", manifest.tokens.vocabulary_size)));
        }
        let bos_id = manifest.prompt.bos_id;
        let ids = self.encode("a").map_err(|error| vocabulary(error, "a prompt"))?;
        if ids.first() != Some(&bos_id) || ids.len() < 3 {
            return Err(vocabulary(
                format!("ids {ids:?} for {:?}a{:?}", self.prefix, self.suffix),
                format!("{bos_id} first"),
            ));
        }
        let tokens = &manifest.spatialvla()?.tokens;
        let (begin_id, actions) =
            (tokens.action_begin_id, tokens.translation_cells + tokens.rotation_cells + tokens.gripper_cells);
        for id in [manifest.prompt.eos_id, begin_id, begin_id + actions - 1] {
            if !self.control_ids.contains(&id) {
                return Err(vocabulary(
                    format!("no control token with id {id}"),
                    "the end token and one for every action id",
                ));
            }
        }
        Ok(())
    }
}

fn vocabulary(found: impl ToString, expected: impl Into<String>) -> BundleError {
    BundleError::Vocabulary { found: found.to_string(), expected: expected.into() }
}
