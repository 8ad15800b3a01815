//! `egogrid bench`: time per stage, cold and warm, at the bundle's own picture size and at 640×480.
//!
//! The pictures are the bundle's golden ones, so the policy decodes a whole chunk. The machine's read bandwidth is
//! measured in the same run: a decode step has to read every weight that it multiplies with once.

use crate::assemble;
use crate::cli::{BenchArgs, Common};
use crate::commands::print_json;
use crate::exit::{CommandError, CommandResult};
use crate::machine::{peak_memory_mib, read_bandwidth_gb_s};
use crate::statistics::Quantiles;
use anyhow::anyhow;
use egogrid_policies::bundle::Bundle;
use egogrid_runtime::camera::{DepthImage, DepthKind, Frame, RgbImage};
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::execution::{GraphOptions, Weights};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError};
use egogrid_runtime::stage::Stage;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// The size that the project's budgets are stated for.
const BUDGET_PX: [u32; 2] = [640, 480];

/// Warm figures for one picture size, milliseconds.
#[derive(Debug, Serialize)]
struct Warm {
    image_px: [u32; 2],
    stages_ms: BTreeMap<&'static str, Quantiles>,
    observation_to_chunk_ms: Quantiles,
    outside_onnx_ms: Quantiles,
}

/// Runs the command.
///
/// # Errors
/// A bundle whose golden observation does not give a chunk.
pub fn run(common: &Common, args: &BenchArgs) -> CommandResult {
    let start = Instant::now();
    let bundle = assemble::bundle(&args.bundle)?;
    assemble::warn_of_precision(&bundle);
    let verified_ms = ms_since(start);
    let observation = golden_observation(&bundle)?;
    let depth = DepthConfig::default().checked().map_err(CommandError::usage)?;
    let start = Instant::now();
    let options = assemble::graph_options(common)?;
    let provider = options.provider.to_string();
    let environment = assemble::environment(common)?;
    let mut policy = assemble::policy(common, &environment, &bundle, &observation.1, depth)?;
    let load_ms = ms_since(start);
    let observation = observation.0;
    let start = Instant::now();
    let tokens = infer(policy.as_mut(), &observation)?.token_ids.len() as f64;
    let cold_ms = ms_since(start);
    let runs = args.runs as usize;
    let warm = [warm(policy.as_mut(), &observation, runs)?, warm(policy.as_mut(), &upscaled(&observation)?, runs)?];
    let peak_mib = peak_memory_mib();
    let bandwidth = read_bandwidth_gb_s(usize::from(common.threads));
    let read_bytes = Weights::open(&bundle.dir().join("weights.bin"))
        .and_then(|weights| weights.bytes_read_by(&bundle.dir().join(decode_file(&bundle, &options))))
        .map_err(CommandError::usage)?;
    let decode_limit_ms = tokens * read_bytes as f64 / (bandwidth * 1e9) * 1e3;
    let decode_ratio = warm[0].stages_ms.get(Stage::Decode.name()).map(|decode| decode.p50 / decode_limit_ms);
    if args.json {
        print_json(&json!({
            "bundle": bundle.id(), "precision": bundle.manifest().precision.to_string(), "provider": provider,
            "graphs": options.flavour().to_string(), "threads": common.threads,
            "verify_ms": verified_ms, "load_ms": load_ms, "cold_ms": cold_ms, "warm": warm, "peak_memory_mib": peak_mib,
            "limits": { "read_bandwidth_gb_s": bandwidth, "decode_read_bytes": read_bytes, "decode_limit_ms": decode_limit_ms, "decode_over_limit": decode_ratio },
        }));
        return Ok(());
    }
    println!(
        "{}  {}  {provider}, {} graphs, {} threads, {runs} runs",
        bundle.id(),
        bundle.manifest().precision,
        options.flavour(),
        common.threads
    );
    println!("cold: verify {verified_ms:.0} ms, load {load_ms:.0} ms, first inference {cold_ms:.1} ms");
    for warm in &warm {
        print_warm(warm);
    }
    println!(
        "\nread bandwidth {bandwidth:.1} GB/s; {tokens} tokens × {:.1} MB of weights: {decode_limit_ms:.2} ms at that rate{}",
        read_bytes as f64 / 1e6,
        decode_ratio.map_or_else(String::new, |ratio| format!(", decode takes {ratio:.1}× that"))
    );
    if let Some(mib) = peak_mib {
        println!("peak memory {mib:.0} MiB");
    }
    Ok(())
}

