//! The engine's own tests on the simulated engine, each under many seeds.

#[path = "../../engine/tests/behaviour/mod.rs"]
mod behaviour;

use frontrow_sim::Sim;

macro_rules! under_many_seeds {
    ($($name:ident: $seeds:expr),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                for seed in 0..$seeds {
                    Sim::seed(seed);
                    behaviour::$name::<Sim>();
                }
            }
        )*
    };
}

under_many_seeds!(
    echo_then_close: 100,
    release_of_foreign_halves_is_refused: 20,
    inbox_refuses_when_full_and_ends_when_senders_go: 100,
    local_notify_wakes_a_task: 20,
    sleeps_end_in_order: 100,
    large_send_to_a_slow_reader: 4,
    recv_after_peer_close: 100,
    shutdown_ends_a_pending_recv: 100,
    closer_ends_a_stuck_send: 10,
    recv_without_room_is_an_error: 20,
);
