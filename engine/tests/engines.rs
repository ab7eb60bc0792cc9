//! The same behaviour on every engine.

mod behaviour;

use behaviour::*;
use std::time::Duration;

use frontrow_engine::{CoreSpec, Engine, EngineKind, WithEngine, dispatch, inbox, notifier, start};

/// Defines a module of tests per engine, each running `fn name<E: Engine>()`.
macro_rules! on_every_engine {
    ($($name:ident),* $(,)?) => {
        on_every_engine!(@engine io_uring, EngineKind::MonoioUring, $($name),*);
        on_every_engine!(@engine epoll, EngineKind::MonoioEpoll, $($name),*);
        on_every_engine!(@engine glommio, EngineKind::Glommio, $($name),*);
    };
    (@engine $module:ident, $kind:expr, $($name:ident),*) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $name() {
                    struct Visit;
                    impl WithEngine for Visit {
                        type Out = ();
                        fn call<E: Engine>(self) {
                            super::$name::<E>();
                        }
                    }
                    dispatch($kind, Visit);
                }
            )*
        }
    };
}

on_every_engine!(
    echo_then_close,
    connection_moves_between_threads,
    release_of_foreign_halves_is_refused,
    inbox_wakes_a_parked_core,
    inbox_refuses_when_full_and_ends_when_senders_go,
    no_wake_is_lost,
    local_notify_wakes_a_task,
    sleeps_end_in_order,
    large_send_to_a_slow_reader,
    recv_after_peer_close,
    shutdown_ends_a_pending_recv,
    closer_ends_a_stuck_send,
    recv_without_room_is_an_error,
    main_ends_all_tasks_and_their_sockets,
    files_are_written_or_refused,
    turns_are_for_everybody,
    echo_server_and_load_agree,
    pinning_to_a_missing_core_is_an_error,
);

fn connection_moves_between_threads<E: Engine>() {
    let (to_other, from_first) = std::sync::mpsc::channel::<frontrow_engine::Carried>();
    let other = start::<E, _, _>(spec("other"), move || async move {
        let (mut reader, mut writer) = E::adopt(from_first.recv().expect("hand-over")).expect("adopt");
        let asked = recv_exact::<E>(&mut reader, 5).await;
        E::send_all(&mut writer, asked).await.0.expect("send");
    })
    .expect("thread");
    run::<E, _>("first", move || async move {
        let ((mut reader, mut writer), (mut far_reader, far_writer)) = pair::<E>().await;
        E::send_all(&mut writer, b"first".to_vec()).await.0.expect("send");
        assert_eq!(recv_exact::<E>(&mut far_reader, 5).await, b"first");
        to_other.send(E::release(far_reader, far_writer).expect("release")).expect("hand over");
        E::send_all(&mut writer, b"other".to_vec()).await.0.expect("send");
        assert_eq!(recv_exact::<E>(&mut reader, 5).await, b"other");
    });
    other.join().expect("no panic").expect("engine runs");
}

fn inbox_wakes_a_parked_core<E: Engine>() {
    // Each side sleeps until the other's message comes: with a lost wake this hangs.
    let (ping, mut pings) = inbox::<u32>(4);
    let (pong, mut pongs) = inbox::<u32>(4);
    const ROUNDS: u32 = 2_000;
    let other = start::<E, _, _>(spec("pong"), move || async move {
        let mut batch = Vec::new();
        while pings.ready().await {
            pings.drain(&mut batch, 16);
            for number in batch.drain(..) {
                pong.try_send(number).expect("room");
            }
        }
    })
    .expect("thread");
    run::<E, _>("ping", move || async move {
        let mut batch = Vec::new();
        for number in 0..ROUNDS {
            ping.try_send(number).expect("room");
            assert!(pongs.ready().await);
            assert_eq!(pongs.drain(&mut batch, 16), 1);
            assert_eq!(batch.pop(), Some(number));
        }
        drop(ping);
        assert!(!pongs.ready().await, "the other side ends when its senders are gone");
    });
    other.join().expect("no panic").expect("engine runs");
}

