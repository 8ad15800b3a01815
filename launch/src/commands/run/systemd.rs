//! What systemd is told (`Type=notify`): ready, how it goes, alive, stopping. Without systemd nothing is sent.
//!
//! Alive means that the *control thread* ticks: the watchdog is fed when its count of ticks has moved, not because the
//! thread that feeds it runs.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// Fed so many times in the time that systemd allows.
const FEEDS_PER_TIMEOUT: u32 = 3;

pub(super) struct Systemd {
    /// `None`: nobody watches.
    watchdog: Option<Watchdog>,
    is_stopping: bool,
    /// It was already said that it cannot be reached.
    warned: bool,
}

struct Watchdog {
    every: Duration,
    fed: Option<Instant>,
    /// Of the last feeding.
    ticks: u64,
}

impl Systemd {
    pub(super) fn new() -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        let watchdog = watchdog.map(|timeout| Watchdog { every: timeout / FEEDS_PER_TIMEOUT, fed: None, ticks: 0 });
        Self { watchdog, is_stopping: false, warned: false }
    }

    /// The ears are open.
    pub(super) fn ready(&mut self) {
        self.notify(&NotifyState::Ready);
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&mut self, line: &str) {
        // A line ends where the next variable would begin.
        self.notify(&NotifyState::Status(&line.replace(['\n', '\r'], " ")));
    }

    /// The end was asked for, or has come; told once.
    pub(super) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            self.notify(&NotifyState::Stopping);
        }
    }

    /// Feeds the watchdog, if the control thread has ticked since the last time and it is time.
    pub(super) fn ticked(&mut self, ticks: u64) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.due(ticks, Instant::now())) {
            self.notify(&NotifyState::Watchdog);
        }
    }

    fn notify(&mut self, state: &NotifyState<'_>) {
        if let Err(error) = sd_notify::notify(std::slice::from_ref(state))
            && !std::mem::replace(&mut self.warned, true)
        {
            tracing::warn!("systemd cannot be told {state}: {error}");
        }
    }
}

impl Watchdog {
    fn due(&mut self, ticks: u64, now: Instant) -> bool {
        let early = self.fed.is_some_and(|fed| now.duration_since(fed) < self.every);
        if ticks == self.ticks || early {
            return false;
        }
        (self.fed, self.ticks) = (Some(now), ticks);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Failure;

    /// The unit restarts what a restart can mend, and never re-arms.
    #[test]
    fn the_unit_knows_the_exit_codes_and_how_it_is_notified() {
        let unit = include_str!("../../../systemd/egogrid.service");
        let line = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let stays_down = [Failure::Usage, Failure::Check, Failure::Missing, Failure::Safety];
        let codes: Vec<String> = stays_down.iter().map(|failure| failure.code().to_string()).collect();
        assert_eq!(line("RestartPreventExitStatus="), codes.join(" "));
        assert_eq!((line("Restart="), line("Type="), line("KillSignal=")), ("on-failure", "notify", "SIGTERM"));
        assert!(!line("WatchdogSec=").is_empty() && !unit.contains("\nRestrictRealtime="));
    }

    #[test]
    fn a_control_thread_that_is_stuck_starves_the_watchdog_however_often_it_is_asked() {
        let every = Duration::from_millis(100);
        let mut watchdog = Watchdog { every, fed: None, ticks: 0 };
        let begun = Instant::now();
        let mut due = |ticks, ms| watchdog.due(ticks, begun + Duration::from_millis(ms));
        assert!(!due(0, 0), "no tick yet");
        assert!(due(1, 50), "the first tick");
        assert!(!due(7, 149), "it is not time");
        assert!(due(8, 150));
        for ms in (151..100_000).step_by(50) {
            assert!(!due(8, ms), "{ms} ms: not one tick more");
        }
        assert!(due(9, 100_000), "it ticks again");
    }
}
