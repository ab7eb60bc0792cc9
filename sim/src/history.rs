//! What all clients were told, and whether it can be true together. Every rule is checked as answers come, or
//! in one walk over the holds at the end: the whole costs O(n log n).
//!
//! A partition's history is one line of LSNs. So, for places that one partition decides about:
//! - a grant that was asked for after an answer had been heard lies behind it: what was acknowledged is never
//!   lost, nor decided again by a later epoch;
//! - epochs rise along the line, and no two grants share a place on it, but those of one handing-on;
//! - of two holds of a seat the first had ended when the second began: by a release before it, or because its
//!   time was over by the server's own clock; a booking ends by being cancelled only;
//! - the same request id brings the same answer;
//! - a hold is changed by its present fence alone, by its own user, while its time lasts, and no more often than the
//!   rules allow; a fence that was told is never called forged;
//! - of two parties of one size in a row's queue the first is served first; who left is not served;
//! - nobody books more than the limit per user;
//! - of what a standby's promotion kept all of this goes on; where answers do not wait for the standby, what was
//!   heard beyond that is counted as lost, and taken back;
//! - in the end the server's seats are booked exactly where clients were told so.

use crate::server::Hall;
use frontrow_protocol::Reply;
use frontrow_server::http::LiveRow;
use frontrow_shard::{
    Answer, Code, Command, EventRules, Lsn, Millis, PartitionId, Parts, Proof, RequestId, RowRef, Seats,
    UserId, flags,
};
use std::collections::BTreeMap;

/// Where a grant stands, and in which slot: it names a hold for all its life.
type HoldId = (PartitionId, Lsn, u32);

#[derive(Debug, Clone)]
struct Hold {
    user: UserId,
    nonce: u64,
    /// Every expiry that a fence of it was told with.
    fences: Vec<Millis>,
    extended: u8,
    paid: u8,
    place: RowRef,
    rows: Vec<(u16, Seats)>,
    /// When it was decided, by the server's clock.
    begun_ms: Millis,
    /// Until when, by the last answer about it.
    expires_ms: Millis,
    booked: bool,
    from_queue: bool,
    /// The last LSN at which its seats may have become its own. A row decides in one step; a section's claim is
    /// named after its request and gets its seats later, at the latest where the answer was given. `None` if that
    /// was never heard, as of a section's offer.
    had: Option<Lsn>,
    ended: Option<Lsn>,
}

/// Somebody waits in a row's queue.
#[derive(Debug, Clone)]
struct Wait {
    user: UserId,
    place: RowRef,
    count: u8,
    /// Where the party joined: not before the first, not behind the second.
    joined: (Lsn, Lsn),
    served: Option<Lsn>,
    over: bool,
    /// Asked for again with another count meanwhile: which one holds is not known.
    vague: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// The highest LSN of the partition that anybody had heard of when this was first asked.
    floor: Lsn,
    answer: Option<Answer>,
    /// Seats of a party that it may become.
    party: Option<u8>,
}

/// Everything that was heard.
#[derive(Debug, Clone)]
pub struct History {
    partitions: u16,
    hold_ms: Millis,
    asked: BTreeMap<RequestId, Asked>,
    heard: BTreeMap<PartitionId, Lsn>,
    epochs: BTreeMap<(PartitionId, Lsn), u32>,
    holds: BTreeMap<HoldId, Hold>,
    codes: BTreeMap<&'static str, u64>,
    repeated: u64,
    rules: EventRules,
    waits: Vec<Wait>,
    /// Who left a queue, and where in its history; until he asks for it again.
    left: BTreeMap<(UserId, u64), Lsn>,
    /// The smallest and the largest party anybody ever asked to be at a place.
    wishes: BTreeMap<(UserId, u64), (u8, u8)>,
    /// An operation may have been stalled by a full log: answers then tell a later time than that of the decision.
    pub(crate) stalled: bool,
    /// Of the connection that is heard now: the epoch that its server said hello with.
    pub(crate) term: u32,
    /// What was heard, if a promotion may take some of it back.
    journal: Option<Vec<Heard>>,
    /// Where promotions went on.
    forks: Vec<Fork>,
    /// Answers and offers that were taken back by them.
    lost: u64,
    /// Holds of which it is not known whether a promotion has kept what was heard of them.
    doubtful: BTreeMap<HoldId, Option<Hold>>,
    /// What cannot be true.
    pub violations: Vec<String>,
}

