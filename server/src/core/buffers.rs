//! Output buffers that all connections of a core share.
//!
//! A connection has bytes to keep for a moment only: from an answer to its commit, and from there to the socket. If
//! each kept its buffers, thousands of connections would by and by hold the most that each of them ever needed,
//! all of it cold. Here the buffer that was used last is used next, so that a few warm ones serve all.

/// Bytes of a buffer that is kept at most: a larger one goes back to the allocator.
const BYTES: usize = 4 * 1024;
/// Buffers that are kept at most.
const COUNT: usize = 512;

/// The spare buffers, the last used on top.
#[derive(Default)]
pub(crate) struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    /// An empty buffer.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(BYTES / 4))
    }

    /// Takes back what was written.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if (1..=BYTES).contains(&buffer.capacity()) && self.0.len() < COUNT {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_small_buffers_are_kept_and_the_last_is_the_next() {
        let mut buffers = Buffers::default();
        let mut one = buffers.take();
        one.extend_from_slice(&[1; 100]);
        let at = one.as_ptr();
        buffers.give(vec![2; 200]);
        buffers.give(one);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        assert!(buffers.take().capacity() >= 200);
        for buffer in [Vec::new(), vec![0; BYTES + 1]] {
            buffers.give(buffer);
        }
        assert!(buffers.0.is_empty());
        for _ in 0..=COUNT {
            buffers.give(vec![0; 8]);
        }
        assert_eq!(buffers.0.len(), COUNT);
    }
}
