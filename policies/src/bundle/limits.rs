//! Bounds of every number in a manifest, so that nothing later has to ask whether a size is sane.
//!
//! From: [`super::manifest`]. To: [`super::Bundle`], whose manifest has passed. Only arithmetic, no file is touched.

pub(super) mod openvla;
mod precision_check;
mod spatialvla;

use super::error::BundleError;
use super::manifest::{FamilyTables, Manifest};
use egogrid_runtime::camera::SIDE_PX_MAX;
use std::collections::BTreeSet;

/// Largest `bundle.toml`.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Most files of one bundle.
pub const FILES_MAX: usize = 64;
/// Longest chunk.
pub const CHUNK_LENGTH_MAX: u16 = 64;
/// Longest prompt in text tokens.
pub const TEXT_TOKENS_MAX: u32 = 4096;
/// Largest vocabulary.
pub const VOCABULARY_MAX: u32 = 1 << 20;
/// Fastest control rate.
pub const CONTROL_HZ_MAX: f32 = 1000.0;

const IMAGE_TOKENS_MAX: u32 = 1 << 16;
const LAYERS_MAX: u32 = 256;
const HEADS_MAX: u32 = 256;
const HEAD_DIM_MAX: u32 = 1024;
const FILE_BYTES_MAX: u64 = 1 << 40;
const NAME_CHARS_MAX: usize = 128;
const PROMPT_BYTES_MAX: usize = 1024;

/// Checks every number against its bounds and against the others.
pub(super) fn check(manifest: &Manifest) -> Result<(), BundleError> {
    check_files(manifest)?;
    check_adapted(manifest)?;
    precision_check::check(manifest)?;
    check_image(manifest)?;
    check_text(manifest)?;
    check_chunk(manifest)?;
    check_cache(manifest)?;
    match &manifest.tables {
        FamilyTables::SpatialVla(tables) => spatialvla::check(manifest, tables),
        FamilyTables::OpenVla(tables) => openvla::check(manifest, tables),
    }
}

fn within(field: &str, found: u32, min: u32, max: u32) -> Result<(), BundleError> {
    if (min..=max).contains(&found) { Ok(()) } else { Err(BundleError::field(field, found, format!("{min} to {max}"))) }
}

fn check_files(manifest: &Manifest) -> Result<(), BundleError> {
    if !(1..=FILES_MAX).contains(&manifest.files.len()) {
        return Err(BundleError::field(
            "[[files]]",
            format!("{} entries", manifest.files.len()),
            format!("1 to {FILES_MAX}"),
        ));
    }
    let mut seen = BTreeSet::new();
    for file in &manifest.files {
        if !is_plain_name(&file.path) || file.path == super::MANIFEST_FILE || !seen.insert(&file.path) {
            return Err(BundleError::field("files.path", format!("{:?}", file.path), "a plain file name, listed once"));
        }
        if file.bytes > FILE_BYTES_MAX {
            return Err(BundleError::field("files.bytes", file.bytes, format!("at most {FILE_BYTES_MAX}")));
        }
        if !is_sha256(&file.sha256) {
            return Err(BundleError::field(
                "files.sha256",
                format!("{:?}", file.sha256),
                "64 lower-case hexadecimal digits",
            ));
        }
    }
    for graph in &manifest.graphs {
        if !seen.contains(&graph.file) {
            return Err(BundleError::field(
                "graphs.file",
                format!("{:?}", graph.file),
                "a file that is listed in [[files]]",
            ));
        }
    }
    let required = super::COMMON_FILES.iter().chain(super::own_files(manifest.family()));
    match required.copied().find(|file| !seen.contains(&(*file).to_owned())) {
        Some(file) => Err(BundleError::field(
            "[[files]]",
            format!("no entry for {file}"),
            "an entry for every file of the format",
        )),
        None => Ok(()),
    }
}

fn check_adapted(manifest: &Manifest) -> Result<(), BundleError> {
    match &manifest.adapted {
        Some(adapted) if !is_sha256(&adapted.from) => {
            Err(BundleError::field("adapted.from", format!("{:?}", adapted.from), "64 lower-case hexadecimal digits"))
        }
        _ => Ok(()),
    }
}

/// No separators, no parent directory, nothing hidden: joining it to the directory cannot leave the directory.
fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn check_image(manifest: &Manifest) -> Result<(), BundleError> {
    within("image.width_px", manifest.image.width_px, 1, SIDE_PX_MAX)?;
    within("image.height_px", manifest.image.height_px, 1, SIDE_PX_MAX)
}

fn check_text(manifest: &Manifest) -> Result<(), BundleError> {
    let (prompt, tokens) = (&manifest.prompt, &manifest.tokens);
    within("tokens.vocabulary_size", tokens.vocabulary_size, 1, VOCABULARY_MAX)?;
    within("prompt.image_tokens", prompt.image_tokens, 1, IMAGE_TOKENS_MAX)?;
    within("prompt.bos_id", prompt.bos_id, 0, tokens.vocabulary_size - 1)?;
    within("prompt.eos_id", prompt.eos_id, 0, tokens.vocabulary_size - 1)?;
    within("prompt.text_tokens_max", prompt.text_tokens_max, 3, TEXT_TOKENS_MAX)?;
    for (field, text) in [("prompt.prefix", &prompt.prefix), ("prompt.suffix", &prompt.suffix)] {
        if text.len() > PROMPT_BYTES_MAX {
            return Err(BundleError::field(
                field,
                format!("{} bytes", text.len()),
                format!("at most {PROMPT_BYTES_MAX}"),
            ));
        }
    }
    Ok(())
}

fn check_chunk(manifest: &Manifest) -> Result<(), BundleError> {
    let chunk = &manifest.chunk;
    within("chunk.length", u32::from(chunk.length), 1, u32::from(CHUNK_LENGTH_MAX))?;
    within("chunk.steps_executed", u32::from(chunk.steps_executed), 1, u32::from(chunk.length))?;
    match chunk.control_hz {
        Some(rate) if !(rate > 0.0 && rate <= CONTROL_HZ_MAX) => {
            Err(BundleError::field("chunk.control_hz", rate, format!("more than 0, at most {CONTROL_HZ_MAX}")))
        }
        _ => Ok(()),
    }
}

fn check_cache(manifest: &Manifest) -> Result<(), BundleError> {
    let cache = &manifest.cache;
    within("cache.layers", cache.layers, 1, LAYERS_MAX)?;
    within("cache.kv_heads", cache.kv_heads, 1, HEADS_MAX)?;
    within("cache.head_dim", cache.head_dim, 1, HEAD_DIM_MAX)
}

/// The cache holds exactly one prompt and `generated` tokens.
pub(super) fn check_capacity(manifest: &Manifest, generated: u32) -> Result<(), BundleError> {
    let needed = manifest.prompt.image_tokens + manifest.prompt.text_tokens_max + generated;
    within("cache.capacity", manifest.cache.capacity, needed, needed)
}
