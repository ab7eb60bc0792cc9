//! What a program sees of a simulated world: connections and their faults, clocks, crashes, and that a seed
//! repeats.

use frontrow_engine::{Carried, Clock, Engine, ListenOptions, Receiver, Sender, inbox};
use frontrow_sim::{Crash, Ended, NodeId, Options, ProcessEnded, Reader, Rng, Sim, World, Writer};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Result};
use std::rc::Rc;
use std::time::Duration;

const PORT: u16 = 7411;

fn world(seed: u64) -> World {
    World::new(Options::new(seed))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a task found out.
type Found<T> = Rc<RefCell<Vec<T>>>;

fn found<T>() -> (Found<T>, Found<T>) {
    let found = Rc::new(RefCell::new(Vec::new()));
    (Rc::clone(&found), found)
}

async fn echo(mut reader: Reader, mut writer: Writer) {
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let (result, back) = Sim::recv(&mut reader, buffer).await;
        if !result.is_ok_and(|count| count > 0) {
            return;
        }
        let (result, mut back) = Sim::send_all(&mut writer, back).await;
        if result.is_err() {
            return;
        }
        back.clear();
        buffer = back;
    }
}

/// An echo server of one core.
async fn serve() {
    let listener = Sim::listen("0.0.0.0:7411".parse().unwrap(), ListenOptions::default()).unwrap();
    while let Ok((reader, writer, _)) = Sim::accept(&listener).await {
        Sim::spawn(echo(reader, writer));
    }
}

async fn recv_some(reader: &mut Reader) -> Result<Vec<u8>> {
    let (result, buffer) = Sim::recv(reader, Vec::with_capacity(4096)).await;
    result.map(|_| buffer)
}

async fn ask(reader: &mut Reader, writer: &mut Writer, bytes: &[u8]) -> Result<Vec<u8>> {
    Sim::send_all(writer, bytes.to_vec()).await.0?;
    let mut answer = Vec::new();
    while answer.len() < bytes.len() {
        let some = recv_some(reader).await?;
        if some.is_empty() {
            break;
        }
        answer.extend(some);
    }
    Ok(answer)
}

#[test]
fn nobody_listening_is_refused_and_a_dead_node_never_answers() {
    let world = world(1);
    let (near, far, dead) = (world.node(), world.node(), world.node());
    world.crash(dead, Crash::Power);
    let (out, seen) = found();
    world.start(near, move || async move {
        for node in [far, dead] {
            let error = Sim::connect(node.addr(PORT)).await.expect_err("nobody there");
            out.borrow_mut().push(error.kind());
        }
    });
    assert_eq!(world.run_until(ms(60_000), || seen.borrow().len() == 2), Ended::Reached);
    assert_eq!(*seen.borrow(), [ErrorKind::ConnectionRefused, ErrorKind::TimedOut]);
}

/// A client that asks once, then waits for whatever comes, and says how that ended.
fn waiting_client(world: &World, near: NodeId, server: NodeId, then_send: bool) -> Found<Result<usize>> {
    let (out, seen) = found();
    world.start(near, move || async move {
        let (mut reader, mut writer) = Sim::connect(server.addr(PORT)).await.expect("connects");
        assert_eq!(ask(&mut reader, &mut writer, b"one").await.expect("answer"), b"one");
        out.borrow_mut().push(Ok(3));
        if then_send {
            Sim::sleep(ms(100)).await;
            let _ = Sim::send_all(&mut writer, b"two".to_vec()).await;
        }
        let last = recv_some(&mut reader).await.map(|bytes| bytes.len());
        out.borrow_mut().push(last);
    });
    seen
}

#[test]
fn a_killed_process_is_noticed_at_once_and_a_dead_machine_only_by_who_sends() {
    for seed in 0..20 {
        let world = world(seed);
        let (near, server) = (world.node(), world.node());
        world.start(server, serve);
        let seen = waiting_client(&world, near, server, false);
        world.run_until(ms(5_000), || seen.borrow().len() == 1);
        world.crash(server, Crash::Process);
        assert_eq!(world.run_until(ms(1_500), || seen.borrow().len() == 2), Ended::Reached);
        let last = seen.borrow_mut().pop().expect("two");
        assert!(last.as_ref().map_or(true, |&count| count == 0), "{last:?}");
    }
    for (seed, then_send) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let world = world(seed);
        let (near, server) = (world.node(), world.node());
        world.start(server, serve);
        let seen = waiting_client(&world, near, server, then_send);
        world.run_until(ms(5_000), || seen.borrow().len() == 1);
        world.crash(server, Crash::Power);
        world.run_for(ms(60_000));
        let heard = seen.borrow().len() - 1;
        assert_eq!(heard, usize::from(then_send), "only who sends notices");
        if then_send {
            let last = seen.borrow_mut().pop().expect("two").expect_err("an error");
            assert_eq!(last.kind(), ErrorKind::TimedOut);
        }
    }
}

