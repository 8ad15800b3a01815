//! Signals: waits in the foreground for one, for a time to pass, or for what is watched to end; and a flag for those who work meanwhile.

use crate::exit::{CommandError, CommandResult, Failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Calls `turn` every `every`, until Ctrl-C, SIGTERM or the end of `duration`, which give `None`, or until it has an answer.
///
/// # Errors
/// A machine that gives no signals.
pub(crate) fn wait_for<T>(
    duration: Option<Duration>,
    every: Duration,
    mut turn: impl FnMut() -> Option<T>,
) -> CommandResult<Option<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::missing)?;
    let begun = Instant::now();
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminate = tokio::signal::unix::signal(kind).map_err(CommandError::missing)?;
        while duration.is_none_or(|duration| begun.elapsed() < duration) {
            tokio::select! {
                _ = terminate.recv() => return Ok(None),
                _ = tokio::signal::ctrl_c() => return Ok(None),
                () = tokio::time::sleep(every) => {}
            }
            if let Some(answer) = turn() {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    })
}

/// Set by Ctrl-C; a second Ctrl-C ends the process at once.
pub(crate) fn interrupt_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            if seen.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(Failure::Interrupted.code()));
            }
        }
    };
    if std::thread::Builder::new().name("signals".to_owned()).spawn(wait).is_err() {
        tracing::warn!("no thread for signals; Ctrl-C will end the process without a summary");
    }
    flag
}
