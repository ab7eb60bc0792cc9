//! Several addresses of one service: which to try next.

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use frontrow_protocol::WireCode;

/// How often in a row an address that a server named is gone to at once: two standbys may name each other.
const FOLLOWED_MAX: u32 = 2;

/// Where a client connects. One that leads nowhere is followed by the next; whoever is not primary says who is.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    endpoints: Vec<Endpoint>,
    at: usize,
    /// Where a server said that the primary is.
    told: Option<Endpoint>,
    /// How many in a row led nowhere.
    failed: usize,
    followed: u32,
}

impl Route {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        assert!(!endpoints.is_empty(), "a client needs an address");
        Self { endpoints, at: 0, told: None, failed: 0, followed: 0 }
    }

    /// Whether there is more than one.
    pub(crate) fn is_choice(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// Where to connect now.
    pub(crate) fn present(&self) -> &Endpoint {
        self.told.as_ref().unwrap_or(&self.endpoints[self.at])
    }

    /// The present one serves.
    pub(crate) fn serves(&mut self) {
        (self.failed, self.followed) = (0, 0);
    }

    /// The present one failed with this error: goes on to the next. Whether that one is to be tried without a pause.
    pub(crate) fn after(&mut self, error: &ClientError) -> bool {
        if let Some(primary) = self.named(error)
            && self.followed < FOLLOWED_MAX
        {
            self.followed += 1;
            self.told = Some(primary);
            return true;
        }
        // An address that was only named is not one of the round.
        if self.told.take().is_none() {
            self.at = (self.at + 1) % self.endpoints.len();
        }
        self.failed += 1;
        let pause = self.failed.is_multiple_of(self.endpoints.len());
        if pause {
            self.followed = 0;
        }
        !pause
    }

    fn named(&self, error: &ClientError) -> Option<Endpoint> {
        match error {
            ClientError::Wire { code: WireCode::NotPrimary, message, .. } if message.starts_with("ws://") => {
                Some(Endpoint::WebSocket(message.clone()))
            }
            ClientError::Wire { code: WireCode::NotPrimary, message, .. } if !message.is_empty() => {
                match self.present() {
                    Endpoint::Tcp(_) => Some(Endpoint::Tcp(message.clone())),
                    Endpoint::WebSocket(_) => Some(Endpoint::of_http(message)),
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Endpoint {
        Endpoint::Tcp(address.into())
    }

    fn dead() -> ClientError {
        ClientError::Closed { reason: "dead".into() }
    }

    fn not_primary(message: &str) -> ClientError {
        ClientError::Wire { code: WireCode::NotPrimary, message: message.into(), retry_after_ms: 0 }
    }

    #[test]
    fn the_next_is_tried_at_once_and_a_round_ends_with_a_pause() {
        let mut route = Route::new(vec![tcp("a:1"), tcp("b:1")]);
        assert!(route.after(&dead()) && *route.present() == tcp("b:1"));
        assert!(!route.after(&dead()) && *route.present() == tcp("a:1"));
        let mut one = Route::new(vec![tcp("a:1")]);
        assert!(!one.after(&dead()) && *one.present() == tcp("a:1"));
    }

    #[test]
    fn whoever_is_not_primary_says_who_is_but_not_for_ever() {
        let mut route = Route::new(vec![tcp("a:1"), tcp("b:1")]);
        assert!(route.after(&not_primary("c:1")) && *route.present() == tcp("c:1"));
        assert!(route.after(&not_primary("b:1")) && *route.present() == tcp("b:1"));
        assert!(route.after(&not_primary("c:1")), "the next of the round");
        assert_eq!(*route.present(), tcp("a:1"));
        assert!(!route.after(&not_primary("")), "nobody is primary: a pause");
        route.serves();
        assert!(route.after(&not_primary("c:1")) && *route.present() == tcp("c:1"));
    }

    #[test]
    fn a_websocket_goes_to_a_websocket() {
        let mut route = Route::new(vec![Endpoint::of_http("http://a:1")]);
        assert!(route.after(&not_primary("ws://b:1/v1/ws")));
        assert_eq!(*route.present(), Endpoint::of_http("http://b:1"));
    }
}