fn print_warm(warm: &Warm) {
    println!(
        "\nwarm, picture {}×{}\n{:<22} {:>8} {:>8} {:>8} {:>8}   ms",
        warm.image_px[0], warm.image_px[1], "stage", "p50", "p90", "p99", "max"
    );
    let rows = Stage::ALL.iter().filter_map(|stage| Some((stage.name(), warm.stages_ms.get(stage.name())?)));
    let sums = [("outside onnx", &warm.outside_onnx_ms), ("observation → chunk", &warm.observation_to_chunk_ms)];
    for (name, q) in rows.chain(sums) {
        println!("{name:<22} {:>8.3} {:>8.3} {:>8.3} {:>8.3}", q.p50, q.p90, q.p99, q.max);
    }
}

fn decode_file(bundle: &Bundle, options: &GraphOptions) -> String {
    bundle.manifest().graph(options.flavour(), "decode").map_or_else(String::new, |table| table.file.clone())
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The first golden case with a whole chunk of actions, and its statistics key.
fn golden_observation(bundle: &Bundle) -> CommandResult<(Observation, String)> {
    let cases = bundle.golden().map_err(CommandError::usage)?;
    let case = cases.into_iter().find(|case| case.f64("actions").is_ok());
    case.map(|case| (case.observation, case.stats_key)).ok_or_else(|| {
        CommandError::usage(anyhow!("no golden case of this bundle has a whole chunk; export it again with --cases"))
    })
}

fn infer(policy: &mut dyn Policy, observation: &Observation) -> CommandResult<ActionChunk> {
    policy.infer(observation).map_err(|error: PolicyError| CommandError::check(error))
}

fn warm(policy: &mut dyn Policy, observation: &Observation, runs: usize) -> CommandResult<Warm> {
    let bar = ProgressBar::new(runs as u64).with_style(assemble::style("{bar:30} {pos}/{len} warm runs"));
    let mut stages: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let (mut total, mut outside) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for _ in 0..runs.min(5) {
        infer(policy, observation)?; // other pages and caches than the run before
    }
    for _ in 0..runs {
        let start = Instant::now();
        let chunk = infer(policy, observation)?;
        total.push(ms_since(start));
        outside.push(chunk.times.outside_onnx().as_secs_f64() * 1e3);
        for (stage, spent) in chunk.times.iter() {
            stages.entry(stage.name()).or_default().push(spent.as_secs_f64() * 1e3);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let quantiles = |values: &[f64]| Quantiles::of(values).ok_or_else(|| CommandError::usage(anyhow!("no runs")));
    Ok(Warm {
        image_px: [observation.frame.rgb.width_px(), observation.frame.rgb.height_px()],
        stages_ms: stages.iter().filter_map(|(name, values)| Some((*name, Quantiles::of(values)?))).collect(),
        observation_to_chunk_ms: quantiles(&total)?,
        outside_onnx_ms: quantiles(&outside)?,
    })
}

/// The same view at 640×480, nearest neighbour: only the cost matters here.
fn upscaled(observation: &Observation) -> CommandResult<Observation> {
    let frame = &observation.frame;
    let [width_px, height_px] = BUDGET_PX;
    let source =
        |x: u32, y: u32, w: u32, h: u32| (y * h / height_px) as usize * w as usize + (x * w / width_px) as usize;
    let pixels = || (0..height_px).flat_map(|y| (0..width_px).map(move |x| (x, y)));
    let (w, h) = (frame.rgb.width_px(), frame.rgb.height_px());
    let rgb: Vec<u8> = pixels()
        .flat_map(|(x, y)| {
            let i = source(x, y, w, h) * 3;
            frame.rgb.data()[i..i + 3].iter().copied()
        })
        .collect();
    let depth = frame.depth.as_ref().map(|depth| {
        let (w, h) = (depth.width_px(), depth.height_px());
        let values: Vec<f32> = pixels().map(|(x, y)| depth.data_m()[source(x, y, w, h)]).collect();
        // A dense map stays at its size: it is the model's own.
        if depth.kind() == DepthKind::Dense {
            Ok(depth.clone())
        } else {
            DepthImage::new(width_px, height_px, depth.kind(), values)
        }
    });
    let frame = Frame {
        rgb: RgbImage::new(width_px, height_px, rgb).map_err(CommandError::usage)?,
        depth: depth.transpose().map_err(CommandError::usage)?,
        intrinsics: frame.intrinsics.map(|intrinsics| intrinsics.resized(BUDGET_PX)),
        ..frame.clone()
    };
    Ok(Observation { frame, ..observation.clone() })
}
