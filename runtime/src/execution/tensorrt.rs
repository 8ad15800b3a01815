//! NVIDIA TensorRT: its settings, and what ONNX Runtime is told. Has not run on a device yet.
//!
//! Option names are those of ONNX Runtime 1.31's `TensorrtExecutionProvider`. With neither `fp16` nor `bf16` ONNX
//! Runtime builds a strongly typed network: every product runs in the type that the graph says, which is what the static
//! graphs are made for. Either flag makes types a hint, and norms and sums may then be rounded to 16 bits.

use super::error::ExecutionError;
use super::provider::{cache_of, flag, mib};
use ort::ep::{ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch, TensorRT};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

const WORKSPACE_MIB_MAX: u32 = 1 << 20;
const BUILDER_LEVEL_MAX: u8 = 5;
const PROFILES_MAX: usize = 64;
const RANK_MAX: usize = 8;
const SIZE_MAX: u32 = 1 << 20;

/// What a configuration says under `[tensorrt]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TensorRtConfig {
    /// Where engines are kept. Absent: every start builds them again, which takes minutes for a large model.
    pub engine_cache_dir: Option<PathBuf>,
    /// Whether times of kernels are kept there too; they make the next engine of the same device faster to build.
    pub timing_cache: bool,
    /// Let TensorRT compute in fp16 what the graph says is f32.
    pub fp16: bool,
    /// Let TensorRT compute in bf16 what the graph says is f32.
    pub bf16: bool,
    /// Scratch memory that the builder may use, MiB; absent: all there is.
    pub workspace_mib: Option<u32>,
    /// How long the builder looks for faster kernels, 0 to 5.
    pub builder_level: u8,
    /// Record the first run and replay it.
    pub cuda_graph: bool,
    /// Engines that run on other devices of the same or a newer generation, slower.
    pub hardware_compatible: bool,
    /// By input name, for graphs with dimensions that are not fixed. Static graphs need none.
    pub profiles: BTreeMap<String, Profile>,
}

/// Smallest, usual and largest shape of one input.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Smallest.
    pub min: Vec<u32>,
    /// What engines are tuned for.
    pub opt: Vec<u32>,
    /// Largest.
    pub max: Vec<u32>,
}

impl Default for TensorRtConfig {
    fn default() -> Self {
        Self {
            engine_cache_dir: None,
            timing_cache: true,
            fp16: false,
            bf16: false,
            workspace_mib: None,
            builder_level: 3,
            cuda_graph: false,
            hardware_compatible: false,
            profiles: BTreeMap::new(),
        }
    }
}

impl TensorRtConfig {
    /// With its bounds checked.
    ///
    /// # Errors
    /// A number out of bounds, or a profile whose shapes do not fit each other.
    pub(super) fn checked(self, device: u32) -> Result<TensorRt, ExecutionError> {
        let workspace = mib("tensorrt.workspace_mib", self.workspace_mib, WORKSPACE_MIB_MAX)?;
        if self.builder_level > BUILDER_LEVEL_MAX {
            return Err(refused(
                "tensorrt.builder_level",
                self.builder_level.to_string(),
                format!("0 to {BUILDER_LEVEL_MAX}"),
            ));
        }
        if self.profiles.len() > PROFILES_MAX {
            let found = format!("{} inputs", self.profiles.len());
            return Err(refused("tensorrt.profiles", found, format!("at most {PROFILES_MAX}")));
        }
        for (input, profile) in &self.profiles {
            profile.check(input)?;
        }
        Ok(TensorRt { device, workspace, config: self, model: None })
    }
}

impl Profile {
    fn check(&self, input: &str) -> Result<(), ExecutionError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if input.is_empty() || !input.bytes().all(plain) {
            let expected = "the name of an input of a graph, like text_ids";
            return Err(refused("tensorrt.profiles", format!("{input:?}"), expected.to_owned()));
        }
        let same_rank = self.min.len() == self.opt.len() && self.opt.len() == self.max.len();
        let sizes = self.min.iter().zip(&self.opt).zip(&self.max);
        let ordered =
            |((min, opt), max): ((&u32, &u32), &u32)| 1 <= *min && min <= opt && opt <= max && *max <= SIZE_MAX;
        if same_rank && (1..=RANK_MAX).contains(&self.min.len()) && sizes.into_iter().all(ordered) {
            return Ok(());
        }
        let found = format!("{input}: min {:?}, opt {:?}, max {:?}", self.min, self.opt, self.max);
        let expected = format!(
            "three shapes of one rank, 1 to {RANK_MAX}, with 1 <= min <= opt <= max <= {SIZE_MAX} in every dimension"
        );
        Err(refused("tensorrt.profiles", found, expected))
    }
}

