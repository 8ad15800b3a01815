//! What the graphs of this family must look like, against the tables of a manifest and against the loaded sessions.
//!
//! From: `bundle.toml`. To: [`super::session`], which then binds tensors by names that are known to be there.

use crate::bundle::manifest::{Ego3dSpec, GraphTable, SpatialVlaTables};
use crate::bundle::{BundleError, Manifest};
use egogrid_runtime::execution::{Dim, Element, Graph, TensorSpec};

/// Largest width of a feature vector.
const WIDTH_MAX: u32 = 1 << 16;

/// Checks names, types and shapes of every graph in the manifest.
pub(crate) fn check_tables(manifest: &Manifest, own: &SpatialVlaTables) -> Result<(), BundleError> {
    let names: Vec<&str> = manifest.graphs.iter().map(|graph| graph.name.as_str()).collect();
    if names.len() != 3 || !["vision", "prefill", "decode"].iter().all(|name| names.contains(name)) {
        return Err(BundleError::field("[[graphs]]", format!("{names:?}"), "vision, prefill and decode, once each"));
    }
    let features = width(manifest, "vision", "image_features")?;
    let hidden = width(manifest, "vision", "siglip_last_hidden")?;
    let rows = manifest.prompt.image_tokens;
    let (image, text) = (&manifest.image, &manifest.tokens);
    let pixels = f32_tensor("pixel_values", &[1, 3, image.height_px, image.width_px]);
    let encoding = f32_tensor("freq_encoding", &[1, rows, encoding_width(&own.ego3d)]);
    let feature_rows = f32_tensor("image_features", &[1, rows, features]);
    let halves = ["siglip_last_hidden", "pos_embed_3d"].map(|name| f32_tensor(name, &[1, rows, hidden]));
    let logits = f32_tensor("logits", &[1, text.vocabulary_size]);
    let text_ids = tensor("text_ids", Element::I64, vec![Dim::Fixed(1), Dim::Named("text_tokens".to_owned())]);
    let step = [
        tensor("token_id", Element::I64, vec![Dim::Fixed(1), Dim::Fixed(1)]),
        tensor("seqlens_k", Element::I32, vec![Dim::Fixed(1)]),
        tensor("total_len", Element::I32, Vec::new()),
    ];
    let outputs = [&[logits], cache(manifest, "present").as_slice()].concat();
    require(manifest, "vision", &[pixels, encoding], &[[feature_rows.clone()].as_slice(), &halves].concat())?;
    require(manifest, "prefill", &[feature_rows, text_ids], &outputs)?;
    require(manifest, "decode", &[step.as_slice(), &cache(manifest, "past")].concat(), &outputs)
}

/// Checks that a loaded graph is the one that the manifest describes.
pub(super) fn check_session(table: &GraphTable, graph: &Graph) -> Result<(), BundleError> {
    require_same(&table.name, "inputs", graph.inputs(), &table.inputs)?;
    require_same(&table.name, "outputs", graph.outputs(), &table.outputs)
}

/// Numbers per patch after the frequency encoding: a value, its sines and its cosines, for three axes of every sample.
pub(super) fn encoding_width(ego3d: &Ego3dSpec) -> u32 {
    ego3d.samples_per_patch_side.pow(2) * 3 * (1 + 2 * ego3d.frequency_count)
}

/// Names of the two tensors of every layer, `{prefix}.0.key` first.
pub(super) fn cache_names(prefix: &str, layers: u32) -> Vec<String> {
    (0..layers).flat_map(|layer| ["key", "value"].map(|part| format!("{prefix}.{layer}.{part}"))).collect()
}

fn cache(manifest: &Manifest, prefix: &str) -> Vec<TensorSpec> {
    let cache = &manifest.cache;
    let shape = [1, cache.kv_heads, cache.capacity, cache.head_dim];
    cache_names(prefix, cache.layers).iter().map(|name| f32_tensor(name, &shape)).collect()
}

fn f32_tensor(name: &str, shape: &[u32]) -> TensorSpec {
    tensor(name, Element::F32, shape.iter().map(|size| Dim::Fixed(*size)).collect())
}

fn tensor(name: &str, dtype: Element, shape: Vec<Dim>) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape }
}

/// The last size of an output whose width the checkpoint is free to choose.
fn width(manifest: &Manifest, graph: &str, output: &str) -> Result<u32, BundleError> {
    let table = manifest.graph(graph);
    let spec = table.and_then(|table| table.outputs.iter().find(|spec| spec.name == output));
    match spec.and_then(|spec| spec.shape.last()) {
        Some(Dim::Fixed(size)) if (1..=WIDTH_MAX).contains(size) => Ok(*size),
        _ => Err(mismatch(
            graph,
            spec.map_or_else(|| "none".to_owned(), ToString::to_string),
            format!("output {output} of a fixed width"),
        )),
    }
}

fn require(manifest: &Manifest, graph: &str, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Result<(), BundleError> {
    let Some(table) = manifest.graph(graph) else {
        return Err(mismatch(graph, "no table".to_owned(), "a table in [[graphs]]".to_owned()));
    };
    require_same(graph, "inputs", &table.inputs, inputs)?;
    require_same(graph, "outputs", &table.outputs, outputs)
}

/// The same tensors, in any order.
fn require_same(graph: &str, what: &str, found: &[TensorSpec], expected: &[TensorSpec]) -> Result<(), BundleError> {
    for want in expected {
        let same_name = || found.iter().find(|spec| spec.name == want.name);
        if found.iter().filter(|spec| *spec == want).count() != 1 {
            let found = same_name().map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(mismatch(graph, format!("{what} {}: {found}", want.name), want.to_string()));
        }
    }
    match found.iter().find(|spec| !expected.iter().any(|want| want.name == spec.name)) {
        Some(extra) => Err(mismatch(graph, format!("{what} {}: {extra}", extra.name), "no such tensor".to_owned())),
        None => Ok(()),
    }
}

fn mismatch(graph: &str, found: String, expected: String) -> BundleError {
    BundleError::Graph { graph: graph.to_owned(), found, expected }
}
