//! The load itself: connections that claim seats and give them back, and check every answer.

use crate::LoadError;
use crate::machine::{ServerTime, Watched};
use crate::table::dialect::{Dialect, Halves, Verdict, receive};
use crate::table::drive;
use crate::table::echo::Load;
use crate::table::hall::{Books, Purse, SeatNumber, SeatSet};
use crate::table::meter::{Meter, Window};
use frontrow_engine::{Clock, Engine};
use frontrow_protocol::{HEADER, Kind};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a claim of named seats, header included.
pub const CLAIM_BYTES: usize = HEADER + Kind::ClaimSeats.body();
/// Bytes of an answer to a claim of one row, header included.
pub const ANSWER_BYTES: usize = HEADER + Kind::Answer.body();
/// Bytes that a receive has room for, at least.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Claim for as long as the window is open; release when seats run out.
    Claim,
    /// Claim for as long as the window is open, and give back at once what was granted.
    Churn,
    /// Release everything, however long it takes.
    Release,
}

/// Whom to load, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target<L> {
    pub(crate) addr: SocketAddr,
    /// A login for each connection.
    pub(crate) logins: Vec<L>,
    /// Whose processor time is counted.
    pub(crate) watched: Watched,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) meter: Meter,
    pub(crate) counts: Counts,
}

/// How answers came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Grants inside the window.
    pub(crate) granted: u64,
    /// Releases inside the window.
    pub(crate) released: u64,
    /// Everything else, inside the window or not, by its name.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// Puts one load on the server. The books go in and come back.
pub(crate) fn run<E: Engine, D: Dialect>(
    target: Target<D::Login>,
    books: Books<D::Fence>,
    load: Load,
    aim: Aim,
) -> Result<(Books<D::Fence>, Outcome), LoadError> {
    drive::on_core::<E, _, _>(load.core, move || run_all::<E, D>(target, books, load, aim))
}

/// What the connections of a run share.
struct Ledger<E: Engine, F> {
    tally: Tally,
    purses: Vec<Purse<F>>,
    /// Connections whose conversation is over. They stay open until the processor time is read: some
    /// servers give each connection a process, and its count goes with it.
    over: Vec<Halves<E>>,
}

/// Who won what, and how fast.
struct Tally {
    taken: SeatSet,
    meter: Meter,
    counts: Counts,
}

async fn run_all<E: Engine, D: Dialect>(
    target: Target<D::Login>,
    books: Books<D::Fence>,
    load: Load,
    aim: Aim,
) -> Result<(Books<D::Fence>, Outcome), LoadError> {
    let Books { hall, mut purses, taken } = books;
    let mut open = Vec::with_capacity(load.connections);
    for (purse, login) in purses.iter_mut().zip(&target.logins).take(load.connections) {
        let (halves, dialect) = D::enter::<E>(target.addr, login, Arc::clone(&hall), load.depth).await?;
        let desk = Desk::new(std::mem::take(purse), load.depth, aim);
        open.push((halves, Caller { dialect, desk }));
    }
    let lasts = if aim == Aim::Release { load.patience } else { load.duration };
    let warmup = if aim == Aim::Release { Duration::ZERO } else { load.warmup };
    let window = Window::after(warmup, lasts);
    let tally = Tally { taken, meter: Meter::new(window)?, counts: Counts::default() };
    let ledger = Rc::new(RefCell::new(Ledger::<E, _> { tally, purses, over: Vec::new() }));
    let mut conversations = Vec::with_capacity(open.len());
    for (number, (halves, caller)) in open.into_iter().enumerate() {
        let ledger = Rc::clone(&ledger);
        conversations.push(async move {
            let (purse, halves) = converse::<E, D>(halves, caller, &ledger).await?;
            let mut ledger = ledger.borrow_mut();
            ledger.purses[number] = purse;
            ledger.over.push(halves);
            Ok(())
        });
    }
    let before = ServerTime::of(target.watched);
    drive::all::<E>(conversations, load.patience).await?;
    let used = ServerTime::of(target.watched).since(before);
    let ledger = Rc::into_inner(ledger).map(RefCell::into_inner);
    let Ledger { tally: Tally { taken, mut meter, counts }, purses, .. } =
        ledger.ok_or_else(|| LoadError::Wrong("a conversation outlived its load".to_owned()))?;
    meter.used(used);
    let books = Books { hall, purses, taken };
    let (held, marked) = (books.held(), books.taken.len());
    if held != marked {
        let what = format!("the connections hold {held} seats, but {marked} seats have a winner");
        return Err(LoadError::Wrong(what));
    }
    Ok((books, Outcome { meter, counts }))
}

