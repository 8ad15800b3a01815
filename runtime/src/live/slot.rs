//! The newest value from one thread to another. Neither side ever waits, and nothing is allocated after it was made.
//!
//! What is overwritten unread is gone: right for states, commands and answers, of which only the newest is any good.

use triple_buffer::{Input, Output, triple_buffer};

/// The side that writes.
#[derive(Debug)]
pub struct SlotWriter<T: Send>(Input<T>);

/// The side that reads.
#[derive(Debug)]
pub struct SlotReader<T: Send>(Output<T>);

/// A slot that holds `first` until something is written.
pub fn slot<T: Clone + Send>(first: T) -> (SlotWriter<T>, SlotReader<T>) {
    let (input, output) = triple_buffer(&first);
    (SlotWriter(input), SlotReader(output))
}

impl<T: Send> SlotWriter<T> {
    /// Replaces the value. What it replaces is dropped here, on the writer's thread.
    pub fn put(&mut self, value: T) {
        self.0.write(value);
    }
}

impl<T: Send> SlotReader<T> {
    /// The newest value, if it was written since the last call.
    pub fn take_new(&mut self) -> Option<&T> {
        if self.0.update() { Some(self.0.output_buffer_mut()) } else { None }
    }

    /// The newest value.
    pub fn newest(&mut self) -> &T {
        self.0.read()
    }
}
