//! What a codec gives.

use std::ops::Deref;

/// Bytes that a codec gave. Their memory is used again as it is: clearing what is written over takes longer than some
/// codecs need to write it.
#[derive(Debug, Default)]
pub(in super::super) struct Output {
    memory: Vec<u8>,
    /// How much of it was given.
    len: usize,
}

impl Output {
    /// Forgets what was given.
    pub(in super::super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets the first of what was given.
    pub(in super::super) fn forget(&mut self, len: usize) {
        let len = len.min(self.len);
        self.memory.copy_within(len..self.len, 0);
        self.len -= len;
    }

    /// Makes room for so many bytes more.
    pub(in super::super) fn reserve(&mut self, more: usize) {
        let unused = self.memory.len() - self.len;
        self.memory.reserve(more.saturating_sub(unused));
    }

    /// Appends these.
    pub(in super::super) fn extend(&mut self, bytes: &[u8]) {
        self.append(|memory| memory.extend_from_slice(bytes));
    }

    /// Appends what `write` appends to a vector.
    pub(super) fn append<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.memory.truncate(self.len);
        let result = write(&mut self.memory);
        self.len = self.memory.len();
        result
    }

    /// Appends what `write` puts into a slice of this length. It returns how much it was, and what else it has to say.
    pub(super) fn fill<T, E>(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(usize, T), E>,
    ) -> Result<T, E> {
        let end = self.len + len;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        let (written, said) = write(&mut self.memory[self.len..end])?;
        self.len += written.min(len);
        Ok(said)
    }
}

impl Deref for Output {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_before_is_no_part_of_what_is_given_next() {
        let mut out = Output::default();
        out.extend(b"abcdef");
        out.clear();
        out.fill(4, |room| {
            room[..2].copy_from_slice(b"xy");
            Ok::<_, ()>((2, ()))
        })
        .unwrap();
        assert_eq!(&*out, b"xy");
        out.append(|memory| memory.push(b'z'));
        assert_eq!(&*out, b"xyz");
        assert_eq!(out.fill(2, |_| Err::<(usize, ()), _>(())), Err(()));
        assert_eq!(&*out, b"xyz");
    }
}
