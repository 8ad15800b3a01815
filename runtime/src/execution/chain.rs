//! Everything that a provider needs, looked for before ONNX Runtime is asked for it.
//!
//! ONNX Runtime's own message names the first library that its loader did not find, and nothing about the rest, the
//! version or the place. From: the loaded library and a [`Provider`]. To: [`super::Graph`], which refuses to start with
//! what is missing, and `egogrid doctor`, which shows all of it.

mod elf;
mod nvidia;
mod search;

use super::environment::Environment;
use super::error::ExecutionError;
use super::openvino::{NAME as OPENVINO, OpenVino};
use super::provider::Provider;
use elf::needs_of;
pub use nvidia::driver as nvidia_driver;
use ort::ep::ExecutionProvider;
use search::{Search, version_of};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Libraries that every Linux process has.
const SYSTEM_LIBRARIES: [&str; 9] = [
    "libc.so",
    "libm.so",
    "libdl.so",
    "libpthread.so",
    "librt.so",
    "libstdc++.so",
    "libgcc_s.so",
    "ld-linux",
    "libz.so",
];
const OPENVINO_REMEDY: &str = "pip install onnxruntime-ep-openvino==1.8.1 and put its library's path under [openvino] plugin, or set provider = \"cpu\"";

/// One thing that a provider needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `libcudart.so.13`, or a device.
    pub name: String,
    /// What needs it.
    pub needed_by: String,
    /// Where it is; `None`: it is missing.
    pub found: Option<String>,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// Where it was looked for, when it is missing.
    pub looked_in: Vec<String>,
    /// What to do when it is missing.
    pub remedy: &'static str,
}

/// What is missing, for people: a line for each remedy, with all that it is for and everywhere that was looked.
pub fn told<'a>(missing: impl IntoIterator<Item = &'a Part>) -> Vec<String> {
    struct Group<'a> {
        remedy: &'static str,
        names: Vec<&'a str>,
        places: Vec<&'a str>,
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    for part in missing {
        if !groups.iter().any(|group| group.remedy == part.remedy) {
            groups.push(Group { remedy: part.remedy, names: Vec::new(), places: Vec::new() });
        }
        let Some(group) = groups.iter_mut().find(|group| group.remedy == part.remedy) else { continue };
        group.names.push(&part.name);
        for place in &part.looked_in {
            if !group.places.contains(&place.as_str()) {
                group.places.push(place);
            }
        }
    }
    let line = |group: Group<'_>| {
        format!("no {}; looked in {}: {}", group.names.join(", "), group.places.join(", "), group.remedy)
    };
    groups.into_iter().map(line).collect()
}

/// All of it, and in which order libraries are loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// In the order in which they were looked for.
    pub parts: Vec<Part>,
    /// Files beside `libonnxruntime.so`, each after what it needs.
    #[serde(skip)]
    preload: Vec<PathBuf>,
}

impl Chain {
    /// Looks for everything that `provider` needs; loads nothing but OpenVINO's plugin, which is how its devices are found.
    pub fn of(environment: &Environment, provider: &Provider) -> Self {
        let mut chain = Builder::new(environment.library());
        match provider {
            Provider::Cpu => {}
            Provider::Cuda(cuda) => nvidia::cuda(&mut chain, is_available::<ort::ep::CUDA>(), cuda.device()),
            Provider::TensorRt(_, cuda) => {
                nvidia::tensorrt(&mut chain, is_available::<ort::ep::TensorRT>());
                nvidia::cuda(&mut chain, is_available::<ort::ep::CUDA>(), cuda.device());
            }
            Provider::OpenVino(openvino) => openvino_parts(&mut chain, environment, openvino),
        }
        Self { parts: chain.parts, preload: chain.preload }
    }

    /// What is missing.
    pub fn missing(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.found.is_none())
    }

    /// Refuses a chain that lacks something, then loads the libraries that lie beside `libonnxruntime.so`, so that the
    /// provider finds them without `LD_LIBRARY_PATH`.
    pub(super) fn preload(&self, provider: &Provider) -> Result<(), ExecutionError> {
        let missing: Vec<Part> = self.missing().cloned().collect();
        if !missing.is_empty() {
            return Err(ExecutionError::ProviderParts { provider: provider.to_string(), missing });
        }
        for file in &self.preload {
            ort::util::preload_dylib(file).map_err(|error| ExecutionError::Provider {
                provider: provider.to_string(),
                detail: format!("{} cannot be loaded: {error}", file.display()),
            })?;
        }
        Ok(())
    }
}

