//! The chain of each provider: what it needs, what is there, and whether a small session starts on it.

use crate::assemble;
use crate::cli::Common;
use crate::exit::CommandResult;
use egogrid_runtime::execution::{
    Chain, Environment, GraphOptions, Part, Provider, compiled_in, nvidia_driver, probe, told,
};
use serde::Serialize;

/// What is looked at, besides the provider that the command line asks for.
const PROVIDERS: [&str; 4] = ["cpu", "cuda:0", "tensorrt:0", "openvino:CPU"];

/// One provider.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    provider: String,
    /// Whether a session on it starts and computes.
    ready: bool,
    /// Which of a bundle's graphs it runs.
    graphs: String,
    /// What happened to the small session, or why it was not tried.
    session: String,
    parts: Vec<Part>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Providers {
    compiled_in: Vec<&'static str>,
    nvidia_driver: Option<String>,
    reports: Vec<Report>,
}

/// Looks at every provider, and at the one that was asked for with its settings.
pub(super) fn inspect(common: &Common, environment: &Environment) -> CommandResult<Providers> {
    let asked = assemble::graph_options(common)?;
    let mut options: Vec<GraphOptions> = PROVIDERS
        .iter()
        .filter_map(|name| Some(GraphOptions { provider: name.parse().ok()?, ..asked.clone() }))
        .filter(|other| other.provider.to_string() != asked.provider.to_string())
        .collect();
    options.insert(0, asked);
    let reports = options.iter().map(|options| report(environment, options)).collect();
    Ok(Providers { compiled_in: compiled_in(), nvidia_driver: nvidia_driver(), reports })
}

fn report(environment: &Environment, options: &GraphOptions) -> Report {
    let chain = Chain::of(environment, &options.provider);
    let missing = chain.missing().count();
    let (ready, session) = match missing {
        0 => match probe(environment, options) {
            Ok(()) => (true, "starts and computes".to_owned()),
            Err(error) => (false, error.to_string()),
        },
        1 => (false, "not tried: 1 thing is missing".to_owned()),
        count => (false, format!("not tried: {count} things are missing")),
    };
    Report {
        provider: options.provider.to_string(),
        ready,
        graphs: options.flavour().to_string(),
        session,
        parts: chain.parts,
    }
}

/// For people: what is there in one line each, what is missing with its remedy once.
pub(super) fn print(providers: &Providers) {
    let driver = providers.nvidia_driver.as_deref().unwrap_or("none");
    println!("\nproviders in this ONNX Runtime: {}; NVIDIA driver: {driver}", providers.compiled_in.join(", "));
    for report in &providers.reports {
        let state = if report.ready { "ok" } else { "absent" };
        println!("{state:<8} {:<18} {} graphs; {}", report.provider, report.graphs, report.session);
        for part in report.parts.iter().filter(|part| part.found.is_some()) {
            let version = part.version.as_deref().map_or_else(String::new, |version| format!(" {version}"));
            println!("{:<27} {}{version}: {}", "", part.name, part.found.as_deref().unwrap_or_default());
        }
        for line in told(report.parts.iter().filter(|part| part.found.is_none())) {
            println!("{:<27} {line}", "");
        }
    }
}

/// The provider that was asked for, when it does not start: nothing that the user meant to do will work.
pub(super) fn asked_and_absent(common: &Common, providers: &Providers) -> Option<String> {
    let asked = assemble::provider(common).ok()?;
    let report = providers.reports.iter().find(|report| report.provider == asked.to_string())?;
    (asked != Provider::Cpu && !report.ready).then(|| report.provider.clone())
}
