//! `egogrid doctor`: what this machine has; each finding with its remedy.

mod providers;

use crate::assemble;
use crate::cli::{Common, DoctorArgs};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_runtime::execution::Environment;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    /// `ok`, `absent` (needed only for what its name says) or `missing` (nothing runs without it).
    state: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: "ok", found: found.into(), remedy: None }
    }

    fn absent(name: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { name, state: "absent", found: found.into(), remedy: Some(remedy) }
    }

    fn missing(name: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { name, state: "missing", found: found.into(), remedy: Some(remedy) }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit code 4 when something is missing that every command needs, or the provider that was asked for does not start.
pub fn run(common: &Common, args: &DoctorArgs) -> CommandResult {
    let environment = assemble::environment(common);
    let findings =
        [processor(), memory(), clock(), onnx_runtime(&environment), python(common), renderer(common), bundle(common)];
    let providers = environment.ok().map(|environment| providers::inspect(common, &environment)).transpose()?;
    if args.json {
        print_json(&json!({ "findings": findings, "providers": providers }));
    } else {
        for finding in &findings {
            println!("{:<8} {:<18} {}", finding.state, finding.name, finding.found);
            if let Some(remedy) = finding.remedy {
                println!("{:<27} → {remedy}", "");
            }
        }
        if let Some(providers) = &providers {
            providers::print(providers);
        }
    }
    let absent = providers.as_ref().and_then(|providers| providers::asked_and_absent(common, providers));
    let missing: Vec<String> = findings
        .iter()
        .filter(|finding| finding.state == "missing")
        .map(|finding| finding.name.to_owned())
        .chain(absent)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CommandError::missing(anyhow!("missing: {}; the remedies are above", missing.join(", "))))
    }
}

fn line_after(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = line_after("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown model".to_owned());
    let flags = line_after("/proc/cpuinfo", "flags").unwrap_or_default();
    let has = |flag: &str| flags.split(' ').any(|found| found == flag);
    let units: Vec<&str> =
        ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile"].into_iter().filter(|flag| has(flag)).collect();
    let found = format!("{cores} cores, {model}, {}", units.join(" "));
    if cores >= 2 {
        Finding::ok("processor", found)
    } else {
        Finding::absent(
            "processor",
            found,
            "two cores are what the latency figures are for; expect them to be higher here",
        )
    }
}

fn memory() -> Finding {
    match line_after("/proc/meminfo", "MemAvailable") {
        Some(available) => Finding::ok("memory", format!("{available} available")),
        None => Finding::absent(
            "memory",
            "cannot be read",
            "this is not a Linux machine with /proc; peak memory is not reported",
        ),
    }
}

fn clock() -> Finding {
    let source =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").unwrap_or_default();
    match source.trim() {
        "" => Finding::absent(
            "clock",
            "unknown clock source",
            "latencies are measured with it; check that the machine has a steady clock",
        ),
        "hpet" | "acpi_pm" => Finding::absent(
            "clock",
            source.trim(),
            "reading this clock is slow and disturbs short times; prefer tsc or kvm-clock",
        ),
        steady => Finding::ok("clock", steady),
    }
}

fn onnx_runtime(environment: &CommandResult<Environment>) -> Finding {
    const REMEDY: &str = "run ./launch/demo or ./launch/test once: they put it in place; or give --ort-lib";
    match environment {
        Ok(environment) => {
            let (file, version) = (environment.library().display(), environment.version());
            Finding::ok("ONNX Runtime", format!("{version}, {file} ({})", environment.build_info()))
        }
        Err(failed) => Finding::missing("ONNX Runtime", failed.to_string(), REMEDY),
    }
}

fn python(common: &Common) -> Finding {
    const REMEDY: &str = "needed for the simulator and the exporter only: ./launch/demo and ./launch/test make .venv";
    let Ok(root) = assemble::root(common) else { return Finding::absent("Python worker", "no checkout found", REMEDY) };
    let python = match egogrid_sim_bridge::worker::python_path(&root) {
        Ok(python) => python,
        Err(error) => return Finding::absent("Python worker", error.to_string(), REMEDY),
    };
    let script = "import sys, mujoco, metaworld, zenoh; print(sys.version.split()[0], 'mujoco', mujoco.__version__)";
    match Command::new(&python).args(["-c", script]).output() {
        Ok(output) if output.status.success() => {
            Finding::ok("Python worker", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let message = String::from_utf8_lossy(&output.stderr);
            Finding::absent("Python worker", message.lines().last().unwrap_or("no message").to_owned(), REMEDY)
        }
        Err(error) => Finding::absent("Python worker", format!("{}: {error}", python.display()), REMEDY),
    }
}

fn renderer(common: &Common) -> Finding {
    const REMEDY: &str = "needed for the simulator only: apt-get install libegl1 libgl1-mesa-dri, and MUJOCO_GL=egl";
    let python = assemble::root(common).ok().and_then(|root| egogrid_sim_bridge::worker::python_path(&root).ok());
    let Some(python) = python else { return Finding::absent("renderer", "not tried: no Python", REMEDY) };
    let script = "import mujoco; mujoco.GLContext(64, 64).make_current(); print('EGL works')";
    let gl = std::env::var("MUJOCO_GL").unwrap_or_else(|_| "egl".to_owned());
    match Command::new(python).args(["-c", script]).env("MUJOCO_GL", &gl).output() {
        Ok(output) if output.status.success() => Finding::ok("renderer", format!("MUJOCO_GL={gl}")),
        Ok(output) => {
            let message = String::from_utf8_lossy(&output.stderr);
            Finding::absent("renderer", message.lines().last().unwrap_or("no message").to_owned(), REMEDY)
        }
        Err(error) => Finding::absent("renderer", error.to_string(), REMEDY),
    }
}

fn bundle(common: &Common) -> Finding {
    const REMEDY: &str = "the checkout is incomplete: git checkout policies/shipped";
    let described = assemble::shipped_bundle(common).and_then(|dir| assemble::bundle(Path::new(&dir)));
    match described {
        Ok(bundle) => Finding::ok("shipped policy", bundle.id()),
        Err(failed) => Finding::missing("shipped policy", failed.to_string(), REMEDY),
    }
}
