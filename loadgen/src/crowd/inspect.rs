//! Whether one answer, by itself, can be true: what it grants, its fence, its times.

use super::hall::{Hall, HallRow};
use super::notes::Notes;
use super::person::{Asked, Hold, Question, digest};
use super::verify::checks::Check;
use frontrow_protocol::Reply;
use frontrow_shard::{Adjacency, Answer, Code, Command, Millis, Parts, RowRef, Seats, flags};

/// How much the clock that one core stamps a batch with may be behind what another core said before, in
/// milliseconds. Beyond it a time is wrong, and not merely read a moment ago.
const CLOCK_SLACK_MS: Millis = 2000;

/// Who asks for what, to check an answer against.
pub(crate) struct Request<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) user: u64,
    pub(crate) hold: Option<&'a Hold>,
}

/// What a grant is checked against.
pub(crate) struct Wanted {
    pub(crate) place: RowRef,
    pub(crate) count: u8,
    pub(crate) seats: Option<Seats>,
    pub(crate) adjacency: Adjacency,
    /// Whether one of them has to be accessible; if not, none may be that was not named.
    pub(crate) accessible: bool,
}

impl Wanted {
    /// What a claim or a joining wants; `None` for other questions.
    pub(crate) fn of(command: &Command) -> Option<Self> {
        let place = command.place();
        let want =
            |count, adjacency, accessible| Some(Self { place, count, seats: None, adjacency, accessible });
        match command {
            Command::ClaimSeats(claim) => {
                let seats = Some(claim.seats);
                Some(Self { seats, ..want(claim.seats.count(), Adjacency::Any, false)? })
            }
            Command::ClaimBest(claim) => want(claim.count, Adjacency::Required, claim.accessible),
            Command::ClaimSection(claim) => want(claim.count, claim.adjacency, claim.accessible),
            Command::Join(join) => want(join.count, join.adjacency, join.accessible),
            _ => None,
        }
    }
}

fn has_accessible(row: &HallRow, seats: Seats) -> bool {
    seats.places().any(|place| row.is_accessible(place))
}

/// The codes that answer a question which is decided in the asker's favour.
fn favours(question: &Question, code: Code) -> bool {
    let Question::Command(command) = question else { return matches!(code, Code::Granted | Code::Queued) };
    match command {
        Command::ClaimSeats(_) => code == Code::Granted,
        Command::ClaimBest(_) | Command::ClaimSection(_) | Command::Join(_) => {
            matches!(code, Code::Granted | Code::Queued)
        }
        Command::Extend(_) => code == Code::Extended,
        Command::BeginPayment(_) => code == Code::Paying,
        Command::Book(_) => code == Code::Booked,
        Command::Release(_) => code == Code::Released,
        Command::Cancel(_) => code == Code::Cancelled,
        Command::Leave(_) => code == Code::Left,
    }
}

/// Checks what every answer must have.
pub(crate) fn answer(notes: &mut Notes, request: &Request<'_>, reply: &Reply) {
    let (asked, code) = (request.asked, reply.answer.code);
    let place = asked.question.place();
    let right = reply.place == place && (code.is_refusal() || favours(&asked.question, code));
    notes.check(Check::Sense, right, || {
        format!(
            "user {}: {:?} was answered {} about {:?}",
            request.user,
            asked.question,
            code.name(),
            reply.place
        )
    });
    let repeated = reply.answer.flags & flags::REPEATED != 0;
    notes.check(Check::Repeats, !repeated || asked.repeated, || {
        let (user, lsn) = (request.user, reply.answer.lsn);
        format!("user {user}: a new request was answered with that of an earlier one, LSN {lsn} at {place:?}")
    });
    if let (Question::Command(command), Some(hold)) = (&asked.question, request.hold) {
        own_hold(notes, request, command, hold, reply);
    }
}

