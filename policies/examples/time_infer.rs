//! Time of every stage of one policy on this machine, over the golden observations of its bundle.
//!
//! `cargo run -p egogrid-policies --example time_infer -- LIBONNXRUNTIME.so BUNDLE [threads] [spin|rest] [count]`
//! Prints milliseconds per inference (p50, p99, and the processor time that all threads used), then resident memory.

use egogrid_policies::bundle::Bundle;
use egogrid_policies::check::check;
use egogrid_policies::registry::{self, LoadOptions};
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{Policy, PolicyError};
use egogrid_runtime::stage::{Stage, StageTimes};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Inferences before the ones that count.
const WARM_UP_COUNT: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, library, directory, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_infer LIBONNXRUNTIME.so BUNDLE [threads] [spin|rest] [count]".into());
    };
    let mut options = GraphOptions::default();
    if let Some(threads) = rest.first() {
        options.threads = threads.parse()?;
    }
    options.spinning = rest.get(1).is_some_and(|word| word == "spin");
    let count = rest.get(2).map_or(Ok(300), |word| word.parse::<usize>())?;

    let environment = Environment::load(Path::new(library))?;
    let start = Instant::now();
    let bundle = Bundle::open(Path::new(directory))?;
    let verified = start.elapsed();
    let worst = worst_differences(&environment, &bundle, &options)?;
    println!("largest differences: {}", worst.join(", "));

    let mut cases = bundle.golden()?;
    let stats_key = cases.first().map_or_else(String::new, |case| case.stats_key.clone());
    let start = Instant::now();
    let load = LoadOptions { stats_key, graph: options.clone(), preprocessing: None };
    let mut policy = registry::load(&environment, &bundle, &load)?;
    println!("{}: verified in {verified:.0?}, loaded in {:.0?}, {options:?}", bundle.id(), start.elapsed());

    // One that ends early is over sooner than a chunk.
    cases.retain(|case| infer(policy.as_mut(), &case.observation).is_ok());

    let (mut totals, mut stages) = (Vec::new(), Vec::new());
    let mut used_before = used_ms();
    for round in 0..count + WARM_UP_COUNT {
        if round == WARM_UP_COUNT {
            used_before = used_ms();
        }
        let start = Instant::now();
        let times = infer(policy.as_mut(), &cases[round % cases.len()].observation)?;
        if round >= WARM_UP_COUNT {
            totals.push(start.elapsed().as_secs_f64() * 1e3);
            stages.push(times);
        }
    }
    let used = (used_ms() - used_before) / count as f64;
    print_times(&stages, totals, used);
    println!("{}", memory());
    Ok(())
}

fn infer(policy: &mut dyn Policy, observation: &Observation) -> Result<StageTimes, PolicyError> {
    policy.infer(observation).map(|chunk| chunk.times)
}

fn worst_differences(
    environment: &Environment,
    bundle: &Bundle,
    options: &GraphOptions,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut worst = BTreeMap::<String, f64>::new();
    for row in check(environment, bundle, options)?.rows {
        let stage = if row.stage.ends_with("_logits") { "logits".to_owned() } else { row.stage };
        let largest = worst.entry(stage).or_default();
        *largest = largest.max(row.largest_abs_difference);
    }
    Ok(worst.into_iter().map(|(stage, difference)| format!("{stage} {difference:.1e}")).collect())
}

fn print_times(stages: &[StageTimes], totals: Vec<f64>, used_ms: f64) {
    for stage in Stage::ALL {
        let of_stage = |times: &StageTimes| {
            times.iter().find(|(name, _)| *name == stage).map(|(_, spent)| spent.as_secs_f64() * 1e3)
        };
        let spent: Vec<f64> = stages.iter().filter_map(of_stage).collect();
        if !spent.is_empty() {
            print_row(stage.name(), spent);
        }
    }
    print_row("outside onnx", stages.iter().map(|times| times.outside_onnx().as_secs_f64() * 1e3).collect());
    print_row("total", totals);
    println!("{:14} {used_ms:.3} ms of processor time per inference", "all threads");
}

fn print_row(name: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share) as usize];
    println!("{name:14} min {:.3}  p50 {:.3}  p99 {:.3}  max {:.3}", at(0.0), at(0.5), at(0.99), at(1.0));
}

/// Processor time of this process so far: what a busy machine does not blur.
fn used_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks * 10.0
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| ["VmHWM", "VmRSS", "RssAnon"].iter().any(|name| line.starts_with(name)));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
