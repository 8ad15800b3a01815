//! A place in a payload. Nothing here allocates, and nothing is read past the end.

use super::{DecodeError, Problem};
use crate::limits::{PAYLOAD_BYTES_MAX, STRING_BYTES_MAX};

/// Representation identifier of plain CDR, little endian.
pub(super) const CDR_LE: [u8; 2] = [0x00, 0x01];
/// Representation identifier and two option bytes; alignment counts from here.
pub(super) const HEADER_BYTES: usize = 4;

/// Reads one payload from front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    payload: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Checks size and header.
    ///
    /// # Errors
    /// A payload over its limit, or another representation than CDR little endian.
    pub fn new(payload: &'a [u8]) -> Result<Self, DecodeError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(DecodeError::at(0, Problem::TooLarge { found: payload.len(), max: PAYLOAD_BYTES_MAX }));
        }
        let mut reader = Self { payload, offset: 0 };
        let found = reader.take_array::<2>()?;
        if found != CDR_LE {
            return Err(DecodeError::at(0, Problem::Encapsulation { found }));
        }
        reader.take_array::<2>()?; // options: only say how much padding follows
        Ok(reader)
    }

    /// Where the next byte is read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.payload.len() - self.offset
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.left();
        if count > left {
            return Err(DecodeError::at(self.offset, Problem::Truncated { wanted: count, left }));
        }
        let taken = &self.payload[self.offset..self.offset + count];
        self.offset += count;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next `N` bytes, after the padding that a value of that size has before it.
    pub(crate) fn take_aligned<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let padding = (self.offset - HEADER_BYTES).wrapping_neg() % N;
        self.take(padding)?;
        self.take_array()
    }

    /// Length of a sequence.
    pub(crate) fn take_count(&mut self, max: usize) -> Result<usize, DecodeError> {
        let found = u32::from_le_bytes(self.take_aligned()?) as usize;
        if found > max {
            return Err(DecodeError::at(self.offset - 4, Problem::TooLong { found, max }));
        }
        Ok(found)
    }

    pub(crate) fn take_string(&mut self) -> Result<&'a str, DecodeError> {
        let count = self.take_count(STRING_BYTES_MAX + 1)?;
        let offset = self.offset;
        let text = match self.take(count)? {
            [text @ .., 0] if !text.contains(&0) => text,
            // Some writers give an empty string no zero byte at all.
            [] => &[],
            _ => return Err(DecodeError::at(offset, Problem::NotTerminated)),
        };
        std::str::from_utf8(text).map_err(|error| DecodeError::at(offset + error.valid_up_to(), Problem::NotUtf8))
    }

    /// Confirms that the message fills the payload.
    pub(crate) fn finish(mut self) -> Result<(), DecodeError> {
        let (offset, left) = (self.offset, self.left());
        let rest = self.take(left)?;
        if left > 3 || rest.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::at(offset, Problem::Trailing { left }));
        }
        Ok(())
    }
}
