//! What every engine does on one core. The same functions run on the simulated engine.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::cell::RefCell;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use frontrow_engine::{CoreSpec, Engine, ListenOptions, LocalNotify, inbox};

pub(crate) const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) fn spec(name: &str) -> CoreSpec {
    CoreSpec { ring_entries: 256, ..CoreSpec::new(name, None) }
}

pub(crate) fn run<E: Engine, F: Future<Output = ()> + 'static>(name: &str, main: impl FnOnce() -> F) {
    E::run(&spec(name), main).expect("engine runs");
}

pub(crate) async fn pair<E: Engine>() -> ((E::Reader, E::Writer), (E::Reader, E::Writer)) {
    let listener = E::listen(LOCAL, ListenOptions::default()).expect("listen");
    let addr = E::local_addr(&listener).expect("address");
    let near = E::connect(addr).await.expect("connect");
    let (reader, writer, _) = E::accept(&listener).await.expect("accept");
    (near, (reader, writer))
}

pub(crate) async fn recv_exact<E: Engine>(reader: &mut E::Reader, length: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let (result, back) = E::recv(reader, buffer).await;
        buffer = back;
        assert!(result.expect("recv") > 0, "closed after {} of {length} bytes", buffer.len());
    }
    buffer
}

pub(crate) fn echo_then_close<E: Engine>() {
    run::<E, _>("echo", || async {
        let listener = E::listen(LOCAL, ListenOptions { reuse_port: true, backlog: 16 }).expect("listen");
        let addr = E::local_addr(&listener).expect("address");
        E::spawn(async move {
            let (mut reader, mut writer, _) = E::accept(&listener).await.expect("accept");
            let mut buffer = Vec::with_capacity(64);
            loop {
                let (result, back) = E::recv(&mut reader, buffer).await;
                if result.expect("recv") == 0 {
                    break;
                }
                let (result, mut back) = E::send_all(&mut writer, back).await;
                result.expect("send");
                back.clear();
                buffer = back;
            }
        });
        let (mut reader, mut writer) = E::connect(addr).await.expect("connect");
        for round in 0..100u8 {
            let (result, sent) = E::send_all(&mut writer, vec![round; 40]).await;
            result.expect("send");
            assert_eq!(sent, vec![round; 40], "the buffer comes back unchanged");
            assert_eq!(recv_exact::<E>(&mut reader, 40).await, vec![round; 40]);
        }
        E::shutdown(&writer, Shutdown::Write).expect("half-close");
        let (result, rest) = E::recv(&mut reader, Vec::with_capacity(8)).await;
        assert_eq!(result.expect("recv"), 0);
        assert!(rest.is_empty());
    });
}

pub(crate) fn release_of_foreign_halves_is_refused<E: Engine>() {
    run::<E, _>("release", || async {
        let ((reader, _writer), (_far_reader, far_writer)) = pair::<E>().await;
        assert!(E::release(reader, far_writer).is_err());
    });
}

pub(crate) fn inbox_refuses_when_full_and_ends_when_senders_go<E: Engine>() {
    run::<E, _>("inbox", || async {
        let (sender, mut receiver) = inbox::<u8>(2);
        sender.try_send(1).expect("room");
        sender.try_send(2).expect("room");
        assert!(matches!(sender.try_send(3), Err(frontrow_engine::SendError::Full(3))));
        let mut got = Vec::new();
        assert!(receiver.ready().await);
        assert_eq!(receiver.drain(&mut got, 1), 1, "bounded by max");
        let second = sender.clone();
        drop(sender);
        second.try_send(4).expect("room");
        drop(second);
        while receiver.ready().await {
            receiver.drain(&mut got, 8);
        }
        assert_eq!(got, [1, 2, 4]);
        let (sender, receiver) = inbox::<u8>(2);
        drop(receiver);
        assert!(matches!(sender.try_send(1), Err(frontrow_engine::SendError::Closed(1))));
    });
}

