//! What encoding and decoding cost on this machine: `cargo run --release -p frontrow-protocol --example codec_cost`.

use frontrow_protocol::{
    ClientMessage, DEFAULT_MAX_FRAME, Frames, Reply, decode_client, decode_client_json, decode_server,
    encode_client, encode_client_json, encode_reply,
};
use frontrow_shard::{Answer, ClaimSeats, Code, Command, Parts, RowRef, Seats};
use std::hint::black_box;
use std::time::Instant;

const MESSAGES: u128 = 512;
const ROUNDS: u32 = 4_000;

/// Prints the median cost of one message, in nanoseconds, of `ROUNDS` runs over `MESSAGES` messages.
fn measure(name: &str, mut run: impl FnMut()) {
    let mut costs: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            #[allow(clippy::disallowed_methods, reason = "a measuring tool")]
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64 / MESSAGES as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    println!("{name:28} {:7.1} ns", costs[costs.len() / 2]);
}

fn main() {
    let row = RowRef::new(1, 2, 3);
    let claims: Vec<_> = (0..MESSAGES)
        .map(|id| {
            let command =
                Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 3, first: id as u8 / 2 } });
            ClientMessage::Request { id, command }
        })
        .collect();
    let (mut bytes, mut answers) = (Vec::new(), Vec::new());
    measure("encode claim", || {
        bytes.clear();
        for claim in &claims {
            encode_client(black_box(claim), &mut bytes);
        }
    });
    measure("split and decode claim", || {
        for frame in Frames::new(black_box(&bytes), DEFAULT_MAX_FRAME).flatten() {
            let _ = black_box(decode_client(frame));
        }
    });
    let answer = Answer { nonce: 9, ..Answer::plain(Code::Granted) };
    let reply = Reply { id: 1, time_ms: 2, place: row, answer, parts: Parts::default(), durable: 3 };
    measure("encode answer", || {
        answers.clear();
        for _ in 0..MESSAGES {
            encode_reply(black_box(&reply), &mut answers);
        }
    });
    measure("split and decode answer", || {
        for frame in Frames::new(black_box(&answers), DEFAULT_MAX_FRAME).flatten() {
            let _ = black_box(decode_server(frame));
        }
    });
    let texts: Vec<_> = claims
        .iter()
        .map(|claim| {
            let mut text = Vec::new();
            encode_client_json(claim, &mut text);
            String::from_utf8(text).unwrap_or_default()
        })
        .collect();
    measure("decode claim in JSON", || {
        for text in &texts {
            let _ = black_box(decode_client_json(black_box(text)));
        }
    });
}
