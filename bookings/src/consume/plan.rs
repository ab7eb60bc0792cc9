//! From records to a plan: what is known already is left out, what is stale is refused, and of what happens to one booking
//! within a batch only the end is written.

use super::decode::{Poison, Told, decode};
use super::table::{Place, Reached, RowChange, Step};
use crate::booking::{Booking, BookingId};
use frontrow_cdc::avro::Schemas;
use frontrow_cdc::message::Anew;
use frontrow_cdc::source::Record;
use frontrow_cdc::{Mark, Marks, Position};
use frontrow_shard::{Epoch, PartitionId, UserId};
use std::collections::{BTreeMap, HashMap};

/// What became of a batch's records.
#[derive(Debug, Default)]
pub(super) struct Drafted {
    /// To be written.
    pub(super) steps: Vec<Step>,
    /// Records that are to be set aside first, by their places in the batch, and why.
    pub(super) aside: Vec<(usize, String)>,
    /// Changes that are in the plan, and such as were known.
    pub(super) changes: u64,
    pub(super) known: u64,
    /// The first record of a later version, by its place in the batch: nothing from it on is in the plan.
    pub(super) later: Option<(usize, u32)>,
}

/// A batch on its way to a plan.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    rows: Vec<RowChange>,
    at: HashMap<(UserId, BookingId), usize>,
    changes: u64,
    known: u64,
}

/// Of what came before: what is stale is told so.
enum When {
    New,
    Known,
}

/// Makes a plan of records of the cluster `own`. `places` are those of the partitions read here, and go on with it.
pub(super) fn draft(
    places: &mut BTreeMap<i32, Place>,
    records: &[Record],
    (schemas, own): (&Schemas, Option<&str>),
) -> Drafted {
    let (mut draft, mut out) = (Draft::default(), Drafted::default());
    for (n, record) in records.iter().enumerate() {
        // Of a partition that is not read here, or what was written already.
        let Some(place) = places.get_mut(&record.partition) else { continue };
        if place.next.is_some_and(|next| record.offset < next) {
            continue;
        }
        let told = match decode(record, schemas, own) {
            Err(Poison::Later(version)) => {
                out.later = Some((n, version));
                break;
            }
            Err(Poison::Wrong(why)) => Err(why),
            Ok(told) => draft.take(record.partition, place, told),
        };
        if let Err(why) = told {
            out.aside.push((n, why));
        }
        place.next = Some(record.offset + 1);
    }
    draft.flush();
    out.steps = draft.steps;
    (out.changes, out.known) = (draft.changes, draft.known);
    out
}

impl Draft {
    fn take(&mut self, through: i32, place: &mut Place, told: Told) -> Result<(), String> {
        match told {
            Told::Booked(at, booking) => self.change(through, place, at, booking, true),
            Told::Cancelled(at, booking) => self.change(through, place, at, booking, false),
            Told::Upto(marks) => upto(place, &marks),
            Told::Anew(anew) => self.anew(through, place, anew),
            Told::Forgotten => {
                self.flush();
                self.steps.push(Step::Forgotten { through });
                place.reached.clear();
                place.complete = false;
                Ok(())
            }
        }
    }

    fn change(
        &mut self,
        through: i32,
        place: &mut Place,
        at: Position,
        booking: Booking,
        booked: bool,
    ) -> Result<(), String> {
        let reached = place.reached.entry(at.partition).or_default();
        let When::New = when(at.partition, reached, at.epoch, |mark| at.lsn > mark.lsn)? else {
            self.known += 1;
            return Ok(());
        };
        reached.newest = at.epoch;
        self.changes += 1;
        let change = RowChange { through, at, booked, booking };
        let key = (change.booking.user, change.booking.id);
        if let Some(&n) = self.at.get(&key) {
            follow(&mut self.rows[n], change);
        } else {
            self.at.insert(key, self.rows.len());
            self.rows.push(change);
        }
        Ok(())
    }

    fn anew(&mut self, through: i32, place: &mut Place, anew: Anew) -> Result<(), String> {
        let Anew { partition, epoch, lsn, events } = anew;
        let reached = place.reached.entry(partition).or_default();
        // At the mark itself it is told again, and its bookings follow again.
        let When::New = when(partition, reached, epoch, |mark| lsn >= mark.lsn)? else {
            self.known += 1;
            return Ok(());
        };
        // Its bookings are of that record, so they must be new; its mark follows on them.
        *reached = Reached { mark: Mark { epoch, lsn: lsn.saturating_sub(1) }, newest: epoch };
        place.complete = false;
        self.flush();
        self.steps.push(Step::Anew { through, partition, events });
        Ok(())
    }

    /// What was taken so far comes before what follows.
    fn flush(&mut self) {
        if !self.rows.is_empty() {
            self.steps.push(Step::Rows(std::mem::take(&mut self.rows)));
            self.at.clear();
        }
    }
}

/// One change of a booking upon another one.
fn follow(row: &mut RowChange, change: RowChange) {
    let key = |at: Position| (at.epoch, at.lsn, at.n);
    if key(change.at) <= key(row.at) {
        return;
    }
    if change.booked || !row.booked {
        *row = change;
    } else {
        row.booking.cancelled_ms = change.booking.cancelled_ms;
        row.at = change.at;
    }
}

fn when(
    partition: PartitionId,
    reached: &Reached,
    epoch: Epoch,
    is_behind: impl Fn(Mark) -> bool,
) -> Result<When, String> {
    let Reached { mark, newest } = *reached;
    if epoch < newest {
        return Err(format!(
            "stale: it is of epoch {epoch}, and partition {partition} has told of epoch {newest}"
        ));
    }
    Ok(if epoch > mark.epoch || is_behind(mark) { When::New } else { When::Known })
}

/// All of it is there.
fn upto(place: &mut Place, marks: &Marks) -> Result<(), String> {
    for (partition, mark) in marks {
        if let Some(reached) = place.reached.get(partition) {
            when(*partition, reached, mark.epoch, |_| true)?;
        }
    }
    for (partition, mark) in marks {
        let reached = place.reached.entry(*partition).or_default();
        let key = |mark: Mark| (mark.epoch, mark.lsn);
        if key(*mark) > key(reached.mark) {
            *reached = Reached { mark: *mark, newest: mark.epoch };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