/// Two plain threads hammer one core; the core must see every message, and one last wake of a bare
/// notifier, without polling.
fn no_wake_is_lost<E: Engine>() {
    const EACH: u64 = 100_000;
    let (sender, mut receiver) = inbox::<u64>(64);
    let (finished, mut all_sent) = notifier();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (sender, finished) = (sender.clone(), finished.clone());
            std::thread::spawn(move || {
                for number in 1..=EACH {
                    let mut message = number;
                    while let Err(frontrow_engine::SendError::Full(back)) = sender.try_send(message) {
                        message = back;
                        std::thread::yield_now();
                    }
                }
                finished.wake();
            })
        })
        .collect();
    drop(sender);
    run::<E, _>("hammered", move || async move {
        let (mut sum, mut count, mut batch) = (0u64, 0u64, Vec::with_capacity(64));
        while receiver.ready().await {
            receiver.drain(&mut batch, 64);
            count += batch.len() as u64;
            sum += batch.drain(..).sum::<u64>();
        }
        assert_eq!(count, 2 * EACH);
        assert_eq!(sum, EACH * (EACH + 1));
        all_sent.wait().await;
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn main_ends_all_tasks_and_their_sockets<E: Engine>() {
    struct Dropped(std::sync::mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (said, dropped) = std::sync::mpsc::channel();
    let peer = std::net::TcpListener::bind(LOCAL).expect("bind");
    let addr = peer.local_addr().expect("address");
    let core = start::<E, _, _>(spec("ending"), move || async move {
        let (mut reader, writer) = E::connect(addr).await.expect("connect");
        let guard = Dropped(said.clone());
        E::spawn(async move {
            let _kept = (guard, writer);
            let _ = E::recv(&mut reader, Vec::with_capacity(8)).await;
        });
        let guard = Dropped(said);
        E::spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        E::sleep(Duration::from_millis(2)).await;
    })
    .expect("thread");
    let (mut accepted, _) = peer.accept().expect("accept");
    core.join().expect("no panic").expect("engine runs");
    assert_eq!(dropped.try_iter().count(), 2, "both tasks were dropped");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut accepted, &mut rest).expect("the socket was closed, not leaked");
}

/// Aligned direct writes as the log does them: in place, with the buffer back, an error as an error.
fn files_are_written_or_refused<E: Engine>() {
    use std::os::unix::fs::OpenOptionsExt;
    const BLOCK: usize = 4096;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    std::fs::write(&path, vec![0; 8 * BLOCK]).expect("a file");
    let direct = (rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC).bits().cast_signed();
    let open = |flags| std::fs::OpenOptions::new().write(true).custom_flags(flags).open(&path);
    // Filesystems without direct writes have the rest of the test.
    let (opened, read_only) =
        (open(direct).or_else(|_| open(0)).expect("it opens"), std::fs::File::open(&path));
    run::<E, _>("file", move || async move {
        let file = match E::log_file(opened) {
            Ok(file) => file,
            Err(error) => {
                assert!(!E::WRITES_FILES);
                return assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
            }
        };
        assert!(E::WRITES_FILES);
        let mut buffer = vec![0; 5 * BLOCK];
        let start = buffer.as_ptr().align_offset(BLOCK);
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        let (whole, mut expected) = (buffer.clone(), vec![0; 8 * BLOCK]);
        for (blocks, at) in [(0..3, 4), (3..4, 0), (1..2, 4), (0..0, 1)] {
            let range = start + blocks.start * BLOCK..start + blocks.end * BLOCK;
            expected[at * BLOCK..][..range.len()].copy_from_slice(&whole[range.clone()]);
            let (result, back) = E::write_all_at(&file, buffer, range, (at * BLOCK) as u64).await;
            result.expect("written");
            assert_eq!(back, whole, "the buffer comes back as it was");
            buffer = back;
        }
        assert_eq!(std::fs::read(&path).expect("it reads"), expected);
        let unwritable = E::log_file(read_only.expect("it opens")).expect("taken over");
        let (result, back) = E::write_all_at(&unwritable, buffer, start..start + BLOCK, 0).await;
        assert!(result.is_err(), "a file that was opened for reading");
        assert_eq!(back, whole);
    });
}

/// Whoever only takes turns keeps nobody from going on: data comes in, and where the engine does files time passes.
fn turns_are_for_everybody<E: Engine>() {
    const TURNS: usize = 100_000_000;
    run::<E, _>("turns", || async {
        let null = E::log_file(std::fs::File::open("/dev/null").expect("it is there")).ok();
        assert_eq!(null.is_some(), E::WRITES_FILES);
        let ((_reader, mut writer), (mut far_reader, _far_writer)) = pair::<E>().await;
        let ready = std::rc::Rc::new(std::cell::Cell::new(0));
        let (came, passed) = (std::rc::Rc::clone(&ready), std::rc::Rc::clone(&ready));
        E::spawn(async move {
            recv_exact::<E>(&mut far_reader, 5).await;
            came.set(came.get() + 1);
        });
        if null.is_some() {
            E::spawn(async move {
                E::sleep(Duration::from_millis(2)).await;
                passed.set(passed.get() + 1);
            });
        }
        let (wanted, mut buffer) = (1 + u32::from(null.is_some()), Vec::with_capacity(1));
        E::send_all(&mut writer, b"first".to_vec()).await.0.expect("send");
        for _ in 0..TURNS {
            if ready.get() == wanted {
                return;
            }
            buffer = E::turn(null.as_ref(), buffer).await;
            assert!(buffer.is_empty() && buffer.capacity() > 0);
        }
        panic!("{} of {wanted} came", ready.get());
    });
}

fn echo_server_and_load_agree<E: Engine>() {
    use frontrow_engine::echo::{EchoServer, Load, load};
    let server = EchoServer::start::<E>(spec("server"), LOCAL, 96).expect("server");
    let asked = Load { connections: 3, depth: 5, frame_bytes: 96, duration: Duration::from_millis(20) };
    let seen = load::<E>(&spec("load"), server.addr, asked).expect("all frames verified");
    assert!(seen.messages >= 15, "at least the first {} frames", 15);
    assert_eq!(seen.latency_ns.len(), seen.messages);
}

fn pinning_to_a_missing_core_is_an_error<E: Engine>() {
    for core in [1000, usize::MAX] {
        let spec = CoreSpec { core: Some(core), ..spec("nowhere") };
        let error = std::thread::scope(|scope| {
            scope.spawn(|| E::run(&spec, || async {}).expect_err("no such core")).join().expect("no panic")
        });
        assert!(error.to_string().contains("affinity mask"), "{error}");
    }
}
