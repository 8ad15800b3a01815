//! A night of random sequences against the safety gate: `cargo run --release -p egogrid-runtime --example gate_storm --
//! --sequences 1000000`. Prints what broke a promise first, and how to repeat it; exit code 3 then.

#[path = "../tests/safety_support/mod.rs"]
mod safety_support;

use safety_support::random::Random;
use safety_support::{Event, Rig, any_config};
use std::process::ExitCode;
use std::time::Instant;

/// Events of the longest sequence.
const EVENTS_MAX: usize = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(default)
    };
    let (sequences, first) = (number("--sequences", 10_000), number("--first", 0));
    let (started, mut ticks, mut rules) = (Instant::now(), 0u64, [0u64; 22]);
    for seed in first..first + sequences {
        if let Err(broken) = run(seed, &mut ticks, &mut rules) {
            println!("sequence {seed}: {broken}; again with --first {seed} --sequences 1");
            return ExitCode::from(3);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{sequences} sequences, {ticks} ticks, no promise broken, {seconds:.1} s");
    for (kind, count) in egogrid_runtime::safety::Intervention::KINDS.iter().zip(rules) {
        println!("{kind:>22} {count}");
    }
    ExitCode::SUCCESS
}

fn run(seed: u64, ticks: &mut u64, rules: &mut [u64; 22]) -> Result<(), String> {
    let mut random = Random::new(seed);
    let (config, rate) = any_config(&mut random);
    let mut rig = Rig::new(config, rate);
    for place in 0..1 + random.below(EVENTS_MAX) {
        let event = random.event();
        *ticks += u64::from(matches!(event, Event::Tick { .. }));
        rig.apply(&event).map_err(|broken| format!("event {place}, {event:?}: {broken}"))?;
    }
    rules.iter_mut().zip(rig.gate.counters().by_kind).for_each(|(sum, count)| *sum += count);
    Ok(())
}
