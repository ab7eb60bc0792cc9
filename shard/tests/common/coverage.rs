//! Counts what has occurred, so that a test can tell that nothing reachable was left out.

use frontrow_shard::{Code, Command, Mail, Op, PartAction, PushKind};
use std::collections::BTreeMap;

/// How often everything occurred.
#[derive(Default)]
pub(crate) struct Coverage {
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

pub(crate) const COMMANDS: [&str; 10] = [
    "claim_seats",
    "claim_best",
    "claim_section",
    "extend",
    "begin_payment",
    "book",
    "release",
    "cancel",
    "join",
    "leave",
];
pub(crate) const MAILS: [&str; 12] = [
    "charge",
    "charged_yes",
    "charged_no",
    "credit",
    "reserve",
    "reserved_some",
    "reserved_none",
    "part_book",
    "part_free",
    "watch",
    "lend",
    "return",
];
pub(crate) const PUSHES: [&str; 5] = ["offered", "expired", "unfillable", "closed", "hold_cap"];
/// What the state machine never says: it knows a pending request's answer as `pending`.
pub(crate) const UNREACHABLE: [Code; 1] = [Code::InProgress];

fn command(command: &Command) -> &'static str {
    COMMANDS[match command {
        Command::ClaimSeats(_) => 0,
        Command::ClaimBest(_) => 1,
        Command::ClaimSection(_) => 2,
        Command::Extend(_) => 3,
        Command::BeginPayment(_) => 4,
        Command::Book(_) => 5,
        Command::Release(_) => 6,
        Command::Cancel(_) => 7,
        Command::Join(_) => 8,
        Command::Leave(_) => 9,
    }]
}

fn mail(mail: &Mail) -> &'static str {
    MAILS[match mail {
        Mail::Charge { .. } => 0,
        Mail::Charged { granted: true, .. } => 1,
        Mail::Charged { granted: false, .. } => 2,
        Mail::Credit { .. } => 3,
        Mail::Reserve { .. } => 4,
        Mail::Reserved { seats, .. } if !seats.is_empty() => 5,
        Mail::Reserved { .. } => 6,
        Mail::Part { action: PartAction::Book, .. } => 7,
        Mail::Part { action: PartAction::Free, .. } => 8,
        Mail::Watch { .. } => 9,
        Mail::Lend { .. } => 10,
        Mail::Return { .. } => 11,
    }]
}

impl Coverage {
    fn count(&mut self, group: &'static str, name: &'static str) {
        *self.counts.entry((group, name)).or_default() += 1;
    }

    pub(crate) fn op(&mut self, op: &Op) {
        match op {
            Op::Request(request) => self.count("command", command(&request.command)),
            Op::Deliver { mail: it, .. } => self.count("mail", mail(it)),
            Op::Begin { .. } => self.count("op", "begin"),
            Op::Expire { .. } => self.count("op", "expire"),
            Op::CreateEvent(_) => self.count("op", "create_event"),
            Op::SetEventState { .. } => self.count("op", "set_event_state"),
            Op::Block { .. } => self.count("op", "block"),
            Op::Archive { .. } => self.count("op", "archive"),
        }
    }

    pub(crate) fn code(&mut self, code: Code) {
        self.count("code", code.name());
    }

    pub(crate) fn push(&mut self, kind: PushKind) {
        let at = match kind {
            PushKind::Offered => 0,
            PushKind::Expired => 1,
            PushKind::Unfillable => 2,
            PushKind::Closed => 3,
            PushKind::HoldCap => 4,
        };
        self.count("push", PUSHES[at]);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (key, n) in &other.counts {
            *self.counts.entry(*key).or_default() += n;
        }
    }

    pub(crate) fn of(&self, group: &'static str, name: &'static str) -> u64 {
        self.counts.get(&(group, name)).copied().unwrap_or(0)
    }

    /// How many operations were counted.
    pub(crate) fn operations(&self) -> u64 {
        let ops = self.counts.iter().filter(|((group, _), _)| matches!(*group, "command" | "mail" | "op"));
        ops.map(|(_, n)| n).sum()
    }

    pub(crate) fn print(&self) {
        for ((group, name), n) in &self.counts {
            println!("{group:8} {name:20} {n:>9}");
        }
    }
}
