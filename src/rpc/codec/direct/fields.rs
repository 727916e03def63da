//! The fields of a message, as long as they stand there as everybody writes them.

use super::{BYTES, FIXED64, VARINT, VARINT_MAX};

/// Fields in the order of their numbers, each once, as everybody writes them.
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    last: u64,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            last: 0,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (place, byte) in self.rest.iter().enumerate().take(VARINT_MAX) {
            number |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
            if *byte < 0x80 {
                self.rest = self.rest.get(place + 1..)?;
                // Bits that 64 have no room for are for the general way to judge.
                return (place < VARINT_MAX - 1 || *byte <= 1).then_some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The last field may come once more.
    pub(super) fn repeated(&mut self) {
        self.last -= 1;
    }

    /// The next field. The outer none: this is not of the form that is read here; the inner one:
    /// there is none.
    pub(super) fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if number <= self.last {
            return None;
        }
        self.last = number;
        let field = match key & 7 {
            VARINT => Field::Number(self.varint()?),
            FIXED64 => {
                let bytes = self.take(8)?.try_into().ok()?;
                Field::Fixed(u64::from_le_bytes(bytes))
            }
            BYTES => {
                let count = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(count)?)
            }
            _ => return None,
        };
        Some(Some((number, field)))
    }
}
