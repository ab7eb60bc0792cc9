//! What is counted while a load runs.

use frontrow_protocol::{NewsKind, WireCode};
use frontrow_shard::{Code, Command};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// The longest latency that is told apart, in nanoseconds; longer ones count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// How many faults are kept in words.
const FAULTS_KEPT: usize = 100;
/// A request that leaves so much later than due, although its connection would have taken it, was late by
/// the load's own doing (nanoseconds).
const LATE_NS: u64 = 1_000_000;

/// What a request is, for latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Any claim of seats.
    Claim,
    /// Buying what is held.
    Book,
    /// Giving a hold back.
    Release,
    /// Holding for longer.
    Extend,
    /// Beginning a payment.
    Pay,
    /// Waiting in a queue.
    Join,
    /// Leaving it.
    Leave,
    /// Giving a booking back.
    Cancel,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Claim,
        Self::Book,
        Self::Release,
        Self::Extend,
        Self::Pay,
        Self::Join,
        Self::Leave,
        Self::Cancel,
    ];

    /// The class of a request.
    pub const fn of(command: &Command) -> Self {
        match command {
            Command::ClaimSeats(_) | Command::ClaimBest(_) | Command::ClaimSection(_) => Self::Claim,
            Command::Book(_) => Self::Book,
            Command::Release(_) => Self::Release,
            Command::Extend(_) => Self::Extend,
            Command::BeginPayment(_) => Self::Pay,
            Command::Join(_) => Self::Join,
            Command::Leave(_) => Self::Leave,
            Command::Cancel(_) => Self::Cancel,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Book => "book",
            Self::Release => "release",
            Self::Extend => "extend",
            Self::Pay => "pay",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Cancel => "cancel",
        }
    }
}

/// What happened in a stretch of time. Latencies are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests that were due.
    pub intended: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered, refusals and errors included.
    pub answered: u64,
    /// Answers that were refusals or errors.
    pub refused: u64,
    /// Grants, by answer or by offer.
    pub granted: u64,
    /// Bookings.
    pub booked: u64,
    /// Requests sent whose connection was lost, or given up, before their answer came: the server owed it.
    pub unanswered: u64,
    /// Requests sent whose person dropped the connection before their answer came: nobody was there to answer to.
    pub abandoned: u64,
    /// Requests that were due and never sent, because their connection ended before.
    pub unsent: u64,
    /// Of those: requests whose connection was open, and had not had its turn when the load was ended.
    pub left_over: u64,
    /// Connections that were let in.
    pub connected: u64,
    /// Attempts that were not.
    pub connect_failed: u64,
    /// Open connections that ended without our wish.
    pub connections_lost: u64,
    /// Answers by code name; wire errors as `error:busy`, news as `news:expired` (answers are called so, too), goodbyes
    /// as `goodbye:slow_consumer`.
    pub codes: BTreeMap<String, u64>,
    /// Why connections failed or were lost, in words.
    pub trouble: BTreeMap<String, u64>,
    /// Things that a server must not do (answer twice, answer what was not asked, send what is no message):
    /// how many, and the first hundred in words.
    pub fault_count: u64,
    /// See `fault_count`.
    pub faults: Vec<String>,
    /// From the intended time to the answer, by class in the order of [`Class::ALL`].
    by_class: Vec<Histogram<u64>>,
    /// From the intended time to the answer, all classes.
    pub all: Histogram<u64>,
    /// From the actual send to the answer, all classes: what a tool that forgets waiting would claim.
    pub uncorrected: Histogram<u64>,
    /// How late the load itself was: from the intended time to the actual send; of requests that their connection
    /// would not have taken at once, to when they were handed to it.
    pub late: Histogram<u64>,
    /// From the actual send to the answer, of requests refused for want of capacity: how quickly overload is told.
    pub busy: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let empty = empty_histogram;
        Self {
            intended: 0,
            sent: 0,
            answered: 0,
            refused: 0,
            granted: 0,
            booked: 0,
            unanswered: 0,
            abandoned: 0,
            unsent: 0,
            left_over: 0,
            connected: 0,
            connect_failed: 0,
            connections_lost: 0,
            codes: BTreeMap::new(),
            trouble: BTreeMap::new(),
            fault_count: 0,
            faults: Vec::new(),
            by_class: Class::ALL.map(|_| empty()).into(),
            all: empty(),
            uncorrected: empty(),
            late: empty(),
            busy: empty(),
        }
    }
}

/// A histogram of nanoseconds with three significant digits.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("these bounds are in order")
}

impl Tally {
    /// Latency of one class from the intended time.
    pub fn latency(&self, class: Class) -> &Histogram<u64> {
        &self.by_class[class as usize]
    }

    /// Every class that was answered at least once by its name, and `all`.
    pub fn by_class(&self) -> BTreeMap<String, Histogram<u64>> {
        let classes = Class::ALL.iter().map(|&class| (class.name(), self.latency(class)));
        let answered = classes.filter(|(_, histogram)| !histogram.is_empty());
        let all = std::iter::once(("all", &self.all));
        answered.chain(all).map(|(name, histogram)| (name.to_owned(), histogram.clone())).collect()
    }

