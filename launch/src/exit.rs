//! Exit codes, the contract with scripts: 0 fine, 2 wrong use or configuration, 3 a check did not hold, 4 something
//! needed is missing, 5 stopped by safety, 130 interrupted.

use std::fmt;

/// Why a command ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Wrong arguments, configuration or data.
    Usage,
    /// A check did not hold.
    Check,
    /// A library, file or provider that is needed is missing.
    Missing,
    /// The safety gate latched a stop.
    Safety,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl Failure {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Check => 3,
            Self::Missing => 4,
            Self::Safety => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error with the exit code that it means.
#[derive(Debug)]
pub struct CommandError {
    /// Decides the exit code.
    pub failure: Failure,
    /// What to tell the user.
    pub error: anyhow::Error,
}

impl CommandError {
    /// Wrong use or configuration.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { failure: Failure::Usage, error: error.into() }
    }

    /// Something needed is missing.
    pub fn missing(error: impl Into<anyhow::Error>) -> Self {
        Self { failure: Failure::Missing, error: error.into() }
    }

    /// A check did not hold.
    pub fn check(error: impl Into<anyhow::Error>) -> Self {
        Self { failure: Failure::Check, error: error.into() }
    }

    /// `missing` when the cause says so, else wrong use.
    pub fn missing_if(missing: bool, error: impl Into<anyhow::Error>) -> Self {
        if missing { Self::missing(error) } else { Self::usage(error) }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// What every command returns.
pub type CommandResult<T = ()> = Result<T, CommandError>;
