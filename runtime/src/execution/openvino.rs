//! Intel OpenVINO: its settings, and what ONNX Runtime is told.
//!
//! It comes as a plugin (PyPI `onnxruntime-ep-openvino`, checked with 1.8.1) that any ONNX Runtime of our version loads;
//! libraries with OpenVINO built in (`onnxruntime-openvino`) are older than the interface that is needed here. The plugin
//! takes Intel processors, GPUs and NPUs only. It silently ignores options that it does not know, so everything goes
//! through `load_config`, whose properties OpenVINO itself checks.

use super::error::ExecutionError;
use super::provider::cache_of;
use ort::device::Device;
use ort::memory::DeviceType;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What ONNX Runtime calls it.
pub(super) const NAME: &str = "OpenVINOExecutionProvider";
/// The plugin's file, looked for beside `libonnxruntime.so` where the configuration names none.
pub(super) const PLUGIN_FILE: &str = "libonnxruntime_providers_openvino_plugin.so";
const STREAMS_MAX: u16 = 64;

/// What a configuration says under `[openvino]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenVinoConfig {
    /// The plugin. Absent: beside `libonnxruntime.so`.
    pub plugin: Option<PathBuf>,
    /// In what type it computes.
    pub precision: OpenVinoPrecision,
    /// Where compiled models are kept. Absent: every start compiles them again.
    pub cache_dir: Option<PathBuf>,
    /// Runs at the same time; one look is one run.
    pub streams: u16,
}

impl Default for OpenVinoConfig {
    fn default() -> Self {
        Self { plugin: None, precision: OpenVinoPrecision::F32, cache_dir: None, streams: 1 }
    }
}

/// In what type it computes. Its own default may be 16 bits where the processor has them, without saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum OpenVinoPrecision {
    F32,
    F16,
    Bf16,
}

/// What runs it: `CPU`, `GPU`, `GPU.1`, `NPU`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenVinoDevice {
    /// The processor.
    Cpu,
    /// The n-th GPU.
    Gpu(u32),
    /// The neural processor.
    Npu,
}

impl fmt::Display for OpenVinoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
            Self::Gpu(0) => f.write_str("GPU"),
            Self::Gpu(index) => write!(f, "GPU.{index}"),
            Self::Npu => f.write_str("NPU"),
        }
    }
}

impl FromStr for OpenVinoDevice {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once('.') {
            None if text == "CPU" => Ok(Self::Cpu),
            None if text == "GPU" => Ok(Self::Gpu(0)),
            None if text == "NPU" => Ok(Self::Npu),
            Some(("GPU", index)) => match index.parse() {
                Ok(index) if index <= super::provider::DEVICE_MAX => Ok(Self::Gpu(index)),
                _ => Err(()),
            },
            _ => Err(()),
        }
    }
}

impl OpenVinoDevice {
    /// Type and place among the devices of that type.
    fn kind(self) -> (DeviceType, &'static str, usize) {
        match self {
            Self::Cpu => (DeviceType::CPU, "CPU", 0),
            Self::Gpu(index) => (DeviceType::GPU, "GPU", index as usize),
            Self::Npu => (DeviceType::NPU, "NPU", 0),
        }
    }

    /// This device among those that the plugin offers.
    pub(super) fn among<'e>(self, devices: impl Iterator<Item = Device<'e>>) -> Option<Device<'e>> {
        let (kind, _, index) = self.kind();
        devices
            .filter(|device| device.ep().is_ok_and(|ep| ep == NAME) && device.hardware_device().ty() == kind)
            .nth(index)
    }
}

impl OpenVinoConfig {
    /// With its bounds checked.
    ///
    /// # Errors
    /// A number out of bounds.
    pub(super) fn checked(self, device: OpenVinoDevice) -> Result<OpenVino, ExecutionError> {
        if (1..=STREAMS_MAX).contains(&self.streams) {
            return Ok(OpenVino { device, config: self, model: None });
        }
        let (found, expected) = (self.streams.to_string(), format!("1 to {STREAMS_MAX}"));
        Err(ExecutionError::Option { option: "openvino.streams", found, expected })
    }
}

/// OpenVINO on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVino {
    device: OpenVinoDevice,
    config: OpenVinoConfig,
    /// Digest of the model that runs, part of the path of what is compiled.
    model: Option<String>,
}

impl OpenVino {
    /// What runs it.
    pub fn device(&self) -> OpenVinoDevice {
        self.device
    }

    pub(super) fn for_model(self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self }
    }

    /// The plugin: as configured, or beside `library`.
    pub(super) fn plugin(&self, library: &Path) -> PathBuf {
        match &self.config.plugin {
            Some(plugin) => plugin.clone(),
            None => library.with_file_name(PLUGIN_FILE),
        }
    }

    /// Where compiled models of this bundle go.
    ///
    /// # Errors
    /// A cache for a graph that belongs to no bundle, see [`super::provider::cache_of`].
    pub(super) fn cache_dir(&self) -> Result<Option<PathBuf>, ExecutionError> {
        cache_of("openvino.cache_dir", self.config.cache_dir.as_deref(), self.model.as_deref())
    }

    /// What ONNX Runtime is told, key by key; the value is what OpenVINO reads, as JSON.
    ///
    /// # Errors
    /// As [`Self::cache_dir`].
    pub fn entries(&self, threads: u16) -> Result<Vec<(&'static str, String)>, ExecutionError> {
        let precision = match self.config.precision {
            OpenVinoPrecision::F32 => "f32",
            OpenVinoPrecision::F16 => "f16",
            OpenVinoPrecision::Bf16 => "bf16",
        };
        let (_, name, _) = self.device.kind();
        let mut properties = vec![
            ("INFERENCE_PRECISION_HINT", precision.to_owned()),
            ("PERFORMANCE_HINT", "LATENCY".to_owned()),
            ("NUM_STREAMS", self.config.streams.to_string()),
        ];
        if self.device == OpenVinoDevice::Cpu {
            properties.push(("INFERENCE_NUM_THREADS", threads.to_string()));
        }
        properties.extend(self.cache_dir()?.map(|dir| ("CACHE_DIR", dir.display().to_string())));
        let properties: serde_json::Map<String, Value> =
            properties.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
        Ok(vec![("load_config", json!({ name: properties }).to_string())])
    }
}