/// What clients heard, as it is told to a history.
#[derive(Debug, Clone)]
struct Heard {
    term: u32,
    what: Told,
}

#[derive(Debug, Clone)]
enum Told {
    Ask(RequestId, UserId, Command),
    Answer(UserId, Reply, Option<Proof>),
    Status(UserId, RowRef, Answer),
    Offered(UserId, RowRef, Answer, Parts),
    Expired(UserId, RowRef, Answer, Millis),
    Out(UserId, RowRef, Lsn),
}

/// A promotion: from here on another node's log counts, which may be shorter.
#[derive(Debug, Clone)]
struct Fork {
    epoch: u32,
    kept: Vec<Lsn>,
}

/// Whether something survived a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Unknown,
}

impl History {
    /// Nothing was heard yet. Holds, offers and payments of the hall must all last equally long.
    pub fn new(hall: &Hall, partitions: u16) -> Self {
        let hold_ms = Millis::from(hall.rules.hold_ms);
        Self {
            partitions,
            hold_ms,
            asked: BTreeMap::new(),
            heard: BTreeMap::new(),
            epochs: BTreeMap::new(),
            holds: BTreeMap::new(),
            codes: BTreeMap::new(),
            repeated: 0,
            rules: hall.rules,
            waits: Vec::new(),
            left: BTreeMap::new(),
            wishes: BTreeMap::new(),
            stalled: false,
            term: 0,
            journal: None,
            forks: Vec::new(),
            lost: 0,
            doubtful: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    /// Answers do not wait for a standby: a promotion may lose some of them.
    pub(crate) fn may_lose(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// How many answers and offers promotions have taken back.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// A node goes on in `epoch` from these LSNs, by partition: what was heard beyond them is taken back, where that is
    /// allowed.
    pub(crate) fn promoted(&mut self, hall: &Hall, epoch: u32, kept: Vec<Lsn>) {
        let Some(journal) = self.journal.take() else { return };
        let mut after = Self::new(hall, self.partitions);
        after.forks = std::mem::take(&mut self.forks);
        after.forks.push(Fork { epoch, kept });
        after.journal = Some(Vec::with_capacity(journal.len()));
        after.stalled = self.stalled;
        for Heard { term, what } in journal {
            after.term = term;
            after.tell(&what);
        }
        // Each was counted, and judged, when it was heard first.
        after.codes = std::mem::take(&mut self.codes);
        (after.repeated, after.violations) = (self.repeated, std::mem::take(&mut self.violations));
        *self = after;
    }

    fn tell(&mut self, what: &Told) {
        match what {
            Told::Ask(id, user, command) => self.ask(*id, *user, command),
            Told::Answer(user, reply, proof) => self.answer(*user, reply, proof.as_ref()),
            Told::Status(user, place, answer) => self.status(*user, *place, answer),
            Told::Offered(user, place, answer, parts) => self.offered(*user, *place, answer, parts),
            Told::Expired(user, place, answer, now) => self.expired(*user, *place, answer, *now),
            Told::Out(user, place, lsn) => self.left_queue(*user, *place, *lsn),
        }
    }

    /// Keeps what was heard for a promotion, if there may be one. Whether it counts.
    fn counts(&mut self, partition: PartitionId, (low, high): (Lsn, Lsn), what: Told) -> Fate {
        let Some(journal) = &mut self.journal else { return Fate::Kept };
        let mut fate = Fate::Kept;
        for fork in self.forks.iter().filter(|fork| fork.epoch > self.term) {
            let kept = fork.kept.get(usize::from(partition)).copied().unwrap_or(0);
            if low > kept {
                self.lost += 1;
                // The next promotion counts it again.
                journal.push(Heard { term: self.term, what });
                return Fate::Lost;
            }
            if high > kept {
                fate = Fate::Unknown;
            }
        }
        journal.push(Heard { term: self.term, what });
        fate
    }

    /// Nothing is certain of a hold any more.
    fn doubt(&mut self, id: HoldId) {
        let hold = self.holds.remove(&id);
        let known = self.doubtful.entry(id).or_default();
        *known = hold.or(known.take());
    }

    /// How often each answer was heard.
    pub fn codes(&self) -> &BTreeMap<&'static str, u64> {
        &self.codes
    }

    /// How many requests were answered, and how many answers were repetitions.
    pub fn answered(&self) -> (u64, u64) {
        (self.asked.values().filter(|asked| asked.answer.is_some()).count() as u64, self.repeated)
    }

    /// How many holds were booked.
    pub fn booked(&self) -> u64 {
        self.holds.values().filter(|hold| hold.booked).count() as u64
    }

    /// Notes what cannot be true, by the rule that says so.
    pub(crate) fn wrong(&mut self, rule: &str, why: &str) {
        self.violations.push(format!("{rule}: {why}"));
    }

    /// A request is on its way, for the first time or again.
    pub(crate) fn ask(&mut self, id: RequestId, user: UserId, command: &Command) {
        let place = command.place();
        let floor = self.heard.get(&place.partition(self.partitions)).copied().unwrap_or(0);
        let party = match command {
            Command::Join(join) => Some(join.count),
            Command::ClaimBest(claim) if claim.or_join => Some(claim.count),
            Command::ClaimSection(claim) if claim.or_join => Some(claim.count),
            _ => None,
        };
        if let Some(count) = party {
            self.left.remove(&(user, place.key()));
            // The party may have left the queue unheard, and this may be another one.
            let open =
                self.waits.iter_mut().filter(|one| one.user == user && one.place == place && !one.over);
            open.for_each(|wait| wait.vague = true);
            let wish = self.wishes.entry((user, place.key())).or_insert((count, count));
            *wish = (wish.0.min(count), wish.1.max(count));
        }
        self.asked.entry(id).or_insert(Asked { floor, answer: None, party });
        if let Some(journal) = &mut self.journal {
            journal.push(Heard { term: self.term, what: Told::Ask(id, user, *command) });
        }
    }

    /// An answer was heard.
    pub(crate) fn answer(&mut self, user: UserId, reply: &Reply, proof: Option<&Proof>) {
        let Reply { id, place, ref answer, ref parts, durable, .. } = *reply;
        let plain = Answer { flags: answer.flags & !flags::REPEATED, ..*answer };
        let repeated = plain.flags != answer.flags;
        self.repeated += u64::from(repeated);
        let of = place.partition(self.partitions);
        // Where it was decided is known of what was not decided before.
        let low = if repeated { plain.lsn.min(durable) } else { durable };
        match self.counts(of, (low, durable), Told::Answer(user, *reply, proof.copied())) {
            Fate::Kept => {}
            Fate::Lost => {
                // The answer is taken back, and not the request: what was kept may have decided it, too, and nobody heard.
                if let Some(proof) = proof {
                    self.doubt((of, proof.fence.lsn, proof.fence.slot));
                }
                return;
            }
            Fate::Unknown => {
                let (lsn, slot) =
                    proof.map_or((plain.lsn, plain.slot), |proof| (proof.fence.lsn, proof.fence.slot));
                return self.doubt((of, lsn, slot));
            }
        }
        let Some(asked) = self.asked.get_mut(&id) else { return };
        let (floor, party) = (asked.floor, asked.party);
        if matches!(plain.code, Code::Full | Code::QueueFull | Code::NotOwner | Code::BadRequestId) {
            // Not decided and not remembered: the same request may succeed later.
            *self.codes.entry(plain.code.name()).or_default() += 1;
            return;
        }
        match asked.answer {
            Some(before) if before == plain => return,
            Some(before) => {
                let why = format!("request {id:032x} was answered {before:?}, then {plain:?}");
                return self.wrong("one answer", &why);
            }
            None => asked.answer = Some(plain),
        }
        *self.codes.entry(plain.code.name()).or_default() += 1;
        let partition = place.partition(self.partitions);
        if let Some(proof) = proof {
            self.judge_proof(user, reply, &plain, proof, (!repeated).then_some(reply.time_ms));
        }
        let fresh = (!repeated && plain.expires_ms > 0).then_some(reply.time_ms);
        if let Some(now) = fresh
            && matches!(plain.code, Code::Granted | Code::Extended | Code::Paying)
            && plain.expires_ms > now + self.hold_ms + 16
        {
            let why = format!("user {user}: {} at {now} until {}", plain.code.name(), plain.expires_ms);
            self.wrong("times", &why);
        }
        match plain.code {
            Code::Granted => {
                if plain.lsn <= floor {
                    let why = format!(
                        "user {user}: granted at LSN {} of partition {partition}, asked after {floor} was heard",
                        plain.lsn
                    );
                    self.wrong("order", &why);
                }
                self.granted(user, place, &plain, parts, Some(durable));
            }
            Code::Extended | Code::Paying => {
                let paying = plain.code == Code::Paying;
                self.about((partition, plain.lsn, plain.slot), &plain, |hold| {
                    hold.expires_ms = hold.expires_ms.max(plain.expires_ms);
                    hold.fences.push(plain.expires_ms);
                    hold.paid += u8::from(paying);
                    hold.extended += u8::from(!paying);
                });
            }
            Code::Booked => self.about((partition, plain.lsn, plain.slot), &plain, |hold| {
                hold.booked = true;
                hold.fences.push(0);
            }),
            Code::Released | Code::Cancelled => {
                let (lsn, slot) = proof.map(|proof| (proof.fence.lsn, proof.fence.slot)).unwrap_or_default();
                self.about((partition, lsn, slot), &plain, |hold| hold.ended = Some(plain.lsn));
            }
            _ if plain.lsn < floor => {
                let why = format!(
                    "user {user}: {} at LSN {} of partition {partition}, asked after {floor} was heard",
                    plain.code.name(),
                    plain.lsn
                );
                self.wrong("order", &why);
            }
            Code::Queued => self.queued(user, place, party.unwrap_or(0), &plain),
            Code::Left => {
                self.left.insert((user, place.key()), plain.lsn);
                self.out_of_queue(user, place, None);
            }
            Code::NotQueued => self.out_of_queue(user, place, None),
            _ => {}
        }
        self.position(partition, &plain);
    }

    /// A request about a hold was answered: only the present fence of one's own hold does anything, only while its
    /// time lasts, and nothing more often than the rules allow.
    fn judge_proof(
        &mut self,
        user: UserId,
        reply: &Reply,
        plain: &Answer,
        proof: &Proof,
        now: Option<Millis>,
    ) {
        let partition = reply.place.partition(self.partitions);
        let fence = proof.fence;
        let Some(hold) = self.holds.get(&(partition, fence.lsn, fence.slot)).cloned() else { return };
        let done = matches!(
            plain.code,
            Code::Extended | Code::Paying | Code::Booked | Code::Released | Code::Cancelled
        );
        let name = plain.code.name();
        let told = hold.user == user && hold.nonce == fence.nonce && hold.fences.contains(&fence.expires_ms);
        if done {
            let present = match plain.code {
                Code::Cancelled => [0, hold.expires_ms].contains(&fence.expires_ms),
                _ => fence.expires_ms == hold.expires_ms,
            };
            if hold.user != user || hold.nonce != fence.nonce || !present {
                let why = format!("user {user}: {name} by {fence:?}, of {hold:?}");
                self.wrong("fence", &why);
            }
            if let Some(now) = now
                && plain.code != Code::Cancelled
                && now >= hold.expires_ms
                && !self.stalled
            {
                let why = format!("user {user}: {name} at {now}, the hold ended at {}", hold.expires_ms);
                self.wrong("times", &why);
            }
        } else if told && plain.code == Code::Fenced && plain.flags & (flags::FORGED | flags::FOREIGN) != 0 {
            self.wrong("fence", &format!("user {user}: a fence that was told is no fence: {fence:?}"));
        } else if plain.code == Code::Expired
            && let Some(now) = now
            && told
            && now < fence.expires_ms
        {
            // An older fence may be told so earlier: where its slot is used again, its own expiry is all there is.
            let why = format!("user {user}: expired at {now}, held until {}", fence.expires_ms);
            self.wrong("times", &why);
        }
        let again = plain.code == Code::Paying && hold.paid > 0
            || plain.code == Code::Extended && (hold.paid > 0 || hold.extended >= self.rules.max_extensions);
        if again {
            let why = format!("user {user}: {name} after {} and {}", hold.extended, hold.paid);
            self.wrong("how often", &why);
        }
    }

    /// Whether a promotion may have taken something back.
    fn is_forked(&self) -> bool {
        self.journal.is_some() && !self.forks.is_empty()
    }

    fn queued(&mut self, user: UserId, place: RowRef, count: u8, answer: &Answer) {
        if answer.slot == 0 {
            self.wrong("position", &format!("user {user} is number 0 of the queue at {place:?}"));
        }
        let mut own = self.waits.iter_mut().rev().filter(|one| one.user == user && one.place == place);
        let last = own.next();
        if last.as_ref().is_some_and(|wait| wait.over && wait.served >= Some(answer.lsn)) {
            // Told late, of a party that has been served since.
            return;
        }
        if let Some(wait) = last.filter(|wait| !wait.over) {
            wait.joined.1 = answer.lsn;
            wait.vague |= wait.count != count;
        } else {
            let joined = (answer.lsn, answer.lsn);
            self.waits.push(Wait { user, place, count, joined, served: None, over: false, vague: false });
        }
    }

    /// A party is no longer in a queue: served, or for another reason.
    pub(crate) fn out_of_queue(&mut self, user: UserId, place: RowRef, served: Option<Lsn>) {
        let open =
            self.waits.iter_mut().rev().find(|one| one.user == user && one.place == place && !one.over);
        if let Some(wait) = open
            && served.is_none_or(|lsn| lsn > wait.joined.1)
        {
            (wait.over, wait.served) = (true, served);
        }
    }

    /// Somebody heard that he is out of a queue since this record, and was not served. A promotion may take that back, too.
    pub(crate) fn left_queue(&mut self, user: UserId, place: RowRef, lsn: Lsn) {
        let told = Told::Out(user, place, lsn);
        if self.counts(place.partition(self.partitions), (lsn, lsn), told) == Fate::Kept {
            self.out_of_queue(user, place, None);
        }
    }

    /// A place in a queue was told.
    pub(crate) fn status(&mut self, user: UserId, place: RowRef, answer: &Answer) {
        let (of, known) = (place.partition(self.partitions), (answer.lsn, answer.lsn));
        if self.counts(of, known, Told::Status(user, place, *answer)) != Fate::Kept {
            return;
        }
        match answer.code {
            Code::Queued if answer.slot == 0 => {
                self.wrong("position", &format!("user {user} is number 0 of the queue at {place:?}"));
            }
            Code::NotQueued => self.out_of_queue(user, place, None),
            _ => {}
        }
    }

    /// Seats from a queue were heard of, by news or by asking.
    pub(crate) fn offered(&mut self, user: UserId, place: RowRef, answer: &Answer, parts: &Parts) {
        *self.codes.entry("offered").or_default() += 1;
        // A section's offer is named after its request, and was made later.
        let of = place.partition(self.partitions);
        let high = if place.is_section() && self.is_forked() { Lsn::MAX } else { answer.lsn };
        match self.counts(of, (answer.lsn, high), Told::Offered(user, place, *answer, *parts)) {
            Fate::Kept => {}
            Fate::Lost => return,
            Fate::Unknown => return self.doubt((of, answer.lsn, answer.slot)),
        }
        if let Some(&left) = self.left.get(&(user, place.key()))
            && answer.lsn > left
        {
            let why = format!("user {user} left the queue at {left}, and was served at {}", answer.lsn);
            self.wrong("left", &why);
        }
        self.granted(user, place, answer, parts, None);
        self.position(place.partition(self.partitions), answer);
    }

    /// A hold ran out, and its user heard of it.
    pub(crate) fn expired(&mut self, user: UserId, place: RowRef, answer: &Answer, now: Millis) {
        *self.codes.entry("expired news").or_default() += 1;
        let of = place.partition(self.partitions);
        let told = Told::Expired(user, place, *answer, now);
        if self.counts(of, (answer.lsn, answer.lsn), told) != Fate::Kept {
            return;
        }
        let id = (place.partition(self.partitions), answer.lsn, answer.slot);
        let known = self.holds.get(&id).cloned();
        if known.as_ref().is_some_and(|hold| hold.booked) {
            self.wrong(
                "booked",
                &format!("the hold of LSN {} at {place:?} was booked, and ran out", answer.lsn),
            );
        }
        if now < answer.expires_ms {
            let why = format!(
                "the hold of LSN {} at {place:?} ran out at {now}, held until {}",
                answer.lsn, answer.expires_ms
            );
            self.wrong("times", &why);
        }
        if let Some(hold) = known.filter(|hold| hold.user != user) {
            self.wrong("news", &format!("user {user} heard that user {}'s hold ran out", hold.user));
        }
    }

    fn position(&mut self, partition: PartitionId, answer: &Answer) {
        let heard = self.heard.entry(partition).or_default();
        *heard = (*heard).max(answer.lsn);
        let known = *self.epochs.entry((partition, answer.lsn)).or_insert(answer.epoch);
        if known != answer.epoch {
            let why = format!(
                "LSN {} of partition {partition} was decided in epoch {known} and in {}",
                answer.lsn, answer.epoch
            );
            self.wrong("one history", &why);
        }
    }

    fn granted(&mut self, user: UserId, place: RowRef, answer: &Answer, parts: &Parts, told: Option<Lsn>) {
        let rows = if place.is_section() {
            parts.as_slice().iter().map(|part| (part.row, part.seats)).collect()
        } else {
            vec![(place.row, answer.seats)]
        };
        let id = (place.partition(self.partitions), answer.lsn, answer.slot);
        let hold = Hold {
            user,
            nonce: answer.nonce,
            fences: vec![answer.expires_ms],
            extended: 0,
            paid: 0,
            place,
            rows,
            begun_ms: answer.expires_ms.saturating_sub(self.hold_ms),
            expires_ms: answer.expires_ms,
            booked: false,
            from_queue: answer.flags & flags::FROM_QUEUE != 0,
            had: if place.is_section() { told } else { Some(answer.lsn) },
            ended: None,
        };
        // One release may serve several parties; anything else grants once.
        let same_place = self.holds.range((id.0, id.1, 0)..=(id.0, id.1, u32::MAX));
        let clash =
            same_place
                .filter(|(other, known)| {
                    if **other == id { known.user != user } else { !(known.from_queue && hold.from_queue) }
                })
                .map(|(_, known)| known.user)
                .next();
        if let Some(other) = clash {
            let why = format!("LSN {} of partition {} granted seats to users {other} and {user}", id.1, id.0);
            self.wrong("one history", &why);
        }
        if hold.from_queue {
            self.out_of_queue(user, place, Some(answer.lsn));
        }
        let known = match self.doubtful.get(&id) {
            None => hold,
            Some(Some(known)) if known.fences.contains(&answer.expires_ms) => known.clone(),
            // Extended unheard, or granted anew by another history: it stays in doubt until an answer says more.
            Some(_) => return,
        };
        self.doubtful.remove(&id);
        self.holds.entry(id).or_insert(known);
    }

    fn about(&mut self, id: HoldId, answer: &Answer, change: impl FnOnce(&mut Hold)) {
        if let Some(hold) = self.doubtful.remove(&id).flatten() {
            self.holds.insert(id, hold);
        }
        if let Some(hold) = self.holds.get_mut(&id) {
            return change(hold);
        }
        if self.is_forked() {
            // Its grant may have been told by an answer of which it is not known whether it was kept.
            return;
        }
        let why = format!(
            "{} for a hold of partition {} that was never granted (LSN {})",
            answer.code.name(),
            id.0,
            id.1
        );
        self.wrong("granted", &why);
    }

    /// Everything that needs all answers; `seats` is what the server says in the end, section by section.
    pub fn finish(&mut self, hall: &Hall, seats: &[Vec<LiveRow>]) {
        let mut wrong = self.queues_in_order();
        wrong.extend(self.caps_kept());
        let mut last: Option<((PartitionId, Lsn), u32)> = None;
        for (&at, &epoch) in &self.epochs {
            if let Some((before, earlier)) = last
                && before.0 == at.0
                && earlier > epoch
            {
                let why = format!(
                    "partition {}: epoch {earlier} at LSN {}, then {epoch} at {}",
                    at.0, before.1, at.1
                );
                wrong.push(format!("one history: {why}"));
            }
            last = Some((at, epoch));
        }
        let mut of_seat: BTreeMap<(u16, u16, u8), Vec<HoldId>> = BTreeMap::new();
        for (&id, hold) in &self.holds {
            for (row, seats) in &hold.rows {
                for seat in seats.places() {
                    of_seat.entry((hold.place.section, *row, seat)).or_default().push(id);
                }
            }
        }
        for (seat, holds) in &mut of_seat {
            // Of one partition, so in the order of its history; a section's rows are claimed by its home alone.
            // Its claims are named in the order they were asked for, and had their seats in that of their times.
            holds.sort_by_key(|id| {
                let section = self.holds.get(id).filter(|hold| hold.place.is_section());
                (section.map_or(0, |hold| hold.begun_ms), *id)
            });
            for pair in holds.windows(2) {
                if let Some(why) = self.overlap(pair[0], pair[1]) {
                    wrong.push(format!("one owner: seat {seat:?}: {why}"));
                }
            }
        }
        for row in hall.rows() {
            let live = seats
                .get(usize::from(row.section))
                .and_then(|rows| rows.iter().find(|one| one.row == row.row));
            for seat in 0..hall.seats {
                let told = of_seat.get(&(row.section, row.row, seat)).into_iter().flatten();
                let told =
                    told.filter_map(|id| self.holds.get(id)).any(|hold| hold.booked && hold.ended.is_none());
                let is = live.is_some_and(|row| is_booked(row, seat));
                if told != is && !(is && self.is_forked()) {
                    let (told, is) = (word(told), word(is));
                    let why = format!("{row:?}, seat {seat}: {told} by what clients heard, {is} in the end");
                    wrong.push(format!("booked: {why}"));
                }
            }
        }
        self.violations.append(&mut wrong);
    }

    /// Of two parties of one size in a row's queue the first was served first, as far as that is certain.
    fn queues_in_order(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for first in self.waits.iter().filter(|wait| !wait.vague) {
            let Some(served) = first.served else { continue };
            let before = |second: &&Wait| {
                second.place == first.place
                    && second.count == first.count
                    && !second.vague
                    && first.joined.1 < second.joined.0
                    && second.served.is_some_and(|other| other < served)
            };
            if let Some(second) = self.waits.iter().find(before).filter(|_| !first.place.is_section()) {
                wrong.push(format!("queue: {second:?} was served before {first:?}"));
            }
        }
        wrong
    }

    /// Nobody has booked more than the event allows.
    fn caps_kept(&self) -> Vec<String> {
        let most = u32::from(self.rules.max_per_user);
        let mut has: BTreeMap<UserId, u32> = BTreeMap::new();
        for hold in self.holds.values().filter(|hold| hold.booked && hold.ended.is_none()) {
            let seats: u32 = hold.rows.iter().map(|(_, seats)| u32::from(seats.count())).sum();
            *has.entry(hold.user).or_default() += seats;
        }
        let over = has.into_iter().filter(|&(_, seats)| most > 0 && seats > most);
        over.map(|(user, seats)| format!("cap: user {user} has {seats} seats, {most} are allowed")).collect()
    }

    /// The smallest and the largest party that a user may be waiting as.
    pub(crate) fn wish(&self, user: UserId, place: RowRef) -> Option<(u8, u8)> {
        self.wishes.get(&(user, place.key())).copied()
    }

    fn overlap(&self, first: HoldId, second: HoldId) -> Option<String> {
        let (one, two) = (self.holds.get(&first)?, self.holds.get(&second)?);
        let fine = match one.ended {
            Some(end) => two.had.is_none_or(|had| end <= had),
            None => !one.booked && one.expires_ms <= two.begun_ms,
        };
        (!fine).then(|| format!("{one:?} (LSN {}) had not ended before {two:?} (LSN {})", first.1, second.1))
    }
}

fn word(booked: bool) -> &'static str {
    if booked { "booked" } else { "not booked" }
}

fn is_booked(row: &LiveRow, seat: u8) -> bool {
    row.state.booked[usize::from(seat / 64)] & (1 << (seat % 64)) != 0
}
