//! One connection before all others: an unreachable server or a wrong token is told at once, in its own words.

use super::plan::{DrivePlan, Transport};
use super::websocket;
use crate::LoadError;
use frontrow_protocol::{ServerMessage, decode_server, split};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the server may take to let us in, with however little patience.
const LEAST: Duration = Duration::from_secs(1);

/// Is let in once as the first connection, and leaves again.
pub(super) fn enter(plan: &DrivePlan) -> Result<(), LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::connection("before the first connection"))?;
    let (server, token) = (plan.address_of(0), plan.tokens[0].as_str());
    let within = plan.patience.max(LEAST);
    let (server, entered) = match plan.transport {
        Transport::Tcp => {
            let addr = plan.tcp[server].to_string();
            let entered = runtime.block_on(async { timeout(within, over_tcp(&addr, token)).await });
            (addr, entered)
        }
        Transport::WebSocket => {
            let url = plan.ws[server].clone();
            let entered = runtime.block_on(async { timeout(within, over_websocket(&url, token)).await });
            (url, entered)
        }
    };
    let entered = entered.unwrap_or_else(|_| Err(format!("no welcome within {within:?} (--patience)")));
    entered.map_err(|why| LoadError::Refused { server, why })
}

async fn over_tcp(addr: &str, token: &str) -> Result<(), String> {
    let mut socket = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
    let hello = websocket::hello(token).into_data();
    socket.write_all(&hello).await.map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    loop {
        match socket.read_buf(&mut received).await {
            Ok(0) => return Err("it closed the connection instead of a welcome".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        if first_message(&received)? {
            return Ok(());
        }
    }
}

async fn over_websocket(url: &str, token: &str) -> Result<(), String> {
    let mut socket = websocket::connect(url).await?;
    socket.send(websocket::hello(token)).await.map_err(|error| error.to_string())?;
    while let Some(message) = socket.next().await {
        let message = message.map_err(|error| error.to_string())?;
        if message.is_binary() && first_message(&message.into_data())? {
            return Ok(());
        }
    }
    Err("it closed the connection instead of a welcome".to_owned())
}

/// Whether a welcome is there; an error if it is something else.
fn first_message(bytes: &[u8]) -> Result<bool, String> {
    let Some((frame, _)) = split(bytes, u32::MAX).map_err(|error| error.to_string())? else {
        return Ok(false);
    };
    match decode_server(frame).map_err(|error| error.to_string())? {
        ServerMessage::Welcome(_) => Ok(true),
        ServerMessage::Error(error) => Err(format!("{}: {}", error.code.name(), error.message)),
        ServerMessage::Goodbye(goodbye) => Err(format!("{}: {}", goodbye.code.name(), goodbye.message)),
        other => Err(format!("instead of a welcome came {other:?}")),
    }
}
