//! The last word: each seat as the server itself shows it at the end, against what its holders were told.

use super::checks::Check;
use super::ledger::Ledger;
use frontrow_shard::RowRef;

/// A seat's state as the server shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatState {
    /// Free.
    Free,
    /// Held by somebody.
    Held,
    /// Sold.
    Booked,
    /// Out of sale.
    Blocked,
}

/// One seat at the end of a run, as the server shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalSeat {
    /// Index of the section.
    pub section: u16,
    /// Index of the row within it.
    pub row: u16,
    /// Place in the row.
    pub place: u8,
    /// Its state.
    pub state: SeatState,
}

impl Ledger {
    /// Closes every hold that is still open, and compares the books with the server's word on each seat.
    pub(crate) fn finish(&mut self, seats: &[FinalSeat]) {
        for span in self.floor.unclosed() {
            self.floor.close(span);
        }
        self.collect();
        if seats.is_empty() {
            return;
        }
        let (mut sold, mut unsure, mut shown) = (0_u64, 0_u64, 0_u64);
        for seat in seats {
            let at = RowRef::new(self.hall.event(), seat.section, seat.row);
            let Some(row) = self.hall.row_index(at) else {
                self.violation(format!("the server shows a seat of {at:?}, which the hall does not have"));
                continue;
            };
            let mut buyer = None;
            let mut perhaps = false;
            for span in self.floor.holders(row, seat.place) {
                buyer = if span.is_sold() { Some(span.user) } else { buyer };
                perhaps |= span.may_be_sold();
            }
            let ours = self.hall.rows()[row as usize].is_free(seat.place);
            let booked = seat.state == SeatState::Booked;
            sold += u64::from(buyer.is_some());
            unsure += u64::from(buyer.is_none() && perhaps);
            shown += u64::from(booked && (ours || buyer.is_some()));
            self.checks.add(Check::FinalState, 1);
            let words = match buyer {
                Some(user) if !booked => {
                    format!("is {:?} at the end, though user {user} booked it", seat.state)
                }
                None if booked && ours && !perhaps => {
                    "is booked at the end, though nobody booked it".to_owned()
                }
                _ => continue,
            };
            self.violation(format!(
                "seat {} of row {}, section {}, {words}",
                seat.place, seat.row, seat.section
            ));
        }
        self.checks.add(Check::Winners, 1);
        let told = self.told;
        if sold > told || told > sold + unsure || shown < sold || shown > sold + unsure {
            self.violation(format!(
                "{told} seats were told to be booked, {sold} of them at the end (and perhaps {unsure}), and the server \
                 shows {shown}"
            ));
        }
    }
}
