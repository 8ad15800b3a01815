//! What graphs must look like, whatever the family: tables of a manifest, and loaded sessions against them.
//!
//! From: `bundle.toml`. To: [`crate::decoder`] and the families, which bind tensors by names that are known to be there.

use crate::bundle::manifest::GraphTable;
use crate::bundle::{Bundle, BundleError, Manifest, WEIGHTS_FILE};
use crate::registry::LoadError;
use egogrid_runtime::execution::{Dim, Element, Environment, Flavour, Graph, GraphOptions, TensorSpec, Weights};

/// Largest width of a feature vector.
const WIDTH_MAX: u32 = 1 << 16;

/// Loads the graphs of a verified bundle. They read its weights in place, mapped once for all of them.
pub(crate) struct GraphLoader<'a> {
    environment: &'a Environment,
    bundle: &'a Bundle,
    options: GraphOptions,
    weights: Weights,
}

impl<'a> GraphLoader<'a> {
    /// # Errors
    /// Weights that cannot be mapped.
    pub(crate) fn new(
        environment: &'a Environment,
        bundle: &'a Bundle,
        options: &GraphOptions,
    ) -> Result<Self, LoadError> {
        let options = options.for_model(&bundle.model_digest());
        let weights = Weights::open(&bundle.path(WEIGHTS_FILE))?;
        Ok(Self { environment, bundle, options, weights })
    }

    /// What the bundle says about itself.
    pub(crate) fn manifest(&self) -> &'a Manifest {
        self.bundle.manifest()
    }

    /// Which set of graphs is loaded.
    pub(crate) fn flavour(&self) -> Flavour {
        self.options.flavour()
    }

    /// Whether the bundle has graph `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.manifest().graph(self.flavour(), name).is_some()
    }

    /// Loads graph `name`.
    ///
    /// # Errors
    /// A provider that cannot start, or a graph that is not the one of the manifest.
    pub(crate) fn load(&self, name: &str) -> Result<Graph, LoadError> {
        let flavour = self.flavour();
        let table = self.manifest().graph(flavour, name).ok_or_else(|| {
            match self.manifest().flavours().any(|f| f == flavour) {
                true => no_table(name),
                false if flavour == Flavour::Batched => BundleError::NoBatch,
                false => BundleError::NoFlavour {
                    flavour,
                    precision: self.manifest().precision.to_string(),
                    provider: self.options.provider.to_string(),
                },
            }
        })?;
        let file = self.bundle.path(&table.file);
        let graph = Graph::load_sharing(self.environment, &file, &self.weights, &self.options)?;
        check_session(table, &graph)?;
        Ok(graph)
    }

    /// After the last graph: what they have rearranged does not have to stay in memory twice.
    pub(crate) fn finish(self) {
        self.weights.release_pages();
    }
}

/// Checks the tables of `prefill` and `decode`: image features `[batch, image_tokens, width]` and text ids to logits and a cache.
pub(crate) fn check_language(manifest: &Manifest, flavour: Flavour, width: u32) -> Result<(), BundleError> {
    let batch = manifest.batch(flavour);
    let features = f32_tensor("image_features", &[batch, manifest.prompt.image_tokens, width]);
    let logits = f32_tensor("logits", &[batch, manifest.tokens.vocabulary_size]);
    let token_id = i64_tensor("token_id", &[batch, 1]);
    let (prompt, place, dtype) = match flavour {
        Flavour::Cpu => {
            let text_ids = tensor("text_ids", Element::I64, vec![Dim::Fixed(1), Dim::Named("text_tokens".to_owned())]);
            let lengths = vec![
                tensor("seqlens_k", Element::I32, vec![Dim::Fixed(1)]),
                tensor("total_len", Element::I32, Vec::new()),
            ];
            (vec![text_ids], lengths, Element::F32)
        }
        Flavour::Static | Flavour::Batched => {
            let text_ids = i64_tensor("text_ids", &[batch, manifest.prompt.text_tokens_max]);
            let prompt = vec![text_ids, i64_tensor("prompt_tokens", &[batch])];
            let dtype = manifest.precision.static_cache().ok_or_else(|| {
                let found = format!("static graphs and precision {}", manifest.precision);
                BundleError::field("[[graphs]]", found, "static graphs only for fp32, fp16 and bf16")
            })?;
            (prompt, vec![i64_tensor("position", &[batch])], dtype)
        }
    };
    let cache = |prefix: &str| cache(manifest, prefix, dtype, batch);
    let outputs = [vec![logits], cache("present")].concat();
    require(manifest, flavour, "prefill", &[vec![features], prompt].concat(), &outputs)?;
    require(manifest, flavour, "decode", &[vec![token_id], place, cache("past")].concat(), &outputs)
}

