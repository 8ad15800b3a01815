//! What CUDA and TensorRT need: the provider's library, what that names itself, what it loads while running, the driver, a
//! device. Names are those of ONNX Runtime 1.31's GPU build (CUDA 13, cuDNN 9, TensorRT 10).

use super::Builder;
use std::path::Path;

const SHARED: &str = "libonnxruntime_providers_shared.so";
const CUDA_PROVIDER: &str = "libonnxruntime_providers_cuda.so";
const TENSORRT_PROVIDER: &str = "libonnxruntime_providers_tensorrt.so";
/// What the CUDA provider names in its file; looked for as well where that file is missing.
const CUDA_NEEDED: [&str; 5] =
    ["libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcuda.so.1"];
/// What it loads by name while running, which its file does not say.
const CUDA_LOADED: [&str; 3] = ["libcudnn.so.9", "libcufft.so.12", "libnvrtc.so.13"];
/// What those load themselves, from beside them, when it is first used. A part of cuDNN that is missing then ends the process.
const LOADED_LATER: [(&str, &str); 8] = [
    ("libnvJitLink.so.13", "libcufft.so.12"),
    ("libcudnn_graph.so.9", "libcudnn.so.9"),
    ("libcudnn_ops.so.9", "libcudnn.so.9"),
    ("libcudnn_cnn.so.9", "libcudnn.so.9"),
    ("libcudnn_adv.so.9", "libcudnn.so.9"),
    ("libcudnn_heuristic.so.9", "libcudnn.so.9"),
    ("libcudnn_engines_precompiled.so.9", "libcudnn.so.9"),
    ("libcudnn_engines_runtime_compiled.so.9", "libcudnn.so.9"),
];
const TENSORRT_NEEDED: [&str; 2] = ["libnvinfer.so.10", "libnvonnxparser.so.10"];
/// What TensorRT loads by name while building an engine.
const TENSORRT_LOADED: [&str; 1] = ["libnvinfer_plugin.so.10"];

const SETUP: &str = "run ./launch/gpu-setup and give --ort-lib third_party/onnxruntime-gpu/libonnxruntime.so (onnxruntime-gpu 1.31.1), or set provider = \"cpu\"";
const DRIVER: &str = "install the NVIDIA driver, 580 or newer, which CUDA 13 needs";
const CUDA_LIBRARIES: &str =
    "run ./launch/gpu-setup, which fetches the libraries of CUDA 13, or put their directory on LD_LIBRARY_PATH";
const CUDNN: &str =
    "run ./launch/gpu-setup, which fetches cuDNN 9 for CUDA 13, or put its directory on LD_LIBRARY_PATH";
const TENSORRT: &str =
    "get TensorRT 10 for CUDA 13 from NVIDIA (docs/providers.md) and run ./launch/gpu-setup --tensorrt DIR";

/// Everything for CUDA on `device`. `built_in`: whether ONNX Runtime was built with it.
pub(super) fn cuda(chain: &mut Builder, built_in: bool, device: u32) {
    provider(chain, "CUDA", built_in, CUDA_PROVIDER);
    for name in CUDA_NEEDED.into_iter().chain(CUDA_LOADED) {
        chain.library(name, CUDA_PROVIDER, &[], remedy);
    }
    for (name, needed_by) in LOADED_LATER {
        chain.present(name, needed_by, remedy(name));
    }
    let found = device_file(Path::new("/dev"), Path::new("/proc"), device);
    let looked_in = format!("/dev/nvidia* and /dev/dxg, for at least {} of them", device + 1);
    chain.fact(&format!("NVIDIA device {device}"), "CUDA", found, &looked_in, DRIVER);
}

/// Everything for TensorRT that CUDA does not need as well.
pub(super) fn tensorrt(chain: &mut Builder, built_in: bool) {
    provider(chain, "TensorRT", built_in, TENSORRT_PROVIDER);
    for name in TENSORRT_NEEDED.into_iter().chain(TENSORRT_LOADED) {
        chain.library(name, TENSORRT_PROVIDER, &[], remedy);
    }
}

fn provider(chain: &mut Builder, name: &str, built_in: bool, file: &str) {
    let library = chain.library.clone();
    let found = built_in.then(|| "built in".to_owned());
    let looked_in = format!("the providers that {library} was built with");
    chain.fact(&format!("ONNX Runtime with {name}"), "the provider", found, &looked_in, SETUP);
    for file in [SHARED, file] {
        if !chain.seen.insert(file.to_owned()) {
            continue;
        }
        // ONNX Runtime looks for these in its own directory and nowhere else, and loads them itself.
        let path = chain.search.beside().join(file);
        let found = path.is_file().then(|| path.display().to_string());
        chain.fact(file, &library, found.clone(), &path.display().to_string(), SETUP);
        if found.is_some() {
            chain.needs(&path, remedy);
        }
    }
}

