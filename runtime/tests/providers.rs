//! Providers as configuration: what a file may say, what ONNX Runtime is then told, key by key, and what is refused.
//!
//! No device is needed. The error path of each provider with a real library: `policies/tests/check.rs`, `launch/tests`.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use egogrid_runtime::execution::{Flavour, Provider, ProviderConfig};
use std::collections::BTreeMap;

fn config(toml: &str) -> ProviderConfig {
    toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"))
}

fn checked(toml: &str) -> Provider {
    config(toml).checked().unwrap_or_else(|error| panic!("{toml}: {error}"))
}

fn refused(toml: &str) -> String {
    match toml::from_str::<ProviderConfig>(toml) {
        Ok(config) => config.checked().expect_err(toml).to_string(),
        Err(error) => error.to_string(),
    }
}

/// What ONNX Runtime is told about the first provider.
fn entries(provider: &Provider) -> BTreeMap<&'static str, String> {
    let entries = match provider {
        Provider::Cpu => Vec::new(),
        Provider::Cuda(cuda) => cuda.entries(),
        Provider::TensorRt(tensorrt, _) => tensorrt.entries().unwrap(),
        Provider::OpenVino(openvino) => openvino.entries(3).unwrap(),
    };
    let count = entries.len();
    let entries = BTreeMap::from_iter(entries);
    assert_eq!(entries.len(), count, "a key is given twice");
    entries
}