    /// Requests that left more than 1 ms after they were due, by the load's own doing.
    pub fn sent_late(&self) -> u64 {
        self.late.len() - self.late.count_between(0, LATE_NS).min(self.late.len())
    }

    /// Adds what happened in another stretch, or on another thread.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.intended, other.intended),
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.refused, other.refused),
            (&mut self.granted, other.granted),
            (&mut self.booked, other.booked),
            (&mut self.unanswered, other.unanswered),
            (&mut self.abandoned, other.abandoned),
            (&mut self.unsent, other.unsent),
            (&mut self.left_over, other.left_over),
            (&mut self.connected, other.connected),
            (&mut self.connect_failed, other.connect_failed),
            (&mut self.connections_lost, other.connections_lost),
            (&mut self.fault_count, other.fault_count),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        add_counts(&mut self.codes, &other.codes);
        add_counts(&mut self.trouble, &other.trouble);
        let room = FAULTS_KEPT.saturating_sub(self.faults.len());
        self.faults.extend(other.faults.iter().take(room).cloned());
        for (mine, theirs) in self.by_class.iter_mut().zip(&other.by_class) {
            add_histogram(mine, theirs);
        }
        add_histogram(&mut self.all, &other.all);
        add_histogram(&mut self.uncorrected, &other.uncorrected);
        add_histogram(&mut self.late, &other.late);
        add_histogram(&mut self.busy, &other.busy);
    }
}

fn add_counts(sums: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *sums.entry(name.clone()).or_default() += count;
    }
}

fn add_histogram(sum: &mut Histogram<u64>, more: &Histogram<u64>) {
    sum.add(more).expect("all have the same bounds");
}

/// The tally of one load thread while it grows: codes by number, so that counting one is an addition.
pub(super) struct Meter {
    pub(super) tally: Tally,
    /// Answers and errors by their number on the wire.
    codes: [u64; 256],
    news: [u64; 256],
    goodbyes: [u64; 256],
}

impl Default for Meter {
    fn default() -> Self {
        Self { tally: Tally::default(), codes: [0; 256], news: [0; 256], goodbyes: [0; 256] }
    }
}

impl Meter {
    /// A request was answered with a decision.
    pub(super) fn decided(&mut self, code: Code) {
        self.codes[code as usize] += 1;
        self.tally.answered += 1;
        self.tally.refused += u64::from(is_refusal(code));
        self.tally.granted += u64::from(code == Code::Granted);
        self.tally.booked += u64::from(code == Code::Booked);
    }

    /// A request was answered with an error.
    pub(super) fn failed(&mut self, code: WireCode) {
        self.codes[code as usize] += 1;
        self.tally.answered += 1;
        self.tally.refused += 1;
    }

    pub(super) fn news(&mut self, kind: NewsKind) {
        self.news[kind as usize] += 1;
        self.tally.granted += u64::from(kind == NewsKind::Offered);
    }

    /// The server ends a connection with this code.
    pub(super) fn goodbye(&mut self, code: WireCode) {
        self.goodbyes[code as usize] += 1;
    }

    /// The latencies of an answered request.
    pub(super) fn latency(&mut self, class: Class, from_intended: u64, from_send: u64) {
        self.tally.by_class[class as usize].saturating_record(from_intended);
        self.tally.uncorrected.saturating_record(from_send);
    }

    /// How long a refusal for want of capacity took.
    pub(super) fn busy(&mut self, ns: u64) {
        self.tally.busy.saturating_record(ns);
    }

    pub(super) fn late(&mut self, by_ns: u64) {
        self.tally.late.saturating_record(by_ns);
    }

    pub(super) fn trouble(&mut self, what: &str) {
        match self.tally.trouble.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.tally.trouble.insert(what.to_owned(), 1);
            }
        }
    }

    pub(super) fn fault(&mut self, what: String) {
        self.tally.fault_count += 1;
        if self.tally.faults.len() < FAULTS_KEPT {
            self.tally.faults.push(what);
        }
    }

    /// What has been counted, with names in place of numbers.
    pub(super) fn into_tally(self) -> Tally {
        let mut tally = self.tally;
        for number in 0..=u8::MAX {
            let at = usize::from(number);
            let wire = WireCode::from_number(number).map(WireCode::name);
            let decision = Code::from_number(number).map(|code| code.name().to_owned());
            let answer = decision.or_else(|| wire.map(|name| format!("error:{name}")));
            let news = NewsKind::from_number(number).map(|kind| format!("news:{}", kind.name()));
            let goodbye = wire.map(|name| format!("goodbye:{name}"));
            let counts = [(answer, self.codes[at]), (news, self.news[at]), (goodbye, self.goodbyes[at])];
            for (name, count) in counts {
                if let Some(name) = name.filter(|_| count > 0) {
                    *tally.codes.entry(name).or_default() += count;
                }
            }
        }
        for histogram in &tally.by_class {
            add_histogram(&mut tally.all, histogram);
        }
        tally
    }
}

/// Decisions from 32 on say no.
fn is_refusal(code: Code) -> bool {
    code as u8 >= Code::SeatHeld as u8
}