/// Providers that the loaded library was built with, of those that we know.
pub fn compiled_in() -> Vec<&'static str> {
    let known = [
        ("cpu", is_available::<ort::ep::CPU>()),
        ("cuda", is_available::<ort::ep::CUDA>()),
        ("tensorrt", is_available::<ort::ep::TensorRT>()),
    ];
    known.into_iter().filter(|(_, available)| *available).map(|(name, _)| name).collect()
}

/// Whether the loaded library was built with it; says nothing about this machine.
fn is_available<P: ExecutionProvider>() -> bool {
    matches!(P::is_available(), Ok(true))
}

struct Builder {
    search: Search,
    library: String,
    seen: BTreeSet<String>,
    parts: Vec<Part>,
    preload: Vec<PathBuf>,
}

impl Builder {
    fn new(library: &Path) -> Self {
        let search = Search::new(library.parent().unwrap_or(Path::new("/")));
        let library = library.display().to_string();
        Self { search, library, seen: BTreeSet::new(), parts: Vec::new(), preload: Vec::new() }
    }

    /// Something that is not a file: `found` says what is there.
    fn fact(&mut self, name: &str, needed_by: &str, found: Option<String>, looked_in: &str, remedy: &'static str) {
        let looked_in = if found.is_some() { Vec::new() } else { vec![looked_in.to_owned()] };
        let (name, needed_by) = (name.to_owned(), needed_by.to_owned());
        self.parts.push(Part { name, needed_by, found, version: None, looked_in, remedy });
    }

    /// A library, and all that it needs. `None` when it is missing.
    fn library(
        &mut self,
        name: &str,
        needed_by: &str,
        own: &[PathBuf],
        remedy: fn(&str) -> &'static str,
    ) -> Option<PathBuf> {
        if !self.seen.insert(name.to_owned()) {
            return None;
        }
        let file = self.looked_for(name, needed_by, own, remedy(name))?;
        self.needs(&file, remedy);
        if file.parent() == Some(self.search.beside()) {
            self.preload.push(file.clone());
        }
        Some(file)
    }

    /// A library that another one loads itself, when it comes to it: it must be there, and is not loaded before.
    fn present(&mut self, name: &str, needed_by: &str, remedy: &'static str) {
        if self.seen.insert(name.to_owned()) {
            self.looked_for(name, needed_by, &[], remedy);
        }
    }

    fn looked_for(&mut self, name: &str, needed_by: &str, own: &[PathBuf], remedy: &'static str) -> Option<PathBuf> {
        let found = self.search.find(name, own);
        let looked_in = if found.is_some() { Vec::new() } else { self.search.places(own) };
        self.parts.push(Part {
            name: name.to_owned(),
            needed_by: needed_by.to_owned(),
            found: found.as_ref().map(|file| file.display().to_string()),
            version: found.as_deref().and_then(version_of),
            looked_in,
            remedy,
        });
        found
    }

    /// What `file` needs; a file that cannot be read is a missing part of its own.
    fn needs(&mut self, file: &Path, remedy: fn(&str) -> &'static str) {
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        match needs_of(file) {
            Ok(needs) => {
                for library in needs.libraries {
                    if !SYSTEM_LIBRARIES.iter().any(|system| library.starts_with(system)) {
                        self.library(&library, &name, &needs.directories, remedy);
                    }
                }
            }
            Err(detail) => self.fact(&format!("a usable {name}"), &self.library.clone(), None, &detail, remedy(&name)),
        }
    }
}

fn openvino_parts(chain: &mut Builder, environment: &Environment, openvino: &OpenVino) {
    let plugin = openvino.plugin(environment.library());
    let library = chain.library.clone();
    if !plugin.is_file() {
        let name = plugin.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        chain.fact(&name, &library, None, &plugin.display().to_string(), OPENVINO_REMEDY);
        return;
    }
    chain.fact("OpenVINO's plugin", &library, Some(plugin.display().to_string()), "", OPENVINO_REMEDY);
    chain.needs(&plugin, |_| OPENVINO_REMEDY);
    if chain.parts.iter().any(|part| part.found.is_none()) {
        return;
    }
    let name = format!("OpenVINO device {}", openvino.device());
    let device =
        environment.register_plugin(OPENVINO, &plugin).map(|()| openvino.device().among(environment.inner.devices()));
    let (found, offered) = match device {
        Ok(Some(device)) => {
            (Some(device.hardware_device().vendor().unwrap_or("unknown vendor").to_owned()), String::new())
        }
        Ok(None) => (None, format!("the devices that the plugin offers: {}", offered(environment))),
        Err(error) => (None, format!("the plugin, which does not load: {error}")),
    };
    chain.fact(
        &name,
        "the provider",
        found,
        &offered,
        "OpenVINO's plugin takes Intel processors, GPUs and NPUs only: use such a machine, another device, or set provider = \"cpu\"",
    );
}