fn pairs(expected: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    expected.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

#[test]
fn names_are_read_and_printed_alike() {
    for (text, printed) in [
        ("cpu", "cpu"),
        ("cuda", "cuda:0"),
        ("cuda:1", "cuda:1"),
        ("tensorrt", "tensorrt:0"),
        ("tensorrt:63", "tensorrt:63"),
        ("openvino", "openvino:CPU"),
        ("openvino:GPU", "openvino:GPU"),
        ("openvino:GPU.0", "openvino:GPU"),
        ("openvino:GPU.1", "openvino:GPU.1"),
        ("openvino:NPU", "openvino:NPU"),
    ] {
        let provider: Provider = text.parse().unwrap();
        assert_eq!(provider.to_string(), printed);
        assert_eq!(printed.parse::<Provider>().unwrap(), provider);
        let flavour = if text == "cpu" { Flavour::Cpu } else { Flavour::Static };
        assert_eq!(provider.flavour(), flavour, "{text}");
    }
    for text in [
        "",
        "gpu",
        "CPU",
        "cpu:0",
        "cuda:",
        "cuda:-1",
        "cuda:64",
        "cuda:0x1",
        "tensorrt:a",
        "openvino:",
        "openvino:gpu",
        "openvino:GPU.64",
        "openvino:NPU.1",
    ] {
        let error = text.parse::<Provider>().expect_err(text).to_string();
        assert!(error.contains("cuda:N") && error.contains("openvino:GPU"), "{text}: {error}");
    }
}

#[test]
fn cuda_is_told_every_setting_and_nothing_is_left_to_its_defaults() {
    let defaults = [
        ("device_id", "0"),
        ("arena_extend_strategy", "kSameAsRequested"),
        ("cudnn_conv_algo_search", "EXHAUSTIVE"),
        ("cudnn_conv_use_max_workspace", "1"),
        ("use_tf32", "0"),
        ("enable_cuda_graph", "0"),
    ];
    assert_eq!(entries(&checked("provider = \"cuda\"")), pairs(&defaults));
    let all = "provider = \"cuda:2\"\n[cuda]\nmemory_limit_mib = 4096\narena = \"next_power_of_two\"\nconv_search = \"heuristic\"\n\
               conv_max_workspace = false\ntf32 = true\ncuda_graph = true";
    let expected = [
        ("device_id", "2"),
        ("gpu_mem_limit", "4294967296"),
        ("arena_extend_strategy", "kNextPowerOfTwo"),
        ("cudnn_conv_algo_search", "HEURISTIC"),
        ("cudnn_conv_use_max_workspace", "0"),
        ("use_tf32", "1"),
        ("enable_cuda_graph", "1"),
    ];
    assert_eq!(entries(&checked(all)), pairs(&expected));
}

#[test]
fn tensorrt_is_told_every_setting() {
    let defaults = [
        ("device_id", "0"),
        ("trt_fp16_enable", "0"),
        ("trt_bf16_enable", "0"),
        ("trt_layer_norm_fp32_fallback", "1"),
        ("trt_builder_optimization_level", "3"),
        ("trt_cuda_graph_enable", "0"),
        ("trt_engine_hw_compatible", "0"),
        ("trt_engine_cache_enable", "0"),
        ("trt_timing_cache_enable", "0"),
    ];
    assert_eq!(entries(&checked("provider = \"tensorrt\"")), pairs(&defaults));
    let all = "provider = \"tensorrt:1\"\n[tensorrt]\nengine_cache_dir = \"engines\"\nfp16 = true\nbf16 = true\nworkspace_mib = 1\n\
               builder_level = 5\ncuda_graph = true\nhardware_compatible = true\n\
               [tensorrt.profiles.text_ids]\nmin = [1, 2]\nopt = [1, 16]\nmax = [1, 128]\n\
               [tensorrt.profiles.mask]\nmin = [1]\nopt = [1]\nmax = [1]";
    let provider = checked(all).for_model("3f2a");
    let expected = [
        ("device_id", "1"),
        ("trt_fp16_enable", "1"),
        ("trt_bf16_enable", "1"),
        ("trt_layer_norm_fp32_fallback", "1"),
        ("trt_builder_optimization_level", "5"),
        ("trt_cuda_graph_enable", "1"),
        ("trt_engine_hw_compatible", "1"),
        ("trt_engine_cache_enable", "1"),
        ("trt_timing_cache_enable", "1"),
        ("trt_max_workspace_size", "1048576"),
        ("trt_engine_cache_path", "engines/3f2a/fp16_bf16"),
        ("trt_timing_cache_path", "engines/3f2a/fp16_bf16"),
        ("trt_profile_min_shapes", "mask:1,text_ids:1x2"),
        ("trt_profile_opt_shapes", "mask:1,text_ids:1x16"),
        ("trt_profile_max_shapes", "mask:1,text_ids:1x128"),
    ];
    assert_eq!(entries(&provider), pairs(&expected));
    let without =
        checked("provider = \"tensorrt\"\n[tensorrt]\nengine_cache_dir = \"e\"\ntiming_cache = false").for_model("a");
    assert_eq!(entries(&without)["trt_timing_cache_enable"], "0");
}

/// ONNX Runtime names an engine by the graph, not by its weights.
#[test]
fn two_models_never_share_a_directory_of_engines() {
    let toml = "provider = \"tensorrt\"\n[tensorrt]\nengine_cache_dir = \"engines\"";
    let path = |model: &str| entries(&checked(toml).for_model(model))["trt_engine_cache_path"].clone();
    assert_ne!(path("3f2a"), path("9c01"));
    let Provider::TensorRt(without_model, _) = checked(toml) else { panic!("not TensorRT") };
    let error = without_model.entries().unwrap_err().to_string();
    assert!(error.contains("engine_cache_dir"), "{error}");
    let toml = "provider = \"openvino\"\n[openvino]\ncache_dir = \"compiled\"";
    let Provider::OpenVino(without_model) = checked(toml) else { panic!("not OpenVINO") };
    assert!(without_model.entries(1).unwrap_err().to_string().contains("cache_dir"));
}

#[test]
fn openvino_is_told_through_the_properties_that_it_checks_itself() {
    let told = |toml: &str| {
        let entries = entries(&checked(toml).for_model("3f2a"));
        assert_eq!(entries.len(), 1);
        serde_json::from_str::<serde_json::Value>(&entries["load_config"]).unwrap()
    };
    let cpu = serde_json::json!({"CPU": {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "3"
    }});
    assert_eq!(told("provider = \"openvino\""), cpu);
    let gpu = serde_json::json!({"GPU": {
        "INFERENCE_PRECISION_HINT": "f16", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "2", "CACHE_DIR": "a \"b\"/3f2a"
    }});
    let toml = "provider = \"openvino:GPU.1\"\n[openvino]\nprecision = \"f16\"\nstreams = 2\ncache_dir = 'a \"b\"'";
    assert_eq!(told(toml), gpu);
}

#[test]
fn what_a_file_gets_wrong_is_refused_by_name() {
    for (toml, names) in [
        ("providr = \"cpu\"", "providr"),
        ("[cuda]\nmemory_limit_mb = 1", "memory_limit_mb"),
        ("[cuda]\nmemory_limit_mib = 0", "cuda.memory_limit_mib"),
        ("[cuda]\nmemory_limit_mib = 1048577", "cuda.memory_limit_mib"),
        ("[cuda]\narena = \"kSameAsRequested\"", "same_as_requested"),
        ("[cuda]\nconv_search = \"fast\"", "exhaustive"),
        ("[cuda]\ntf32 = 1", "boolean"),
        ("[tensorrt]\nbuilder_level = 6", "tensorrt.builder_level"),
        ("[tensorrt]\nworkspace_mib = 0", "tensorrt.workspace_mib"),
        ("[tensorrt]\nfp8 = true", "fp8"),
        ("[tensorrt.profiles.x]\nmin = [1]\nopt = [1]", "max"),
        ("[tensorrt.profiles.x]\nmin = [1]\nopt = [1]\nmax = [1, 2]", "tensorrt.profiles"),
        ("[tensorrt.profiles.x]\nmin = [2]\nopt = [1]\nmax = [3]", "min <= opt <= max"),
        ("[tensorrt.profiles.x]\nmin = [0]\nopt = [1]\nmax = [3]", "tensorrt.profiles"),
        ("[tensorrt.profiles.x]\nmin = []\nopt = []\nmax = []", "tensorrt.profiles"),
        ("[tensorrt.profiles.\"a:1,b\"]\nmin = [1]\nopt = [1]\nmax = [3]", "name of an input"),
        ("[openvino]\nprecision = \"fp32\"", "f32"),
        ("[openvino]\nstreams = 0", "openvino.streams"),
        ("[openvino]\ndevice = \"CPU\"", "device"),
        ("provider = \"tensorrt\"\n[cuda]\ncuda_graph = true", "tensorrt.cuda_graph"),
    ] {
        let error = refused(toml);
        assert!(error.contains(names), "{toml}: {error}");
    }
    // Also where it is not the one in use.
    assert!(refused("provider = \"cpu\"\n[tensorrt]\nbuilder_level = 9").contains("builder_level"));
}
