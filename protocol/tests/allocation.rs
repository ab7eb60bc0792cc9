//! Hot messages are encoded into a warm buffer and decoded in place without touching the heap.

use frontrow_protocol::*;
use frontrow_shard::{
    Answer, ClaimBest, ClaimSeats, Code, Command, Fence, Part, Parts, Proof, RowRef, Seats,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the count does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no count any more, and is none of ours.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from the same allocator with the same layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

fn requests() -> Vec<ClientMessage<'static>> {
    let row = RowRef::new(1, 2, 3);
    let fence = Fence { user: 7, expires_ms: 1, lsn: 2, nonce: 3, slot: 4, epoch: 5 };
    let commands = [
        Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 0b1011, first: 9 } }),
        Command::ClaimBest(ClaimBest { row, count: 2, category: 255, accessible: false, or_join: true }),
        Command::Book(Proof { place: row, fence }),
    ];
    commands.map(|command| ClientMessage::Request { id: 77, command }).to_vec()
}

#[test]
fn requests_do_not_allocate() {
    let messages = requests();
    let mut bytes = Vec::with_capacity(4096);
    let mut batch = Vec::with_capacity(4096);
    encode_batch(messages.clone(), &mut batch).unwrap();
    let mut text = Vec::with_capacity(4096);
    let count = allocations(|| {
        for message in &messages {
            encode_client(message, &mut bytes);
        }
        let mut found = 0;
        for (frame, message) in Frames::new(&bytes, DEFAULT_MAX_FRAME).zip(&messages) {
            assert!(decode_client(frame.unwrap()).as_ref() == Ok(message));
            found += 1;
        }
        assert!(found == 3);
        let (frame, _) = split(&batch, DEFAULT_MAX_FRAME).unwrap().unwrap();
        let Ok(ClientMessage::Batch(batch)) = decode_client(frame) else { panic!("a batch") };
        assert!(batch.iter().count() == 3);
        for message in &messages {
            text.clear();
            encode_client_json(message, &mut text);
            let text = std::str::from_utf8(&text).unwrap();
            assert!(decode_client_json(text).as_ref() == Ok(message));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn answers_do_not_allocate() {
    let mut parts = Parts::default();
    parts.push(Part { row: 1, seats: Seats { mask: 1, first: 2 }, slot: 3 });
    let answer = Answer { nonce: 9, parts: 1, ..Answer::plain(Code::Granted) };
    let place = RowRef::new(1, 2, 3);
    let reply = ServerMessage::Answer(Reply { id: 1, time_ms: 2, place, answer, parts, durable: 3 });
    let state =
        RowSeats { version: 1, seats: 200, free: [1; 4], booked: [2, 2, 2, 2], blocked: [4, 4, 4, 4] };
    let delta = ServerMessage::Delta(Delta { row: place, state });
    let error = ServerMessage::Error(ErrorReply::of(1, WireCode::Busy));
    let messages = [reply, delta, error];
    let mut bytes = Vec::with_capacity(4096);
    let mut text = Vec::with_capacity(4096);
    let count = allocations(|| {
        for message in &messages {
            encode_server(message, &mut bytes);
            encode_server_json(message, 7, &mut text);
        }
        for (frame, message) in Frames::new(&bytes, DEFAULT_MAX_FRAME).zip(&messages) {
            assert!(decode_server(frame.unwrap()).as_ref() == Ok(message));
        }
    });
    assert_eq!(count, 0);
}