/// One connection, until its load is over and everything it asked has been answered.
async fn converse<E: Engine, D: Dialect>(
    (mut reader, mut writer): Halves<E>,
    Caller { mut dialect, mut desk }: Caller<D>,
    ledger: &RefCell<Ledger<E, D::Fence>>,
) -> Result<(Purse<D::Fence>, Halves<E>), LoadError> {
    let window = ledger.borrow().tally.meter.window;
    let depth = desk.slots.len();
    let mut received: Vec<u8> = Vec::with_capacity(BUFFER_BYTES.max(depth * ANSWER_BYTES));
    let mut out = Vec::with_capacity(depth * (HEADER + Kind::Release.body()));
    let mut now_ns = Clock::monotonic_ns();
    loop {
        if window.is_open(now_ns) {
            desk.fill(&mut dialect, &mut out, now_ns, &mut ledger.borrow_mut().tally)?;
        }
        if !out.is_empty() {
            dialect.seal(&mut out)?;
            let (sent, back) = E::send_all(&mut writer, out).await;
            out = back;
            out.clear();
            sent.map_err(LoadError::connection("sending requests"))?;
        }
        if desk.is_idle() {
            return Ok((desk.purse, (reader, writer)));
        }
        received = receive::<E>(&mut reader, received, "with requests unanswered").await?;
        now_ns = Clock::monotonic_ns();
        desk.take_all(&mut dialect, &mut received, now_ns, &mut ledger.borrow_mut().tally)?;
    }
}

/// What was asked in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Claim(SeatNumber),
    Release(SeatNumber),
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    sent_ns: u64,
    asked: Asked,
}

/// One user's side of a connection, without the connection.
struct Caller<D: Dialect> {
    dialect: D,
    desk: Desk<D::Fence>,
}

/// What one user has in flight, and what it does next.
struct Desk<F> {
    purse: Purse<F>,
    /// As many as the depth.
    slots: Vec<Slot>,
    /// Slots with nothing in flight.
    free: Vec<u16>,
    aim: Aim,
    /// Holds to give back before the next claim.
    to_release: usize,
}

impl<F: Copy + std::fmt::Debug> Desk<F> {
    fn new(purse: Purse<F>, depth: usize, aim: Aim) -> Self {
        let nothing = Slot { sent_ns: 0, asked: Asked::Nothing };
        let to_release = if aim == Aim::Release { purse.held.len() } else { 0 };
        Self { purse, slots: vec![nothing; depth], free: (0..depth as u16).rev().collect(), aim, to_release }
    }

    fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Writes a request for every free slot, as far as there are seats to ask for or to give back.
    fn fill<D: Dialect<Fence = F>>(
        &mut self,
        dialect: &mut D,
        out: &mut Vec<u8>,
        sent_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), LoadError> {
        while let Some(&slot) = self.free.last() {
            let asked = if let Some(seat) = self.next_claim() {
                dialect.claim(slot, seat, out);
                Asked::Claim(seat)
            } else if let Some((seat, fence)) = self.next_release() {
                // From here on the seat may be granted to somebody whose answer is read before ours.
                if !tally.taken.remove(seat) {
                    return Err(LoadError::Wrong(format!("seat {seat} is held twice: {fence:?}")));
                }
                dialect.release(slot, seat, fence, out);
                Asked::Release(seat)
            } else {
                return Ok(());
            };
            self.free.pop();
            self.slots[usize::from(slot)] = Slot { sent_ns, asked };
        }
        Ok(())
    }

    fn next_claim(&mut self) -> Option<SeatNumber> {
        if self.aim == Aim::Churn && !self.purse.held.is_empty() {
            self.to_release = self.purse.held.len();
        }
        if self.aim == Aim::Release || self.to_release > 0 {
            return None;
        }
        let seat = self.purse.stock.pop_front();
        if seat.is_none() {
            self.to_release = self.purse.held.len().div_ceil(2);
        }
        seat
    }

    fn next_release(&mut self) -> Option<(SeatNumber, F)> {
        self.to_release = self.to_release.checked_sub(1)?;
        self.purse.held.pop_front()
    }

