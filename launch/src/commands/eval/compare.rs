//! `egogrid eval compare`: reads two runs, prints what [`comparison`] finds.

use crate::cli::EvalCompareArgs;
use crate::commands::print_json;
use crate::evaluation::comparison::{self, Compared, Comparison, Side};
use crate::evaluation::journal;
use crate::evaluation::report;
use crate::exit::{CommandError, CommandResult};
use crate::files::write_whole;
use anyhow::Context;

/// Episodes without a partner that are named.
const UNPAIRED_SHOWN: usize = 10;

pub(super) fn run(args: &EvalCompareArgs) -> CommandResult {
    let [a, b] = [&args.a, &args.b].map(|dir| journal::read(dir).map_err(CommandError::usage));
    let (a, b) = (a?, b?);
    let found = comparison::compare((&a, &args.arm_a), (&b, &args.arm_b)).map_err(CommandError::usage)?;
    if let Some(path) = &args.html {
        let arms = if args.arm_a == args.arm_b && args.arm_a == crate::evaluation::plan::BASE {
            String::new()
        } else {
            format!(" --arm-a {} --arm-b {}", args.arm_a, args.arm_b)
        };
        let again = format!("egogrid eval compare {} {}{arms}", args.a.display(), args.b.display());
        let page = report::compare_html(&found, &again);
        write_whole(path, page.as_bytes()).with_context(|| path.display().to_string()).map_err(CommandError::usage)?;
        eprintln!("written: {}", path.display());
    }
    if args.json {
        print_json(&found);
    } else {
        print(&found);
    }
    Ok(())
}

fn named(side: &Side) -> String {
    let digest = side.bundle_sha256.get(..12).unwrap_or_default();
    format!("{} {} {digest} ({})", side.policy, side.precision, side.arm)
}

fn print(found: &Comparison) {
    println!("A  {}\nB  {}\n", named(&found.a), named(&found.b));
    println!(
        "{:<28} {:>9} {:>9} {:>7}  {:<17} {:>6} {:>6} {:>9} {:>11}",
        "task", "A", "B", "B - A", "95 % interval", "only A", "only B", "p", "more pairs"
    );
    for (task, compared) in &found.tasks {
        match compared {
            Some(compared) => println!("{task:<28} {}", row(compared, false)),
            None => println!("{task:<28} no pair"),
        }
    }
    match &found.suite {
        Some(suite) => {
            println!("{:<28} {}", "mean over tasks", row(suite, true));
            println!("\n{}", suite.verdict);
            if let Some(warning) = &suite.warning {
                println!("{warning}");
            }
        }
        None => println!(
            "\na task has no pair, so that there is no mean over tasks: finish the runs, or use the same seeds"
        ),
    }
    if let Some(note) = &found.note {
        println!("{note}");
    }
    let pairs: u64 = found.tasks.iter().filter_map(|(_, compared)| Some(compared.as_ref()?.pairs.pairs())).sum();
    println!("{} of {pairs} pairs took exactly the same actions", found.same_actions);
    if !found.unpaired.is_empty() {
        println!("\n{} episodes have no partner and are left out:", found.unpaired.len());
        for episode in found.unpaired.iter().take(UNPAIRED_SHOWN) {
            println!("  {} {}: {}", episode.task, episode.seed, episode.why);
        }
        if found.unpaired.len() > UNPAIRED_SHOWN {
            println!("  and {} more (--json has all)", found.unpaired.len() - UNPAIRED_SHOWN);
        }
    }
}

fn row(compared: &Compared, mean: bool) -> String {
    let Compared { pairs, a, b, difference, p, .. } = compared;
    let [low, high] = difference.interval.map(|end| 100.0 * end);
    let more = compared.more_pairs.map_or_else(|| "-".to_owned(), |more| more.to_string());
    let side = |rate: f64, successes: u64| {
        if mean { format!("{:.1} %", 100.0 * rate) } else { format!("{successes}/{}", pairs.pairs()) }
    };
    format!(
        "{:>9} {:>9} {:>+7.1}  {:<17} {:>6} {:>6} {:>9} {more:>11}",
        side(a.rate, pairs.a().successes()),
        side(b.rate, pairs.b().successes()),
        100.0 * difference.difference,
        format!("{low:>+6.1} … {high:>+6.1}"),
        pairs.only_a,
        pairs.only_b,
        if *p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
    )
}
