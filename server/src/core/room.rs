//! How much room a connection's next read gets.
//!
//! A read that is pending holds its buffer, so this is what an idle connection costs. Most send a request or a few at a
//! time; one that fills what it is given gets more, for as long as it goes on like that.

/// Bytes for a read, at first and when little comes.
const SMALL: usize = 4 * 1024;
/// Bytes for a read behind one that was full.
const LARGE: usize = 16 * 1024;
/// So many reads in a row that would have fitted make the room small again.
const CALM: u8 = 64;

/// The room of one connection.
#[derive(Debug, Default)]
pub(crate) struct Room {
    large: bool,
    calm: u8,
}

impl Room {
    /// Makes room in what is left of the last read.
    pub(crate) fn make(&mut self, buffer: &mut Vec<u8>) {
        if self.calm >= CALM && buffer.is_empty() {
            (self.large, self.calm) = (false, 0);
            if buffer.capacity() > SMALL {
                *buffer = Vec::new();
            }
        }
        let wanted = if self.large { LARGE } else { SMALL };
        if buffer.capacity() - buffer.len() < wanted {
            buffer.reserve_exact(wanted);
        }
    }

    /// A read brought `bytes` into `room`.
    pub(crate) fn came(&mut self, bytes: usize, room: usize) {
        if bytes >= room {
            (self.large, self.calm) = (true, 0);
        } else if bytes < SMALL {
            self.calm = self.calm.saturating_add(1).min(CALM);
        } else {
            self.calm = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One read of so many bytes, of which `left` stay; the room there was.
    fn read(room: &mut Room, buffer: &mut Vec<u8>, bytes: usize, left: usize) -> usize {
        room.make(buffer);
        let spare = buffer.capacity() - buffer.len();
        room.came(bytes.min(spare), spare);
        buffer.clear();
        buffer.resize(left, 0);
        spare
    }

    #[test]
    fn who_sends_much_gets_room_until_that_is_over() {
        let (mut room, mut buffer) = (Room::default(), Vec::new());
        assert_eq!(read(&mut room, &mut buffer, 100, 0), SMALL);
        assert_eq!(read(&mut room, &mut buffer, usize::MAX, 50), SMALL);
        assert!(read(&mut room, &mut buffer, 9000, 0) >= LARGE);
        for _ in 0..CALM {
            assert!(read(&mut room, &mut buffer, 100, 0) >= LARGE);
        }
        assert_eq!(read(&mut room, &mut buffer, 100, 0), SMALL);
        assert_eq!(buffer.capacity(), SMALL);
    }

    #[test]
    fn half_a_frame_left_over_does_not_make_a_buffer_large_for_ever() {
        let (mut room, mut buffer) = (Room::default(), Vec::new());
        read(&mut room, &mut buffer, 4000, 90);
        assert!(read(&mut room, &mut buffer, 200, 0) >= SMALL);
        assert!(buffer.capacity() > SMALL);
        for _ in 0..CALM {
            read(&mut room, &mut buffer, 100, 0);
        }
        read(&mut room, &mut buffer, 100, 0);
        assert_eq!(buffer.capacity(), SMALL);
    }
}
