//! Real-time priority and locked memory, where the system permits it; a plain word where it does not.

use rustix::mm::{MlockAllFlags, mlockall};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// What was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Realtime {
    /// As asked.
    Given,
    /// The system said no; in its words, with what to do.
    Refused(String),
}

impl Realtime {
    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        *self == Self::Given
    }
}

impl std::fmt::Display for Realtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given => f.write_str("yes"),
            Self::Refused(why) => write!(f, "no: {why}"),
        }
    }
}

/// Puts the calling thread above all ordinary ones: `SCHED_FIFO` at `priority`, 1..=99.
pub fn raise_priority(priority: u8) -> Realtime {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let raised = ThreadPriorityValue::try_from(priority).map_err(|error| error.to_owned()).and_then(|value| {
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy)
            .map_err(|error| format!("{error:?}; give the process CAP_SYS_NICE or an rtprio limit of {priority}"))
    });
    raised.map_or_else(Realtime::Refused, |()| Realtime::Given)
}

/// Keeps the process's memory from being paged out: what is there, and what comes later as soon as it is touched. Without
/// the latter every large buffer that somebody reserves would be filled at once.
pub fn lock_memory() -> Realtime {
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => Realtime::Given,
        Err(error) => {
            Realtime::Refused(format!("{error}; give the process CAP_IPC_LOCK or an unlimited memlock limit"))
        }
    }
}
