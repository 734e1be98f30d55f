//! One stream of bzip2.

use bzip2::{Decompress, Status};

use super::{Codec, Output, PIECE, Step};

pub(in super::super) struct Bzip2(Decompress);

impl Bzip2 {
    pub(in super::super) fn new() -> Self {
        Self(Decompress::new(false))
    }
}

impl Codec for Bzip2 {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let before = self.0.total_in();
        out.reserve(PIECE);
        let status = out.append(|memory| self.0.decompress_vec(input, memory));
        let taken = usize::try_from(self.0.total_in() - before).unwrap_or(input.len());
        match status {
            Ok(Status::StreamEnd) => Step::whole(taken),
            Ok(Status::Ok | Status::FlushOk | Status::RunOk | Status::FinishOk | Status::MemNeeded) => {
                Step::more(taken)
            }
            Err(_) => Step::damaged(taken),
        }
    }
}
