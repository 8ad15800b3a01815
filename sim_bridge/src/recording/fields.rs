//! Fields of MCAP records, little endian, one after the other (mcap.dev/spec): every length is checked against what is there, before
//! anything is allocated.

use super::reader::ReadProblem;

/// What is left of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(record: &'a [u8]) -> Self {
        Self(record)
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, count: u64) -> Result<&'a [u8], ReadProblem> {
        let split = usize::try_from(count).ok().and_then(|count| self.0.split_at_checked(count));
        let Some((bytes, rest)) = split else {
            let left = self.0.len();
            return Err(ReadProblem::Damaged(format!("a field of {count} bytes in a record with {left} left")));
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadProblem> {
        let bytes = self.bytes(N as u64)?;
        // As many as were asked for.
        Ok(bytes.try_into().unwrap_or([0; N]))
    }

    pub(super) fn u16(&mut self) -> Result<u16, ReadProblem> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ReadProblem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ReadProblem> {
        self.array().map(u64::from_le_bytes)
    }

    /// Length and UTF-8.
    pub(super) fn text(&mut self) -> Result<&'a str, ReadProblem> {
        let length = self.u32()?;
        let bytes = self.bytes(u64::from(length))?;
        str::from_utf8(bytes).map_err(|error| ReadProblem::Damaged(format!("a name that is not UTF-8: {error}")))
    }

    /// Length in bytes, and fields of that.
    pub(super) fn part(&mut self) -> Result<Self, ReadProblem> {
        let length = self.u32()?;
        self.bytes(u64::from(length)).map(Self)
    }
}
