//! What is wrong with a payload, at which byte and in which field.

use std::fmt;

/// A payload that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Byte in the payload, the four header bytes included.
    pub offset: usize,
    /// Path of the field, outermost first, e.g. `SimObservation.camera.image.data`.
    pub field: String,
    /// What is wrong there.
    pub problem: Problem,
}

impl DecodeError {
    pub(crate) fn at(offset: usize, problem: Problem) -> Self {
        Self { offset, field: String::new(), problem }
    }

    /// Puts the name of the enclosing field in front.
    #[must_use]
    pub(crate) fn inside(mut self, outer: &str) -> Self {
        let joint = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{outer}{joint}{}", self.field);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}", self.offset)?;
        if !self.field.is_empty() {
            write!(f, " ({})", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for DecodeError {}

/// What is wrong at that byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The payload ends too early.
    #[error("{wanted} bytes expected, {left} left; the payload was cut short, or is of another type")]
    Truncated {
        /// Needed.
        wanted: usize,
        /// There.
        left: usize,
    },
    /// More bytes than one message.
    #[error("the message ends here, and {left} bytes follow; it is of another type or version")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// The whole payload is over its limit.
    #[error("{found} bytes, at most {max} are read; send smaller pictures")]
    TooLarge {
        /// Bytes.
        found: usize,
        /// Limit.
        max: usize,
    },
    /// A sequence or string over its limit.
    #[error("length {found}, at most {max} is allowed here")]
    TooLong {
        /// As stated.
        found: usize,
        /// Limit.
        max: usize,
    },
    /// Not the header of little-endian CDR.
    #[error("header {found:02x?}, expected 00 01 (CDR little endian) and two option bytes")]
    Encapsulation {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// Neither 0 nor 1.
    #[error("{found} is not a boolean (0 or 1)")]
    NotBool {
        /// The byte.
        found: u8,
    },
    /// Not UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// The zero byte of a string is missing or not where it belongs.
    #[error("a string whose only zero byte is not its last")]
    NotTerminated,
}

/// A message that must not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A sequence or string over its limit.
    #[error("length {found}, at most {max} may be sent")]
    TooLong {
        /// There.
        found: usize,
        /// Limit.
        max: usize,
    },
    /// A string with a zero byte inside, which the wire cannot carry.
    #[error("string {text:?} has a zero byte inside")]
    ZeroInString {
        /// The string.
        text: String,
    },
    /// The whole payload is over its limit.
    #[error("{found} bytes, at most {max} are sent; send smaller pictures")]
    TooLarge {
        /// Bytes.
        found: usize,
        /// Limit.
        max: usize,
    },
}
