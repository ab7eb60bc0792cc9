//! Starts a server as the tests do, until a signal.
fn main() {
    let config =
        frontrow_server::config::load(std::env::args().nth(1).as_deref().map(std::path::Path::new)).unwrap();
    let running = frontrow_server::start(&config, true).unwrap();
    println!("{}", running.banner());
    running.wait_for_signal_and_stop().unwrap();
}
