//! Waits in the foreground for a signal, for a time to pass, or for what is watched to end.

use crate::exit::{CommandError, CommandResult};
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