/// Checks the answer to a request that shows the fence of the visit's own hold.
fn own_hold(notes: &mut Notes, request: &Request<'_>, command: &Command, hold: &Hold, reply: &Reply) {
    let (Command::Extend(proof)
    | Command::BeginPayment(proof)
    | Command::Book(proof)
    | Command::Release(proof)
    | Command::Cancel(proof)) = command
    else {
        return;
    };
    let (answer, user, fence) = (&reply.answer, request.user, &proof.fence);
    let told = |words: &str| {
        format!(
            "user {user}, hold of {:?} in {:?} (LSN {}): {words}; answered {} at {}, the hold lasts until {}",
            hold.seats.places().collect::<Vec<_>>(),
            hold.place,
            fence.lsn,
            answer.code.name(),
            reply.time_ms,
            fence.expires_ms,
        )
    };
    let cancels = matches!(command, Command::Cancel(_));
    match answer.code {
        Code::Expired => {
            let over = reply.time_ms >= fence.expires_ms && !cancels;
            notes.check(Check::Expiry, over, || told("expired before its time"));
        }
        // What an owner may be refused at any time, and what a repetition may be told after a long absence.
        Code::ExtendLimit | Code::TooOld | Code::InProgress | Code::Full => {}
        code if code.is_refusal() => {
            notes.check(Check::OwnHold, false, || told("a good fence was refused"));
        }
        _ => {
            notes.check(Check::OwnHold, true, String::new);
            if !cancels {
                let in_time = request.asked.heard_ms < fence.expires_ms + CLOCK_SLACK_MS;
                notes.check(Check::Expiry, in_time, || told("done after its time"));
            }
            // Booked is what was held. A section's seats are in the parts.
            let same = match answer.code {
                Code::Booked | Code::Released => answer.seats == hold.seats || hold.place.is_section(),
                _ => true,
            };
            let parts = answer.code != Code::Booked || digest(&reply.parts) == hold.parts;
            notes.check(Check::SeatsAsked, same && parts, || told("other seats than were held"));
        }
    }
}

/// Checks a grant: that it is what was wanted, and that its fence is whole. `duration_ms` is how long the event
/// lets such a hold last, if that is known; `since_ms` a server time before it can have been decided.
pub(crate) fn grant(
    notes: &mut Notes,
    hall: &Hall,
    user: u64,
    wanted: &Wanted,
    (answer, parts, time_ms): (&Answer, &Parts, Millis),
    (duration_ms, since_ms): (Option<u32>, Millis),
) {
    let right = seats_are_right(hall, wanted, answer, parts);
    notes.check(Check::SeatsAsked, right, || {
        format!(
            "user {user} wanted {} seats ({:?}) at {:?} and was granted {:?} {:?}",
            wanted.count,
            wanted.seats.map(|seats| seats.places().collect::<Vec<_>>()),
            wanted.place,
            answer.seats.places().collect::<Vec<_>>(),
            parts.as_slice(),
        )
    });
    let whole = answer.nonce != 0 && answer.lsn != 0 && answer.epoch != 0 && answer.expires_ms != 0;
    let in_time = duration_ms.is_none_or(|duration| {
        let begun = answer.expires_ms.wrapping_sub(Millis::from(duration));
        begun <= time_ms && begun.saturating_add(CLOCK_SLACK_MS) >= since_ms
    });
    notes.check(Check::Fence, whole && in_time, || {
        format!(
            "user {user}: the fence of {:?} is not whole or not of its time: {answer:?}, told at {time_ms}, a hold \
             lasts {duration_ms:?} ms",
            wanted.place
        )
    });
}

fn seats_are_right(hall: &Hall, wanted: &Wanted, answer: &Answer, parts: &Parts) -> bool {
    let together = wanted.adjacency == Adjacency::Required || answer.flags & flags::TOGETHER != 0;
    if !wanted.place.is_section() {
        let Some(row) = hall.row_index(wanted.place).map(|row| &hall.rows()[row as usize]) else {
            return false;
        };
        return row.contains(answer.seats)
            && answer.seats.count() == wanted.count
            && match wanted.seats {
                Some(seats) => seats == answer.seats,
                None => has_accessible(row, answer.seats) == wanted.accessible,
            }
            && (!together || row.is_together(answer.seats));
    }
    let rows = hall.rows_of(wanted.place.section);
    let (mut count, mut accessible) = (0, false);
    for (i, part) in parts.as_slice().iter().enumerate() {
        let Some(row) = rows.get(usize::from(part.row)) else { return false };
        let again = parts.as_slice()[..i].iter().any(|other| {
            other.row == part.row && other.seats.places().any(|p| part.seats.places().any(|q| p == q))
        });
        if again || !row.contains(part.seats) || (together && !row.is_together(part.seats)) {
            return false;
        }
        count += u32::from(part.seats.count());
        accessible |= has_accessible(row, part.seats);
    }
    let one = !together || parts.as_slice().len() == 1;
    count == u32::from(wanted.count)
        && accessible == wanted.accessible
        && one
        && parts.as_slice().len() == usize::from(answer.parts)
}
