//! The ONNX Runtime library of this process, loaded from a path that the caller names.
//!
//! From: the configuration or the command line. To: [`super::Graph::load`]. There is one per process, because the
//! library keeps global state; a second load of the same file gives the same one.

use super::cancel::Cancel;
use super::error::ExecutionError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A loaded library. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Environment {
    pub(super) inner: ort::environment::Environment,
    library: Arc<Path>,
    /// Provider libraries that were loaded into it, by provider.
    plugins: Arc<Mutex<BTreeMap<String, PathBuf>>>,
}

/// Held for the life of the process: the library refuses to be started twice.
static LOADED: Mutex<Option<Environment>> = Mutex::new(None);

impl Environment {
    /// Loads `library`, which must be ONNX Runtime of this release's interface version or newer.
    ///
    /// # Errors
    /// A missing file, a file that is not such a library, or another file than the one already loaded.
    pub fn load(library: &Path) -> Result<Self, ExecutionError> {
        let missing = |_| ExecutionError::LibraryMissing { library: library.to_path_buf() };
        // Absolute on purpose: `ort` would look for a relative path next to the executable first.
        let library = library.canonicalize().map_err(missing)?;
        if !library.is_file() {
            return Err(ExecutionError::LibraryMissing { library });
        }
        // A panic in another thread while loading leaves `None`, which is a state to go on from.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = loaded.as_ref() {
            return if *environment.library == *library {
                Ok(environment.clone())
            } else {
                Err(ExecutionError::OtherLibrary { loaded: environment.library.to_path_buf(), asked: library })
            };
        }
        let environment = start(library)?;
        *loaded = Some(environment.clone());
        Ok(environment)
    }

    /// The file it came from, absolute.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Loads `plugin`, which brings provider `name`. Twice the same is fine.
    ///
    /// # Errors
    /// A file that is no such plugin, or another one than the one already loaded.
    pub(super) fn register_plugin(&self, name: &str, plugin: &Path) -> Result<(), String> {
        let plugin = plugin.canonicalize().map_err(|error| format!("{}: {error}", plugin.display()))?;
        // A panic in another thread while loading leaves no entry, which is a state to go on from.
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        match plugins.get(name) {
            Some(loaded) if *loaded == plugin => Ok(()),
            Some(loaded) => Err(format!(
                "this process already runs {}, and cannot load {} as well",
                loaded.display(),
                plugin.display()
            )),
            None => {
                self.inner.register_ep_library(name, &plugin).map_err(|error| error.to_string())?;
                plugins.insert(name.to_owned(), plugin);
                Ok(())
            }
        }
    }

    /// For graphs that somebody may have to end while they run.
    ///
    /// # Errors
    /// The library has no memory for it.
    pub fn cancel(&self) -> Result<Cancel, ExecutionError> {
        Cancel::new().map_err(|error| ExecutionError::Call {
            graph: "any".to_owned(),
            action: "make run options",
            detail: error.to_string(),
        })
    }

    /// Its version, `1.32`.
    pub fn version(&self) -> String {
        ort::util::probe(&*self.library).map_or_else(|| "unknown".to_owned(), |minor| format!("1.{minor}"))
    }

    /// What the library says about its own build: version, commit, compiler flags.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

fn start(library: PathBuf) -> Result<Environment, ExecutionError> {
    let refused = |detail: String| ExecutionError::LibraryRefused { library: library.clone(), detail };
    let builder = ort::init_from(&library).map_err(|error| refused(error.to_string()))?;
    let inner =
        builder.with_name("egogrid").with_telemetry(false).build().map_err(|error| refused(error.to_string()))?;
    // The library would otherwise format every verbose line of every run, for a logger that then drops it.
    inner.set_log_level(ort::logging::LogLevel::Warning);
    Ok(Environment { inner, library: library.into(), plugins: Arc::default() })
}
