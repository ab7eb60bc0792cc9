//! A server for the tests: a configuration file as its argument, one line of JSON when it serves, SIGTERM
//! or the end of its standard input to stop it.

use std::io::{Read, Write};
use std::path::Path;

fn main() {
    let file = std::env::args().nth(1).expect("usage: frontrow-test-server CONFIG");
    let config = match frontrow_server::config::load(Some(Path::new(&file))) {
        Ok(config) => config,
        Err(mistakes) => fail(2, &mistakes),
    };
    let running = match frontrow_server::start(&config, true) {
        Ok(running) => running,
        Err(error) => fail(3, &error),
    };
    let cores: Vec<String> = running.core_tcp.iter().map(ToString::to_string).collect();
    let ready = serde_json::json!({
        "tcp": running.tcp.to_string(), "http": running.http.to_string(), "cores": cores,
        "engine": running.engine, "replayed": running.replayed,
    });
    println!("{ready}");
    std::io::stdout().flush().expect("the test reads this");
    // A test that is killed can't end its servers: the pipe's end does.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(4);
    });
    running.wait_for_signal_and_stop().expect("signals can be waited for");
}

fn fail(status: i32, error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(status);
}
