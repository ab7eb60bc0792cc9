//! The Rust client of Frontrow: claims, bookings, queues and live seats over raw TCP or a WebSocket, and
//! the catalogue over HTTP.
//!
//! ```no_run
//! # async fn example() -> Result<(), frontrow_client::ClientError> {
//! use frontrow_client::{Claim, Client, Endpoint, RowRef, Wish};
//!
//! let client = Client::connect(Endpoint::Tcp("127.0.0.1:7411".into()), "a token").await?;
//! let section = RowRef::new(1, 0, RowRef::SECTION);
//! if let Claim::Held(held) = client.claim_section(section, Wish::of(2)).await? {
//!     client.book(&held).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it knows |
//! | --- | --- |
//! | `endpoint`, `link` | where to connect; bytes in and out, the same for TCP and WebSocket |
//! | `shared`, `driver` | what is outstanding; one task that reads, writes and connects again |
//! | `route` | several addresses of one service: which to try next |
//! | `client`, `sell` | requests, and each kind of request by name |
//! | `held` | a hold and its token |
//! | `watch`, `news` | live seats; offers and other news |
//! | `http` | events, maps, operators' requests |

mod client;
mod driver;
mod endpoint;
mod error;
mod held;
pub mod http;
mod link;
mod news;
mod options;
mod route;
mod sell;
mod shared;
mod watch;

pub use client::{Client, Pong};
pub use endpoint::Endpoint;
pub use error::{ClientError, Refused};
pub use held::Held;
pub use http::{Http, HttpError};
pub use news::{NewsEvent, NewsStream};
pub use options::{Options, Retry};
pub use sell::{Claim, Waiting, Wish};
pub use watch::{Applied, SectionView, Update, Watch};

// What appears in signatures here, so that a user of this crate needs no other one.
pub use frontrow_protocol::{
    News, NewsKind, Reply, RequestIds, RowSeats, Topology, Welcome, WireCode, advice, format_id,
    format_token, parse_id, parse_token,
};
pub use frontrow_shard::{
    ANY_CATEGORY, Adjacency, Answer, Code, Command, EventId, Fence, Millis, Part, Parts, Proof, RequestId,
    RowRef, Seats, SeatsError, UserId, flags,
};