fn remedy(library: &str) -> &'static str {
    match library {
        name if name.starts_with("libcuda.so") => DRIVER,
        name if name.starts_with("libcudnn") => CUDNN,
        name if name.starts_with("libnvinfer") || name.starts_with("libnvonnxparser") => TENSORRT,
        name if name.starts_with("libonnxruntime") => SETUP,
        _ => CUDA_LIBRARIES,
    }
}

/// The n-th device file, with the name of the device. In a container only some are visible, and CUDA counts those.
fn device_file(dev: &Path, proc: &Path, device: u32) -> Option<String> {
    let dxg = dev.join("dxg"); // all devices of a Windows host, in its Linux
    if dxg.exists() {
        return Some(dxg.display().to_string());
    }
    let number = |name: &str| name.strip_prefix("nvidia")?.parse::<u32>().ok();
    let names = std::fs::read_dir(dev).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut numbers: Vec<u32> = names.filter_map(|name| number(&name)).collect();
    numbers.sort_unstable();
    let number = *numbers.get(device as usize)?;
    let file = dev.join(format!("nvidia{number}")).display().to_string();
    Some(model(proc, number).map_or_else(|| file.clone(), |model| format!("{file} ({model})")))
}

/// What the driver calls the device of that number.
fn model(proc: &Path, number: u32) -> Option<String> {
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let devices = std::fs::read_dir(proc.join("driver/nvidia/gpus")).ok()?;
    let mut described =
        devices.flatten().filter_map(|device| std::fs::read_to_string(device.path().join("information")).ok());
    let text = described.find(|text| value(text, "Device Minor").is_some_and(|minor| minor == number.to_string()))?;
    value(&text, "Model")
}

/// Version of the NVIDIA driver that runs; `None` where there is none.
pub fn driver() -> Option<String> {
    driver_in(&std::fs::read_to_string("/proc/driver/nvidia/version").ok()?)
}

/// The first number with dots, as in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun …`.
fn driver_in(text: &str) -> Option<String> {
    let numeric = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split_whitespace().find(numeric).map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_counted_as_they_are_visible_and_named_by_the_driver() {
        let (dev, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = |device: u32| device_file(dev.path(), proc.path(), device);
        assert_eq!(file(0), None);
        for name in ["nvidiactl", "nvidia-uvm", "nvidia3", "nvidia12"] {
            std::fs::write(dev.path().join(name), "").unwrap();
        }
        assert!(file(0).unwrap().ends_with("/nvidia3"));
        let about = proc.path().join("driver/nvidia/gpus/0000:01:00.0");
        std::fs::create_dir_all(&about).unwrap();
        std::fs::write(about.join("information"), "Model: \t\t NVIDIA H100\nDevice Minor: \t 12\n").unwrap();
        assert!(file(1).unwrap().ends_with("/nvidia12 (NVIDIA H100)"), "{:?}", file(1));
        assert_eq!(file(2), None);
        std::fs::write(dev.path().join("dxg"), "").unwrap();
        assert!(file(2).unwrap().ends_with("/dxg"));
    }

    #[test]
    fn the_driver_says_its_version_in_both_of_its_forms() {
        for text in [
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:17:59 UTC 2025\nGCC version:  gcc version 12.2.0\n",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@host)\n",
        ] {
            assert_eq!(driver_in(text).as_deref(), Some("580.65.06"));
        }
        assert_eq!(driver_in("no driver"), None);
    }

    #[test]
    fn every_library_has_the_remedy_of_its_package() {
        for (library, names) in [
            ("libcuda.so.1", "driver, 580"),
            ("libcudart.so.13", "CUDA 13"),
            ("libcudnn.so.9", "cuDNN 9"),
            ("libcudnn_graph.so.9", "cuDNN 9"),
            ("libnvinfer.so.10", "TensorRT 10"),
            ("libnvonnxparser.so.10", "TensorRT 10"),
            ("libonnxruntime_providers_cuda.so", "onnxruntime-gpu 1.31.1"),
        ] {
            assert!(remedy(library).contains(names), "{library}: {}", remedy(library));
        }
    }

    #[test]
    fn remedies_name_scripts_and_pages_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let remedies = [SETUP, DRIVER, CUDA_LIBRARIES, CUDNN, TENSORRT];
        let words = remedies.iter().flat_map(|text| text.split([' ', ',', '(', ')']));
        let files: Vec<&str> =
            words.filter(|word| word.starts_with("./launch/") || word.starts_with("docs/")).collect();
        assert_eq!(files.len(), 5, "{files:?}");
        for file in files {
            assert!(root.join(file).is_file(), "{file}");
        }
    }
}
