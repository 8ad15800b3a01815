//! `egogrid run`, the onboard daemon: pictures at their own rate, a control thread that never waits, a policy that may.
//!
//! Threads: *control* ([`egogrid_runtime::live::Control`] at absolute times, real-time priority where permitted), *policy*
//! (looks when it is told to), *sender* (commands to the wire), *deadline* (ends a look that takes too long), zenoh's own
//! (pictures and requests in), and this one, which tells people how it goes.

mod figures;
mod load;
mod looks;
mod metrics;
mod parts;
mod sender;
mod status;
mod swap;
mod systemd;

use crate::cli::{Common, RunArgs};
use crate::commands::print_json;
use crate::deployment::Deployment;
use crate::exit::{CommandError, CommandResult, Failure};
use anyhow::anyhow;
use egogrid_runtime::live::Signs;
use metrics::Metrics;
use parts::{Parts, Threads};
use status::Teller;
use std::sync::Arc;
use std::time::Duration;
use systemd::Systemd;

/// How often this thread looks after the others.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// How long the other threads may take to end, beyond the longest look.
const ENDING_MAX: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// Exit code 2 for a wrong file, 4 for something missing, 5 when it ends with a latched stop.
pub fn run(common: &Common, args: &RunArgs) -> CommandResult {
    let deployment = Deployment::read(&args.deployment)?;
    let parts = Parts::load(common, &deployment)?;
    if args.check {
        println!("{}: fine; policy {}, {} Hz", args.deployment.display(), parts.policy_id(), deployment.rate.hz());
        return Ok(());
    }
    let signs = Arc::<Signs>::default();
    end_on_signal(&signs)?;
    let metrics = deployment.metrics.map(Metrics::serve).transpose()?;
    let mut systemd = Systemd::new();
    let running = parts.start(&deployment, &signs)?;
    let mut teller = Teller::new(&deployment, running.told);
    eprintln!(
        "listening on {}{}; waiting for pictures and an instruction{}",
        running.endpoint,
        metrics
            .as_ref()
            .map(|metrics| format!("; metrics on http://{}/metrics", metrics.address()))
            .unwrap_or_default(),
        if deployment.dry_run { "; dry run: no robot gets a command" } else { "" }
    );
    systemd.ready();
    let Threads { control, others } = running.threads;
    while !control.is_finished() {
        if teller.tell(LOOK_AFTER) {
            systemd.status(&teller.line());
        }
        if let Some(metrics) = &metrics {
            metrics.show(teller.figures());
        }
        systemd.ticked(teller.figures().snapshot.ticks);
        if let Some(name) = others.ended() {
            // A policy or sender that is gone leaves an arm without a mind: come to rest and say so.
            if !signs.is_ending() {
                teller.remark(format!("the {name} thread ended by itself; please report this"));
                signs.end();
            }
        }
        if signs.is_ending() {
            systemd.stopping();
        }
    }
    systemd.stopping();
    let died = control.join().is_err();
    // The session closes with the teller: until then the last commands, which are holds, have left, and no run of ONNX
    // Runtime is under way that the end of the process would pull the library from under.
    if let Some(name) = others.end(deployment.deadline + ENDING_MAX) {
        teller.remark(format!("the {name} thread did not end in time and was left behind"));
    }
    let summary = teller.end();
    if args.json {
        print_json(&summary);
    }
    if died {
        return Err(CommandError::check(anyhow!("the control thread panicked; please report this")));
    }
    match summary.stopped {
        Some(reason) => {
            Err(CommandError { failure: Failure::Safety, error: anyhow!("ended with a latched stop: {reason}") })
        }
        None => Ok(()),
    }
}

/// SIGTERM and Ctrl-C: come to rest, then end. A second one ends the process at once.
fn end_on_signal(signs: &Arc<Signs>) -> CommandResult {
    let signs = Arc::clone(signs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::missing)?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(CommandError::missing)?
    };
    let wait = move || {
        loop {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            });
            if signs.is_ending() {
                std::process::exit(i32::from(Failure::Interrupted.code()));
            }
            signs.end();
        }
    };
    let started = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    started.map(|_| ()).map_err(CommandError::missing)
}
