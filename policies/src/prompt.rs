//! Instruction to text ids: prefix, instruction, suffix, as the checkpoint was trained with.
//!
//! From: an observation's instruction. To: the `text_ids` input of the prefill graph, `[1, text_tokens]`.
//! The last instruction is remembered: an episode has one, and tokenizing it again would be most of the time spent here.

use crate::bundle::{Bundle, BundleError, Manifest};
use std::collections::BTreeSet;
use tokenizers::Tokenizer;

/// Longest instruction.
pub const INSTRUCTION_BYTES_MAX: usize = 8192;

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

/// What a family does to an instruction before and after it is tokenized.
#[derive(Debug, Clone, Default)]
pub(crate) struct Template {
    /// Taken off the start of an instruction: it says there what holds anyway.
    pub(crate) picture_mark: Option<&'static str>,
    /// As Python's `str.lower`, the instruction only.
    pub(crate) lowercase: bool,
    /// Whether the tokenizer's own template puts `bos_id` first; else the prefix does.
    pub(crate) special_tokens: bool,
    /// Put last, unless it is there already.
    pub(crate) final_id: Option<u32>,
}

/// The tokenizer of a bundle with its prompt template.
#[derive(Debug)]
pub(crate) struct Prompt {
    tokenizer: Tokenizer,
    template: Template,
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
    pub(crate) fn load(bundle: &Bundle, template: Template) -> Result<Self, BundleError> {
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
        let (instruction, ids) = (None, Vec::new());
        let prompt = Self { tokenizer, template, control_ids, prefix, suffix, tokens_max, instruction, ids };
        prompt.check(manifest)?;
        Ok(prompt)
    }

    /// Ids of the prompt for `instruction`.
    ///
    /// # Errors
    /// An instruction that is empty, too long, or holds a control token.
    pub(crate) fn ids(&mut self, instruction: &str) -> Result<&[i64], PromptError> {
        if self.instruction.as_deref() != Some(instruction) {
            self.ids = self.tokenize(instruction)?;
            self.instruction = Some(instruction.to_owned());
        }
        Ok(&self.ids)
    }

    /// Whether `id` is a token that must not stand in an instruction.
    pub(crate) fn is_control(&self, id: u32) -> bool {
        self.control_ids.contains(&id)
    }

    /// How the tokenizer writes `id`, if it knows it.
    pub(crate) fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    fn tokenize(&self, instruction: &str) -> Result<Vec<i64>, PromptError> {
        let mark = self.template.picture_mark.unwrap_or_default();
        let instruction = instruction.strip_prefix(mark).unwrap_or(instruction);
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
        // The first id is the start of every prompt. A picture token in the text would take the place of a picture.
        match ids.iter().skip(1).find(|id| self.is_control(**id)) {
            Some(id) => Err(PromptError::ControlToken { token: self.token(*id).unwrap_or_default() }),
            None => Ok(ids.into_iter().map(i64::from).collect()),
        }
    }

    fn encode(&self, instruction: &str) -> Result<Vec<u32>, String> {
        let lower = self.template.lowercase.then(|| instruction.to_lowercase());
        let text = format!("{}{}{}", self.prefix, lower.as_deref().unwrap_or(instruction), self.suffix);
        let encoding = self.tokenizer.encode_fast(text, self.template.special_tokens);
        let mut ids = encoding.map_err(|error| error.to_string())?.get_ids().to_vec();
        ids.extend(self.template.final_id.filter(|last| ids.last() != Some(last)));
        Ok(ids)
    }

    /// The tokenizer is not larger than the vocabulary, and makes the manifest's template.
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
        Ok(())
    }
}

pub(crate) fn vocabulary(found: impl ToString, expected: impl Into<String>) -> BundleError {
    BundleError::Vocabulary { found: found.to_string(), expected: expected.into() }
}
