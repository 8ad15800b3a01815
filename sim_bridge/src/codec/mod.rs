//! CDR little endian (XCDR version 1, as ROS 2 writes it): messages to bytes and back. No I/O.
//!
//! From: untrusted bytes. To: `message` types, images borrowed from the payload. Own code, because it must bound every
//! length before anything is allocated, name the byte and the field that is wrong, and not copy pictures.
//! Source: DDS-RTPS 2.3 chapter 10 (encapsulation), CORBA 3 chapter 9.3 (layout); checked against PyPI `rosbags`.

mod error;
mod reader;
mod writer;

pub use error::{DecodeError, EncodeError, Problem};
pub use reader::Reader;
pub use writer::Writer;

use crate::limits;

/// What can stand in a message. `'a` is the payload that pictures are borrowed from.
pub trait Wire<'a>: Sized {
    /// Reads one value at the reader's place.
    ///
    /// # Errors
    /// Whatever is not such a value, with byte and field.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends one value.
    ///
    /// # Errors
    /// Whatever the other side would refuse to read.
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError>;
}

/// What can stand in a sequence, and how often at most.
pub trait Element {
    /// Longest sequence of these.
    const COUNT_MAX: usize;
}

/// A whole payload.
pub trait Message<'a>: Wire<'a> {
    /// ROS 2 name, e.g. `sensor_msgs/msg/Image`.
    const ROS_TYPE: &'static str;
}

/// Reads a whole payload: the four header bytes and one message.
///
/// # Errors
/// Anything but exactly one message. Up to three zero bytes may follow it, as some middleware pads.
pub fn decode<'a, T: Message<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(payload)?;
    let message = T::read(&mut reader)?;
    reader.finish()?;
    Ok(message)
}

/// The protocol version that a payload begins with: readable even if the rest has another layout.
///
/// # Errors
/// A payload too short for it.
pub fn decode_protocol(payload: &[u8]) -> Result<u32, DecodeError> {
    u32::read(&mut Reader::new(payload)?)
}

/// Writes a whole payload.
///
/// # Errors
/// A field over its limit.
pub fn encode<'a, T: Message<'a>>(message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    message.write(&mut writer)?;
    writer.finish()
}

macro_rules! wire_numbers {
    ($($number:ty),*) => {$(
        impl Wire<'_> for $number {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(reader.take_aligned()?))
            }
            fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
                writer.put_aligned(self.to_le_bytes());
                Ok(())
            }
        }
    )*};
}
wire_numbers!(u8, u16, i32, u32, u64, f32, f64);

impl Wire<'_> for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        match reader.take_aligned::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(DecodeError::at(offset, Problem::NotBool { found })),
        }
    }
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put_aligned([u8::from(*self)]);
        Ok(())
    }
}

impl Wire<'_> for String {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.take_string().map(str::to_owned)
    }
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put_string(self)
    }
}

/// Raw bytes, borrowed from the payload: bounded by the payload itself.
impl<'a> Wire<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.take_count(limits::PAYLOAD_BYTES_MAX)?;
        reader.take(count)
    }
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put_count(self.len(), limits::PAYLOAD_BYTES_MAX)?;
        writer.put(self);
        Ok(())
    }
}

impl<'a, T: Wire<'a> + Copy + Default, const N: usize> Wire<'a> for [T; N] {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = T::read(reader)?;
        }
        Ok(values)
    }
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        self.iter().try_for_each(|value| value.write(writer))
    }
}

impl<'a, T: Wire<'a> + Element> Wire<'a> for Vec<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.take_count(T::COUNT_MAX)?;
        // Every element takes at least one byte, so a short payload cannot reserve room for many.
        let mut values = Self::with_capacity(count.min(reader.left()));
        for index in 0..count {
            values.push(T::read(reader).map_err(|error| error.inside(&format!("[{index}]")))?);
        }
        Ok(values)
    }
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put_count(self.len(), T::COUNT_MAX)?;
        self.iter().try_for_each(|value| value.write(writer))
    }
}

/// A sequence of at most one.
impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.take_count(1)? {
            0 => Ok(None),
            _ => T::read(reader).map(Some),
        }
    }
    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put_count(usize::from(self.is_some()), 1)?;
        self.iter().try_for_each(|value| value.write(writer))
    }
}
