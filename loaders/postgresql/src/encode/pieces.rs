//! The output in pieces. Buffers are made once, used again when their piece is sent, and never cleared in between.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes in one piece: large enough that messages cost nothing, small enough to stay in a core's cache while it is
/// copied to the socket.
pub(crate) const PIECE: usize = 256 << 10;

type Free = Arc<Mutex<Vec<Vec<u8>>>>;

/// Fills buffers, and hands them out as pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    free: Free,
    buffer: Vec<u8>,
    filled: usize,
}

/// A piece's memory, which is reused when the piece is sent.
struct Lent {
    buffer: Vec<u8>,
    filled: usize,
    free: Free,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A buffer that was made for one huge row is not kept.
        if self.buffer.len() == PIECE {
            self.free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(std::mem::take(&mut self.buffer));
        }
    }
}

impl Pieces {
    pub(crate) fn new() -> Self {
        Self {
            free: Free::default(),
            buffer: vec![0; PIECE],
            filled: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// How many bytes fit.
    pub(crate) fn room(&self) -> usize {
        self.buffer.len() - self.filled
    }

    /// Takes this many bytes, to be written by the caller. If they do not fit, the buffer must be empty, and grows.
    pub(crate) fn take_room(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.filled;
        if self.buffer.len() < start + bytes {
            self.buffer.resize(start + bytes, 0);
        }
        self.filled += bytes;
        &mut self.buffer[start..start + bytes]
    }

    /// Hands out what is there.
    pub(crate) fn take(&mut self) -> Bytes {
        let next = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let buffer = std::mem::replace(&mut self.buffer, next.unwrap_or_else(|| vec![0; PIECE]));
        let filled = std::mem::take(&mut self.filled);
        Bytes::from_owner(Lent {
            buffer,
            filled,
            free: Arc::clone(&self.free),
        })
    }

    /// Forgets what is there.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }
}