#[test]
fn a_machine_that_is_back_resets_what_it_does_not_know() {
    let world = world(3);
    let (near, server) = (world.node(), world.node());
    world.start(server, serve);
    let seen = waiting_client(&world, near, server, true);
    world.run_until(ms(5_000), || seen.borrow().len() == 1);
    world.crash(server, Crash::Power);
    world.run_for(ms(500));
    assert!(!world.runs(server));
    world.power_on(server);
    world.start(server, serve);
    assert_eq!(world.run_until(ms(5_000), || seen.borrow().len() == 2), Ended::Reached);
    let last = seen.borrow_mut().pop().expect("two").expect_err("an error");
    assert_eq!(last.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_way_that_is_cut_delays_and_keeps_the_order() {
    for seed in 0..50 {
        let world = world(seed);
        let (near, server) = (world.node(), world.node());
        world.start(server, serve);
        let (out, seen) = found();
        world.start(near, move || async move {
            let (mut reader, mut writer) = Sim::connect(server.addr(PORT)).await.expect("connects");
            for round in 0..20_u8 {
                let asked = [round; 300];
                assert_eq!(ask(&mut reader, &mut writer, &asked).await.expect("answer"), asked);
                out.borrow_mut().push(round);
            }
        });
        world.run_until(ms(5_000), || seen.borrow().len() == 5);
        let (from, to) = if seed % 2 == 0 { (near, server) } else { (server, near) };
        world.cut(from, to);
        world.run_for(ms(3_000));
        assert!(seen.borrow().len() <= 6, "at most what was under way arrives");
        world.heal(from, to);
        assert_eq!(world.run_until(ms(60_000), || seen.borrow().len() == 20), Ended::Reached);
    }
}

#[test]
fn a_cut_that_lasts_ends_the_connection_at_the_sender() {
    let world = world(5);
    let (near, server) = (world.node(), world.node());
    world.start(server, serve);
    let seen = waiting_client(&world, near, server, true);
    world.run_until(ms(5_000), || seen.borrow().len() == 1);
    world.cut(near, server);
    assert_eq!(world.run_until(ms(15_000), || seen.borrow().len() == 2), Ended::Reached);
    let last = seen.borrow_mut().pop().expect("two").expect_err("an error");
    assert_eq!(last.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender() {
    let world = world(6);
    let (near, far) = (world.node(), world.node());
    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    world.start(far, || async {
        let listener = Sim::listen("0.0.0.0:7411".parse().unwrap(), ListenOptions::default()).unwrap();
        let _kept = Sim::accept(&listener).await.expect("accept");
        std::future::pending::<()>().await;
    });
    world.start(near, move || async move {
        let (_reader, mut writer) = Sim::connect(far.addr(PORT)).await.expect("connects");
        loop {
            Sim::send_all(&mut writer, vec![1; 1000]).await.0.expect("a slow reader is no error");
            count.set(count.get() + 1000);
        }
    });
    world.run_for(ms(60_000));
    let window = Options::new(0).net.window;
    assert!(sent.get() <= window && sent.get() > window - 1000, "{} of {window}", sent.get());
}

#[test]
fn a_paused_node_answers_when_it_goes_on() {
    let world = world(7);
    let (near, server) = (world.node(), world.node());
    world.start(server, serve);
    let (out, seen) = found();
    world.start(near, move || async move {
        let (mut reader, mut writer) = Sim::connect(server.addr(PORT)).await.expect("connects");
        loop {
            ask(&mut reader, &mut writer, b"there?").await.expect("answer");
            out.borrow_mut().push(Clock::monotonic_ns());
        }
    });
    world.run_until(ms(5_000), || seen.borrow().len() == 3);
    world.pause(server);
    world.run_for(ms(30_000));
    let before = seen.borrow().len();
    assert!(before <= 4);
    world.resume(server);
    assert_eq!(world.run_until(ms(1_000), || seen.borrow().len() > before + 2), Ended::Reached);
}

#[test]
fn a_process_that_ends_itself_takes_its_cores_along() {
    let world = world(8);
    let node = world.node();
    let dropped = Rc::new(Cell::new(0));
    struct Guard(Rc<Cell<u32>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    for core in 0..3 {
        let guard = Guard(Rc::clone(&dropped));
        world.start(node, move || async move {
            let _guard = guard;
            Sim::sleep(ms(50)).await;
            if core == 1 {
                std::panic::resume_unwind(Box::new(ProcessEnded("no disk".into())));
            }
            std::future::pending::<()>().await;
        });
    }
    assert_eq!(world.run_until(ms(1_000), || !world.runs(node)), Ended::Reached);
    assert_eq!(dropped.get(), 3);
    assert_eq!(world.last_words(node), ["no disk"]);
}

#[test]
fn sleeps_follow_their_own_nodes_clock() {
    let world = world(9);
    let (slow, fast) = (world.node(), world.node());
    world.drift(slow, -100_000);
    world.drift(fast, 100_000);
    let (out, seen) = found();
    for node in [slow, fast] {
        let out = Rc::clone(&out);
        world.start(node, move || async move {
            let begun = Clock::monotonic_ns();
            Sim::sleep(Duration::from_secs(100)).await;
            out.borrow_mut().push((node, (Clock::monotonic_ns() - begun) / 1_000_000_000));
        });
    }
    assert_eq!(world.run_until(ms(200_000), || seen.borrow().len() == 2), Ended::Reached);
    assert_eq!(*seen.borrow(), [(fast, 100), (slow, 100)]);
    let real_s = world.now_ns() / 1_000_000_000;
    assert_eq!(real_s, 111, "a clock that is a tenth slow takes longer");
    let before = world.wall_ms(fast);
    world.step_wall(fast, -5_000);
    assert_eq!(world.wall_ms(fast), before - 5_000);
}

/// A server of two cores on one port, each giving every other connection to the other core.
async fn exchange(mut inbox: Receiver<Carried>, other: Sender<Carried>) {
    let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let listener = Sim::listen("0.0.0.0:7411".parse().unwrap(), options).unwrap();
    Sim::spawn(async move {
        let mut arrived = Vec::new();
        while inbox.ready().await {
            inbox.drain(&mut arrived, 8);
            for connection in arrived.drain(..) {
                let (reader, writer) = Sim::adopt(connection).expect("adopt");
                Sim::spawn(echo(reader, writer));
            }
        }
    });
    for number in 0.. {
        let (reader, writer, _) = Sim::accept(&listener).await.expect("accept");
        if number % 2 == 0 {
            Sim::spawn(echo(reader, writer));
        } else {
            let moving = Sim::release(reader, writer).expect("idle");
            other.try_send(moving).expect("room");
        }
    }
}

fn start_exchange(world: &World, node: NodeId) {
    let ((to_a, at_a), (to_b, at_b)) = (inbox(8), inbox(8));
    world.start(node, move || exchange(at_a, to_b));
    world.start(node, move || exchange(at_b, to_a));
}

async fn client(server: NodeId, mut rng: Rng, answers: Rc<Cell<u32>>) {
    loop {
        Sim::sleep(ms(rng.below(20))).await;
        let Ok((mut reader, mut writer)) = Sim::connect(server.addr(PORT)).await else { continue };
        for _ in 0..=rng.below(6) {
            let asked = vec![rng.below(256) as u8; 1 + rng.index(5_000)];
            match ask(&mut reader, &mut writer, &asked).await {
                Ok(answer) if answer.len() == asked.len() => {
                    assert_eq!(answer, asked);
                    answers.set(answers.get() + 1);
                }
                _ => break,
            }
        }
    }
}

/// Many clients, and every fault there is; the trace, and how many answers came.
fn storm(seed: u64) -> ((u64, u64), u32) {
    let world = world(seed);
    let (server, clients) = (world.node(), [world.node(), world.node()]);
    start_exchange(&world, server);
    let (answers, mut workload) = (Rc::new(Cell::new(0)), Rng::new(seed, frontrow_sim::Concern::Workload));
    for number in 0..10 {
        let (rng, answers) = (workload.fork(), Rc::clone(&answers));
        world.start(clients[number % 2], move || client(server, rng, answers));
    }
    let mut faults = Rng::new(seed, frontrow_sim::Concern::Faults);
    for _ in 0..12 {
        world.run_for(ms(20 + faults.below(200)));
        let other = *faults.pick(&clients);
        match faults.below(6) {
            0 => world.cut(server, other),
            1 => world.cut(other, server),
            2 => world.pause(server),
            3 => world.crash(server, Crash::Process),
            4 => world.crash(server, Crash::Power),
            _ => world.drift(server, 50_000),
        }
        world.run_for(ms(20 + faults.below(3_000)));
        world.heal(server, other);
        world.heal(other, server);
        world.resume(server);
        if !world.runs(server) {
            world.power_on(server);
            start_exchange(&world, server);
        }
    }
    let before = answers.get();
    world.run_for(ms(20_000));
    assert!(answers.get() > before + 100, "after the faults the world is well again");
    (world.trace(), answers.get())
}

#[test]
fn a_seed_repeats_step_by_step_through_every_fault() {
    let mut hashes = Vec::new();
    for seed in 0..6 {
        let (first, again) = (storm(seed), storm(seed));
        assert_eq!(first, again, "seed {seed}");
        hashes.push(first.0.0);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 6, "every seed goes its own way");
}