pub(crate) fn local_notify_wakes_a_task<E: Engine>() {
    run::<E, _>("local", || async {
        let (there, back) = (LocalNotify::new(), LocalNotify::new());
        let (there_too, back_too) = (there.clone(), back.clone());
        E::spawn(async move {
            loop {
                there_too.wait().await;
                back_too.wake();
            }
        });
        for _ in 0..1000 {
            there.wake();
            back.wait().await;
        }
    });
}

pub(crate) fn sleeps_end_in_order<E: Engine>() {
    run::<E, _>("sleep", || async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let all = LocalNotify::new();
        for millis in [40u64, 10, 25] {
            let (order, all) = (order.clone(), all.clone());
            E::spawn(async move {
                E::sleep(Duration::from_millis(millis)).await;
                order.borrow_mut().push(millis);
                all.wake();
            });
        }
        while order.borrow().len() < 3 {
            all.wait().await;
        }
        assert_eq!(*order.borrow(), [10, 25, 40]);
    });
}

pub(crate) fn large_send_to_a_slow_reader<E: Engine>() {
    run::<E, _>("large", || async {
        const LENGTH: usize = 8 << 20;
        let ((mut reader, _writer), (_far_reader, mut far_writer)) = pair::<E>().await;
        let pattern = |index: usize| (index % 251) as u8;
        E::spawn(async move {
            let buffer = (0..LENGTH).map(pattern).collect();
            E::send_all(&mut far_writer, buffer).await.0.expect("send");
        });
        // The sender fills the kernel's buffers before the first byte is read.
        E::sleep(Duration::from_millis(5)).await;
        let mut seen = 0;
        let mut buffer = Vec::with_capacity(3_000);
        while seen < LENGTH {
            let (result, back) = E::recv(&mut reader, buffer).await;
            let count = result.expect("recv");
            assert!(count > 0);
            assert!(back.iter().enumerate().all(|(index, &byte)| byte == pattern(seen + index)));
            seen += count;
            buffer = back;
            buffer.clear();
        }
    });
}

pub(crate) fn recv_after_peer_close<E: Engine>() {
    run::<E, _>("peer", || async {
        let ((mut reader, mut writer), far) = pair::<E>().await;
        drop(far);
        assert_eq!(E::recv(&mut reader, Vec::with_capacity(8)).await.0.expect("recv"), 0);
        // The first send may still be taken; the answer to it is a reset, and then sends fail.
        let mut failed = false;
        for _ in 0..100 {
            failed |= E::send_all(&mut writer, vec![0; 64]).await.0.is_err();
            if failed {
                break;
            }
            E::sleep(Duration::from_millis(1)).await;
        }
        assert!(failed, "sends to a closed peer must fail");
    });
}

pub(crate) fn shutdown_ends_a_pending_recv<E: Engine>() {
    run::<E, _>("shutdown", || async {
        let ((mut reader, writer), _far) = pair::<E>().await;
        let ended = LocalNotify::new();
        let ended_too = ended.clone();
        E::spawn(async move {
            assert_eq!(E::recv(&mut reader, Vec::with_capacity(8)).await.0.expect("recv"), 0);
            ended_too.wake();
        });
        // Long enough for the receive to be in the kernel.
        E::sleep(Duration::from_millis(2)).await;
        E::shutdown(&writer, Shutdown::Both).expect("shutdown");
        ended.wait().await;
    });
}

pub(crate) fn closer_ends_a_stuck_send<E: Engine>() {
    run::<E, _>("closer", || async {
        let ((reader, mut writer), _far) = pair::<E>().await;
        let closer = E::closer(&reader);
        let ended = LocalNotify::new();
        let ended_too = ended.clone();
        E::spawn(async move {
            assert!(E::send_all(&mut writer, vec![7; 32 << 20]).await.0.is_err());
            ended_too.wake();
        });
        E::sleep(Duration::from_millis(2)).await;
        closer.close();
        ended.wait().await;
        drop(reader);
        closer.close();
    });
}

pub(crate) fn recv_without_room_is_an_error<E: Engine>() {
    run::<E, _>("room", || async {
        let ((mut reader, _writer), _far) = pair::<E>().await;
        let (result, _) = E::recv(&mut reader, Vec::new()).await;
        assert_eq!(result.expect_err("no room").kind(), std::io::ErrorKind::InvalidInput);
    });
}
