//! Bytes that are written from the last to the first, so that the length of what nests is known where
//! it is written.

use super::{BYTES, FIXED64, VARINT, VARINT_MAX};

/// Bytes that are written from the last to the first.
pub struct Backwards {
    /// What is written stands at its end.
    buffer: Vec<u8>,
    /// Where it begins.
    at: usize,
}

impl Backwards {
    /// Nothing yet; about so many bytes are to come.
    pub fn with_capacity(bytes: usize) -> Self {
        let buffer = vec![0; bytes.max(VARINT_MAX)];
        let at = buffer.len();
        Self { buffer, at }
    }

    /// What was written, in order.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// Puts bytes in front.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.at < bytes.len() {
            self.grow(bytes.len());
        }
        let from = self.at - bytes.len();
        self.buffer[from..self.at].copy_from_slice(bytes);
        self.at = from;
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let more = self.buffer.len().max(bytes);
        let mut buffer = vec![0; more];
        buffer.extend_from_slice(&self.buffer);
        self.buffer = buffer;
        self.at += more;
    }

    pub(super) fn varint(&mut self, mut number: u64) {
        if self.at < VARINT_MAX {
            self.grow(VARINT_MAX);
        }
        // Seven bits a byte; zero takes one as well.
        let count = (70 - (number | 1).leading_zeros() as usize) / 7;
        self.at -= count;
        let last = self.at + count - 1;
        for byte in &mut self.buffer[self.at..last] {
            *byte = number as u8 | 0x80;
            number >>= 7;
        }
        self.buffer[last] = number as u8;
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    /// The fields below leave out what is zero.
    pub(super) fn number(&mut self, field: u64, number: u64) {
        if number > 0 {
            self.some_number(field, number);
        }
    }

    pub(super) fn some_number(&mut self, field: u64, number: u64) {
        self.varint(number);
        self.key(field, VARINT);
    }

    pub(super) fn fixed(&mut self, field: u64, number: u64) {
        if number > 0 {
            self.put(&number.to_le_bytes());
            self.key(field, FIXED64);
        }
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put(bytes);
            self.head(field, bytes.len());
        }
    }

    /// What stands in front of a field of so many bytes that was written.
    pub fn head(&mut self, field: u64, bytes: usize) {
        self.varint(bytes as u64);
        self.key(field, BYTES);
    }

    pub(super) fn within(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let before = self.len();
        write(self);
        self.head(field, self.len() - before);
    }
}