/// What the plugin offers, and the processor, which explains why it may be nothing.
fn offered(environment: &Environment) -> String {
    let devices: Vec<String> = environment
        .inner
        .devices()
        .filter(|device| device.ep().is_ok_and(|ep| ep == OPENVINO))
        .map(|device| format!("{:?}", device.hardware_device().ty()))
        .collect();
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("vendor_id"))?.split_once(':')?.1.trim().to_owned();
        Some(line)
    });
    let devices = if devices.is_empty() { "none".to_owned() } else { devices.join(", ") };
    format!("{devices}; the processor is {}", processor.unwrap_or_else(|| "of unknown make".to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn missing(chain: &Builder) -> Vec<&str> {
        chain.parts.iter().filter(|part| part.found.is_none()).map(|part| part.name.as_str()).collect()
    }

    /// Any program of this machine is an ELF file that needs the C library.
    fn elf() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    #[test]
    fn what_a_library_needs_is_read_from_its_file() {
        let needs = needs_of(&elf()).unwrap();
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in
            [("empty.so", &b""[..]), ("text.so", b"not a library"), ("cut.so", &b"\x7fELF\x02\x01\x01"[..])]
        {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            assert!(needs_of(&dir.path().join(name)).unwrap_err().contains("not a shared library"), "{name}");
        }
        assert!(needs_of(&dir.path().join("absent.so")).is_err());
    }

    #[test]
    fn every_missing_thing_is_named_and_not_only_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Builder::new(&dir.path().join("libonnxruntime.so"));
        nvidia::tensorrt(&mut chain, false);
        nvidia::cuda(&mut chain, false, 63);
        let missing = missing(&chain);
        for name in [
            "ONNX Runtime with TensorRT",
            "libonnxruntime_providers_tensorrt.so",
            "libnvinfer.so.10",
            "ONNX Runtime with CUDA",
            "libonnxruntime_providers_cuda.so",
            "NVIDIA device 63",
        ] {
            assert!(missing.contains(&name), "{name}: {missing:?}");
        }
        let told = told(chain.parts.iter().filter(|part| part.found.is_none()));
        assert!(told.len() < missing.len(), "one line for each remedy: {told:?}");
        assert!(told.iter().all(|line| line.contains("looked in")));
        assert!(told.iter().any(|line| line.contains(&dir.path().display().to_string())));
    }

    #[test]
    fn what_lies_beside_the_library_is_found_and_loaded_after_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let copied = [
            "libonnxruntime_providers_shared.so",
            "libonnxruntime_providers_cuda.so",
            "libcudart.so.13",
            "libcudnn_ops.so.9",
        ];
        for name in copied {
            std::fs::copy(elf(), dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("libcudnn.so.9"), "not a library").unwrap();
        let mut chain = Builder::new(&dir.path().join("libonnxruntime.so"));
        nvidia::cuda(&mut chain, true, 0);
        let missing = missing(&chain);
        assert!(missing.contains(&"a usable libcudnn.so.9"), "{missing:?}");
        for name in ["ONNX Runtime with CUDA"].iter().chain(&copied) {
            assert!(!missing.contains(name), "{name}: {missing:?}");
        }
        // ONNX Runtime loads its own two itself, and cuDNN its parts.
        let preload: Vec<_> = chain.preload.iter().filter_map(|file| file.file_name()).collect();
        assert!(preload.contains(&"libcudart.so.13".as_ref()), "{preload:?}");
        for name in ["libonnxruntime_providers_cuda.so", "libcudnn_ops.so.9"] {
            assert!(!preload.contains(&name.as_ref()), "{preload:?}");
        }
        assert!(missing.contains(&"libcudnn_graph.so.9"), "one part of cuDNN is not all of it: {missing:?}");
    }
}
