//! A payload in the making.

use super::EncodeError;
use super::reader::{CDR_LE, HEADER_BYTES};
use crate::limits::{PAYLOAD_BYTES_MAX, STRING_BYTES_MAX};

/// Appends values to one payload.
#[derive(Debug)]
pub struct Writer {
    payload: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        let mut payload = Vec::with_capacity(256);
        payload.extend_from_slice(&CDR_LE);
        payload.extend_from_slice(&[0; HEADER_BYTES - CDR_LE.len()]);
        Self { payload }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.payload.extend_from_slice(bytes);
    }

    /// `N` bytes, after the padding that a value of that size has before it.
    pub(crate) fn put_aligned<const N: usize>(&mut self, bytes: [u8; N]) {
        let padding = (self.payload.len() - HEADER_BYTES).wrapping_neg() % N;
        self.payload.resize(self.payload.len() + padding, 0);
        self.put(&bytes);
    }

    pub(crate) fn put_count(&mut self, count: usize, max: usize) -> Result<(), EncodeError> {
        match u32::try_from(count) {
            Ok(wire) if count <= max => self.put_aligned(wire.to_le_bytes()),
            _ => return Err(EncodeError::TooLong { found: count, max }),
        }
        Ok(())
    }

    pub(crate) fn put_string(&mut self, text: &str) -> Result<(), EncodeError> {
        if text.contains('\0') {
            return Err(EncodeError::ZeroInString { text: text.to_owned() });
        }
        if text.len() > STRING_BYTES_MAX {
            return Err(EncodeError::TooLong { found: text.len(), max: STRING_BYTES_MAX });
        }
        self.put_count(text.len() + 1, STRING_BYTES_MAX + 1)?;
        self.put(text.as_bytes());
        self.put(&[0]);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, EncodeError> {
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(EncodeError::TooLarge { found: self.payload.len(), max: PAYLOAD_BYTES_MAX });
        }
        Ok(self.payload)
    }
}
