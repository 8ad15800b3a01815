//! The prompt of this family: a question around the instruction, and one piece after it.
//!
//! From: the bundle's tokenizer. To: [`Prompt`], whose first id stands before the picture in the prefill graph and the
//! others behind it. The last id is the lone piece that sentencepiece writes before the rare characters of actions;
//! training text had it, and a prompt that ends in a space has it already.

use crate::bundle::{Bundle, BundleError};
use crate::prompt::{Prompt, Template, vocabulary};

/// Reads the tokenizer and checks that it knows the ids of the manifest.
pub(super) fn load(bundle: &Bundle) -> Result<Prompt, BundleError> {
    let (manifest, own) = (bundle.manifest(), bundle.manifest().openvla()?);
    let template = Template {
        picture_mark: None,
        lowercase: own.prompt.lowercase,
        special_tokens: true,
        final_id: Some(own.prompt.final_id),
    };
    let prompt = Prompt::load(bundle, template)?;
    let eos_id = manifest.prompt.eos_id;
    if !prompt.is_control(eos_id) {
        return Err(vocabulary(format!("no control token with id {eos_id}"), "the end token"));
    }
    // Action ids and the final id need no token: the official code never writes them as text.
    Ok(prompt)
}
