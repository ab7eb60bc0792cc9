//! A cut through all streams with nothing in it whose cause lies outside: what both nodes have had of it is never cut.
//!
//! A message between partitions leaves once its sender's record is durable, and the receiver's record goes to another
//! stream, which may reach the standby first. A promotion then cuts the receiver's record. So a stream's acknowledged
//! position by itself is not yet what both nodes will keep.
//!
//! What is durable at one moment is closed: a record's cause was durable before the record was written. The streams
//! cannot be read in one moment, so they are read twice; all that the first pass saw was durable between the two. Once the
//! standby has what the second pass saw, it has all causes of what the first one saw (consistent cuts: Mattern, "Virtual
//! Time and Global States of Distributed Systems", 1989).

use frontrow_wal::Position;

/// By core, positions of the epoch under way.
type Places = Vec<Position>;

/// The last cut that the standby is known to have.
#[derive(Debug, Default)]
pub(super) struct Closed {
    agreed: Places,
    pending: Option<(Places, Places)>,
}

impl Closed {
    /// Looks where the streams are, and whether the standby, which has `acked`, has an earlier cut by now.
    pub(super) fn look(&mut self, durable: impl Fn() -> Places, acked: &[Position]) {
        let has = |places: &Places| places.iter().zip(acked).all(|(place, acked)| acked >= place);
        if let Some((first, _)) = self.pending.take_if(|(_, second)| has(second)) {
            self.agreed = first;
        }
        let first = durable();
        let second = durable();
        if has(&second) {
            self.agreed = first;
        } else {
            self.pending.get_or_insert((first, second));
        }
    }

    /// Up to where both nodes keep the stream of this core.
    pub(super) fn of(&self, stream: u16) -> Position {
        self.agreed.get(usize::from(stream)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_ahead_of_its_causes_is_not_agreed_on() {
        let mut closed = Closed::default();
        closed.look(|| vec![500, 700], &[400, 700]);
        assert_eq!((closed.of(0), closed.of(1)), (0, 0));
        // The log has gone on: the standby has the cut of before, not the one of now.
        closed.look(|| vec![900, 900], &[500, 800]);
        assert_eq!((closed.of(0), closed.of(1)), (500, 700));
        closed.look(|| vec![900, 900], &[900, 900]);
        assert_eq!((closed.of(0), closed.of(1)), (900, 900));
    }

    #[test]
    fn what_became_durable_between_the_passes_must_be_there_too() {
        let passes = std::cell::Cell::new(0);
        let durable = || {
            passes.set(passes.get() + 100);
            vec![passes.get(), passes.get()]
        };
        let mut closed = Closed::default();
        closed.look(durable, &[100, 100]);
        assert_eq!(closed.of(0), 0, "the second pass saw 200");
        closed.look(durable, &[200, 199]);
        assert_eq!(closed.of(0), 0);
        closed.look(durable, &[200, 200]);
        assert_eq!((closed.of(0), closed.of(1)), (100, 100));
        assert_eq!(closed.of(7), 0, "no such core");
    }
}