    /// Takes every whole answer in.
    fn take_all<D: Dialect<Fence = F>>(
        &mut self,
        dialect: &mut D,
        received: &mut Vec<u8>,
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), LoadError> {
        // Requests of one send have one time: they are booked together.
        let (mut sent_ns, mut count) = (0, 0);
        dialect.take(received, |slot, verdict| {
            let slot = self.take_one(slot, verdict, now_ns, tally)?;
            if slot.sent_ns != sent_ns {
                tally.meter.replies(now_ns, sent_ns, count);
                (sent_ns, count) = (slot.sent_ns, 0);
            }
            count += 1;
            Ok(())
        })?;
        tally.meter.replies(now_ns, sent_ns, count);
        Ok(())
    }

    fn take_one(
        &mut self,
        at: u16,
        verdict: Verdict<F>,
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<Slot, LoadError> {
        let slot = self.slots.get_mut(usize::from(at)).filter(|slot| slot.asked != Asked::Nothing);
        let Some(slot) = slot else {
            return Err(LoadError::Wrong(format!("an answer came to nothing that was asked: {verdict:?}")));
        };
        let was = *slot;
        slot.asked = Asked::Nothing;
        self.free.push(at);
        let counts = u64::from(tally.meter.window.counts(now_ns));
        match (was.asked, verdict) {
            (Asked::Claim(_), Verdict::Granted(seat, fence)) => {
                if !tally.taken.insert(seat) {
                    let what = format!("seat {seat} was granted while it was held: {fence:?}");
                    return Err(LoadError::Wrong(what));
                }
                self.purse.held.push_back((seat, fence));
                tally.counts.granted += counts;
            }
            (Asked::Release(seat), Verdict::Released) => {
                self.purse.stock.push_back(seat);
                tally.counts.released += counts;
            }
            // The seat is still to be had. A release is not refused: it has the right fence.
            (Asked::Claim(seat), Verdict::Refused(why)) => {
                self.purse.stock.push_back(seat);
                *tally.counts.refused.entry(why).or_default() += 1;
            }
            (asked, verdict) => {
                return Err(LoadError::Wrong(format!("{asked:?} was answered by {verdict:?}")));
            }
        }
        Ok(was)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::hall::Hall;

    /// Says what a server that lies would make it say.
    struct Script(Vec<Verdict<u8>>);

    impl Dialect for Script {
        type Login = ();
        type Fence = u8;

        async fn enter<E: Engine>(
            _: SocketAddr,
            (): &(),
            _: Arc<Hall>,
            _: usize,
        ) -> Result<(Halves<E>, Self), LoadError> {
            Err(LoadError::Panicked)
        }

        fn claim(&mut self, _: u16, _: SeatNumber, _: &mut Vec<u8>) {}

        fn release(&mut self, _: u16, _: SeatNumber, _: u8, _: &mut Vec<u8>) {}

        fn take(
            &mut self,
            _: &mut Vec<u8>,
            mut each: impl FnMut(u16, Verdict<u8>) -> Result<(), LoadError>,
        ) -> Result<(), LoadError> {
            let mut script = self.0.drain(..).zip(0..);
            script.try_for_each(|(verdict, slot)| each(slot, verdict))
        }
    }

    /// Two users that want seats 4 and 5; each hears its script. What the second comes to.
    fn hear(first: Vec<Verdict<u8>>, second: Vec<Verdict<u8>>) -> Result<(), LoadError> {
        let window = Window { from_ns: 0, until_ns: 1000 };
        let meter = Meter::new(window)?;
        let mut tally = Tally { taken: SeatSet::new(64), meter, counts: Counts::default() };
        let mut hear = |script| {
            let purse = Purse { stock: [4, 5].into(), ..Purse::default() };
            let (mut dialect, mut desk) = (Script(script), Desk::new(purse, 2, Aim::Claim));
            desk.fill(&mut dialect, &mut Vec::new(), 1, &mut tally)?;
            desk.take_all(&mut dialect, &mut Vec::new(), 2, &mut tally)
        };
        hear(first)?;
        hear(second)
    }

    #[test]
    fn a_double_sale_is_found() {
        let held = Verdict::Refused("held");
        assert!(hear(vec![Verdict::Granted(4, 1), held], vec![held, Verdict::Granted(5, 2)]).is_ok());
        let error = hear(vec![Verdict::Granted(4, 1)], vec![Verdict::Granted(4, 2)]).expect_err("sold twice");
        assert!(error.to_string().contains("granted while it was held"), "{error}");
    }

    #[test]
    fn answers_to_what_was_not_asked_are_found() {
        assert!(hear(vec![], vec![Verdict::Released]).is_err(), "a claim is not released");
        let three = vec![Verdict::Refused("held"); 3];
        assert!(hear(vec![], three).is_err(), "only two were asked");
    }
}
