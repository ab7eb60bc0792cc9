//! Whether everything that anybody was told still holds.

use super::crowd::{Crowd, EVENT, Told, renewed};
use frontrow_client::{Client, Code, Command, Held, Http, Reply, flags};
use std::collections::HashMap;

/// Sections that are sold in.
const SECTIONS: u16 = 3;

/// Every request since `from`, repeated, brings its one answer.
pub(crate) async fn repeated(crowd: &Crowd, clients: &HashMap<u64, Client>, from: usize) -> usize {
    let told: Vec<Told> = crowd.told.borrow()[from..].to_vec();
    for before in &told {
        let again = clients[&before.user].decide_as(before.id, before.command).await.expect("an answer");
        assert!(again.answer.flags & flags::REPEATED != 0, "{:?} was done again", before.command);
        let said = |reply: &Reply| {
            let answer = reply.answer;
            (answer.code, answer.epoch, answer.lsn, answer.nonce, answer.expires_ms)
        };
        assert_eq!(said(&again), said(&before.reply), "{:?}", before.command);
    }
    told.len()
}

/// Every seat is as its holder was told, and no other seat is anybody's. Nobody may be asking meanwhile.
pub(crate) async fn seats(crowd: &Crowd, http: &Http) -> usize {
    let mut expected: HashMap<(u16, u16, u8), char> = HashMap::new();
    for (letter, all) in [('h', &crowd.held), ('b', &crowd.booked)] {
        for held in all.borrow().values().flatten() {
            for (row, seats) in held.rows() {
                for seat in seats.places() {
                    let before = expected.insert((held.place.section, row, seat), letter);
                    assert_eq!(
                        before, None,
                        "two were given section {}, row {row}, seat {seat}",
                        held.place.section
                    );
                }
            }
        }
    }
    let mut found = 0;
    for section in 0..SECTIONS {
        let state = http.section(EVENT, section).await.expect("live seats");
        for (row, line) in state.rows.iter().enumerate() {
            for (seat, letter) in line.seats.chars().enumerate().filter(|(_, letter)| "hb".contains(*letter))
            {
                found += 1;
                let of = expected.get(&(section, row as u16, seat as u8));
                assert_eq!(of, Some(&letter), "section {section}, row {row}, seat {seat}");
            }
        }
    }
    assert_eq!(found, expected.len(), "seats that somebody was told are theirs are free");
    found
}

/// Section, row and seat; where in the order; whether it was given.
type Move = ((u16, u16, u8), (u32, u64), bool);

/// In the order of (epoch, LSN) every seat is given, given back, given: never twice. O(n log n).
pub(crate) fn order(crowd: &Crowd) -> usize {
    let told = crowd.told.borrow();
    let mut moves: Vec<Move> = Vec::new();
    let mut granted: HashMap<(u32, u64, u64), Held> = HashMap::new();
    for told in told.iter() {
        let answer = told.reply.answer;
        let at = (answer.epoch, answer.lsn);
        let mut note = |held: &Held, given: bool| {
            for (row, seats) in held.rows() {
                moves.extend(seats.places().map(|seat| ((held.place.section, row, seat), at, given)));
            }
        };
        match (answer.code, &told.command) {
            (Code::Granted, _) => {
                let held = Held::of(told.user, &told.reply).expect("a fence");
                note(&held, true);
                granted.insert((held.fence.epoch, held.fence.lsn, held.fence.nonce), held);
            }
            (Code::Booked, Command::Book(proof)) => {
                let held = granted[&(proof.fence.epoch, proof.fence.lsn, proof.fence.nonce)];
                let held = renewed(&held, told.user, &told.reply);
                granted.insert((held.fence.epoch, held.fence.lsn, held.fence.nonce), held);
            }
            (Code::Released | Code::Cancelled, Command::Release(proof) | Command::Cancel(proof)) => {
                note(&granted[&(proof.fence.epoch, proof.fence.lsn, proof.fence.nonce)], false);
            }
            _ => {}
        }
    }
    moves.sort_unstable();
    for pair in moves.windows(2) {
        let ((seat, _, given), (next, at, again)) = (pair[0], pair[1]);
        assert!(
            seat != next || given != again,
            "seat {seat:?} was given or given back twice, the second time at {at:?}"
        );
        assert!(seat == next || again, "seat {next:?} was given back before it was given");
    }
    moves.len()
}