fn refused(option: &'static str, found: String, expected: String) -> ExecutionError {
    ExecutionError::Option { option, found, expected }
}

/// TensorRT on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRt {
    device: u32,
    /// Bytes.
    workspace: Option<u64>,
    config: TensorRtConfig,
    /// Digest of the model that runs, part of the path of its engines.
    model: Option<String>,
}

impl TensorRt {
    pub(super) fn records_graph(&self) -> bool {
        self.config.cuda_graph
    }

    pub(super) fn for_model(self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self }
    }

    /// Where the engines of this model go.
    ///
    /// # Errors
    /// A cache for a graph that belongs to no bundle, see [`super::provider::cache_of`].
    pub(super) fn cache_dir(&self) -> Result<Option<PathBuf>, ExecutionError> {
        let dir =
            cache_of("tensorrt.engine_cache_dir", self.config.engine_cache_dir.as_deref(), self.model.as_deref())?;
        let arithmetic = match (self.config.fp16, self.config.bf16) {
            (false, false) => "typed",
            (true, false) => "fp16",
            (false, true) => "bf16",
            (true, true) => "fp16_bf16",
        };
        Ok(dir.map(|dir| dir.join(arithmetic)))
    }

    /// What ONNX Runtime is told, key by key.
    ///
    /// # Errors
    /// As [`Self::cache_dir`].
    pub fn entries(&self) -> Result<Vec<(&'static str, String)>, ExecutionError> {
        let (config, cache_dir) = (&self.config, self.cache_dir()?);
        let mut entries = vec![
            ("device_id", self.device.to_string()),
            ("trt_fp16_enable", flag(config.fp16)),
            ("trt_bf16_enable", flag(config.bf16)),
            // Only matters with fp16: norms then stay in f32.
            ("trt_layer_norm_fp32_fallback", flag(true)),
            ("trt_builder_optimization_level", config.builder_level.to_string()),
            ("trt_cuda_graph_enable", flag(config.cuda_graph)),
            ("trt_engine_hw_compatible", flag(config.hardware_compatible)),
            ("trt_engine_cache_enable", flag(cache_dir.is_some())),
            ("trt_timing_cache_enable", flag(cache_dir.is_some() && config.timing_cache)),
        ];
        entries.extend(self.workspace.map(|bytes| ("trt_max_workspace_size", bytes.to_string())));
        if let Some(dir) = cache_dir {
            let dir = dir.display().to_string();
            entries.extend([("trt_engine_cache_path", dir.clone()), ("trt_timing_cache_path", dir)]);
        }
        if !config.profiles.is_empty() {
            entries.extend([
                ("trt_profile_min_shapes", self.shapes(|profile| &profile.min)),
                ("trt_profile_opt_shapes", self.shapes(|profile| &profile.opt)),
                ("trt_profile_max_shapes", self.shapes(|profile| &profile.max)),
            ]);
        }
        Ok(entries)
    }

    /// `input:1x2,other:3`.
    fn shapes(&self, of: fn(&Profile) -> &Vec<u32>) -> String {
        let shape = |(input, profile): (&String, &Profile)| {
            let sizes: Vec<String> = of(profile).iter().map(u32::to_string).collect();
            format!("{input}:{}", sizes.join("x"))
        };
        self.config.profiles.iter().map(shape).collect::<Vec<_>>().join(",")
    }

    /// Fails where it cannot start, see [`super::cuda::Cuda::dispatch`].
    pub(super) fn dispatch(&self) -> Result<ExecutionProviderDispatch, ExecutionError> {
        let provider = self
            .entries()?
            .into_iter()
            .fold(TensorRT::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value));
        Ok(provider.build().error_on_failure())
    }
}