/// Checks that the manifest has exactly the graphs `expected`, once each; the second flavour of all of them or of none.
pub(crate) fn check_names(manifest: &Manifest, expected: &[&str]) -> Result<(), BundleError> {
    for flavour in [Flavour::Cpu].into_iter().chain(manifest.flavours().filter(|other| *other != Flavour::Cpu)) {
        let names: Vec<&str> =
            manifest.graphs.iter().filter(|graph| graph.flavour == flavour).map(|graph| graph.name.as_str()).collect();
        if names.len() != expected.len() || !expected.iter().all(|name| names.contains(name)) {
            let expected = format!("{}, once each, of flavour {flavour}", expected.join(", "));
            return Err(BundleError::field("[[graphs]]", format!("{names:?}"), expected));
        }
    }
    Ok(())
}

/// Checks one graph's table: the same tensors, in any order.
pub(crate) fn require(
    manifest: &Manifest,
    flavour: Flavour,
    graph: &str,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
) -> Result<(), BundleError> {
    let table = manifest.graph(flavour, graph).ok_or_else(|| no_table(graph))?;
    require_same(graph, "inputs", &table.inputs, inputs)?;
    require_same(graph, "outputs", &table.outputs, outputs)
}

/// The last size of an output whose width the checkpoint is free to choose.
pub(crate) fn width(manifest: &Manifest, graph: &str, output: &str) -> Result<u32, BundleError> {
    let table = manifest.graph(Flavour::Cpu, graph);
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

/// Names of the two tensors of every layer, `{prefix}.0.key` first.
pub(crate) fn cache_names(prefix: &str, layers: u32) -> Vec<String> {
    (0..layers).flat_map(|layer| ["key", "value"].map(|part| format!("{prefix}.{layer}.{part}"))).collect()
}

/// An `f32` tensor of a fixed shape.
pub(crate) fn f32_tensor(name: &str, shape: &[u32]) -> TensorSpec {
    tensor(name, Element::F32, shape.iter().map(|size| Dim::Fixed(*size)).collect())
}

fn i64_tensor(name: &str, shape: &[u32]) -> TensorSpec {
    tensor(name, Element::I64, shape.iter().map(|size| Dim::Fixed(*size)).collect())
}

fn cache(manifest: &Manifest, prefix: &str, dtype: Element, batch: u32) -> Vec<TensorSpec> {
    let cache = &manifest.cache;
    let shape = [batch, cache.kv_heads, cache.capacity, cache.head_dim].map(Dim::Fixed);
    cache_names(prefix, cache.layers).iter().map(|name| tensor(name, dtype, shape.to_vec())).collect()
}

fn tensor(name: &str, dtype: Element, shape: Vec<Dim>) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape }
}

/// Checks that a loaded graph is the one that the manifest describes.
fn check_session(table: &GraphTable, graph: &Graph) -> Result<(), BundleError> {
    require_same(&table.name, "inputs", graph.inputs(), &table.inputs)?;
    require_same(&table.name, "outputs", graph.outputs(), &table.outputs)
}

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

fn no_table(graph: &str) -> BundleError {
    mismatch(graph, "no table".to_owned(), "a table in [[graphs]]".to_owned())
}

fn mismatch(graph: &str, found: String, expected: String) -> BundleError {
    BundleError::Graph { graph: graph.to_owned(), found, expected }
}
