//! The prompt of this family: the instruction as it is, between `<bos>` and a newline.
//!
//! From: the bundle's tokenizer. To: [`Prompt`], whose `text_ids` follow the picture in the prefill graph.

use crate::bundle::{Bundle, BundleError};
use crate::prompt::{Prompt, Template, vocabulary};

/// Marks the place of the picture in prompts that were written for the official processor. The official ids are the same
/// with and without it.
const PICTURE_MARK: &str = "<image>";

/// Reads the tokenizer and checks that every action id of the manifest is one of its tokens.
pub(super) fn load(bundle: &Bundle) -> Result<Prompt, BundleError> {
    let prompt = Prompt::load(bundle, Template { picture_mark: Some(PICTURE_MARK), ..Template::default() })?;
    let (manifest, tokens) = (bundle.manifest(), &bundle.manifest().spatialvla()?.tokens);
    let actions = tokens.translation_cells + tokens.rotation_cells + tokens.gripper_cells;
    for id in [manifest.prompt.eos_id, tokens.action_begin_id, tokens.action_begin_id + actions - 1] {
        if !prompt.is_control(id) {
            return Err(vocabulary(
                format!("no control token with id {id}"),
                "the end token and one for every action id",
            ));
        }
    }
    Ok(prompt)
}
