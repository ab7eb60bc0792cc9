//! Measures the bare echo on every engine: messages per second and latency at depths 1, 16, 64.
//!
//! `cargo run --release -p frontrow-engine --example echo -- [--frame 96] [--connections 16]
//! [--rounds 5] [--millis 1000] [--depths 1,16,64] [--engines io_uring,epoll,glommio]`
//!
//! Server on the first allowed core, load on the second. Engines and depths are interleaved, and
//! medians over the rounds printed, so that a machine's drift hits all of them alike.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use frontrow_engine::echo::{EchoServer, Load, Measured, load};
use frontrow_engine::{CoreSpec, Engine, EngineKind, WithEngine, choose, dispatch, probe};

struct Options {
    frame_bytes: usize,
    connections: usize,
    rounds: usize,
    duration: Duration,
    depths: Vec<usize>,
    engines: Vec<EngineKind>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut found = Options {
        frame_bytes: 96,
        connections: 16,
        rounds: 5,
        duration: Duration::from_secs(1),
        depths: vec![1, 16, 64],
        engines: vec![EngineKind::MonoioUring, EngineKind::MonoioEpoll, EngineKind::Glommio],
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--frame" => found.frame_bytes = value.parse()?,
            "--connections" => found.connections = value.parse()?,
            "--rounds" => found.rounds = value.parse()?,
            "--millis" => found.duration = Duration::from_millis(value.parse()?),
            "--depths" => found.depths = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--engines" => found.engines = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            other => return Err(format!("unknown option {other}; see the top of examples/echo.rs").into()),
        }
    }
    if found.rounds == 0 {
        return Err("--rounds must be at least 1".into());
    }
    Ok(found)
}

/// One measurement with the chosen engine on both sides.
struct Once {
    server: CoreSpec,
    client: CoreSpec,
    load: Load,
}

impl WithEngine for Once {
    type Out = std::io::Result<Measured>;

    fn call<E: Engine>(self) -> Self::Out {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = EchoServer::start::<E>(self.server, any_port, self.load.frame_bytes)?;
        // On a thread of its own, so that pinning it leaves the main thread alone.
        std::thread::scope(|scope| {
            let client = scope.spawn(|| load::<E>(&self.client, server.addr, self.load));
            client.join().map_err(|_| std::io::Error::other("the load client panicked"))?
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let host = probe();
    let server_core = host.cores.first().copied();
    let client_core = host.cores.get(1).copied().or(server_core);
    println!(
        "echo of {} B frames, {} connections, server on core {server_core:?}, load on core {client_core:?}, \
         median of {} rounds of {:?}",
        options.frame_bytes, options.connections, options.rounds, options.duration
    );
    for &kind in &options.engines {
        println!("{}", choose(kind, 2, &host)?);
    }
    let mut cells: Vec<(EngineKind, usize, Vec<Measured>)> = Vec::new();
    for &depth in &options.depths {
        cells.extend(options.engines.iter().map(|&kind| (kind, depth, Vec::new())));
    }
    for _ in 0..options.rounds {
        for (kind, depth, seen) in &mut cells {
            let load = Load {
                connections: options.connections,
                depth: *depth,
                frame_bytes: options.frame_bytes,
                duration: options.duration,
            };
            let server = CoreSpec::new("echo-server", server_core);
            let client = CoreSpec::new("echo-load", client_core);
            seen.push(dispatch(*kind, Once { server, client, load })?);
        }
    }
    println!(
        "{:<10}{:>6}{:>14}{:>10}{:>10}{:>10}",
        "engine", "depth", "messages/s", "p50 us", "p99 us", "p99.9 us"
    );
    for (kind, depth, seen) in cells {
        let of = |value: &dyn Fn(&Measured) -> f64| median(seen.iter().map(value).collect());
        println!(
            "{:<10}{depth:>6}{:>14.0}{:>10.1}{:>10.1}{:>10.1}",
            kind.to_string(),
            of(&Measured::per_second),
            of(&|measured| measured.latency_us(0.5)),
            of(&|measured| measured.latency_us(0.99)),
            of(&|measured| measured.latency_us(0.999)),
        );
    }
    Ok(())
}
