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
    /// What each that was tried since one served did last.
    tried: Vec<(Endpoint, ClientError)>,
}

impl Route {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        assert!(!endpoints.is_empty(), "a client needs an address");
        Self { endpoints, at: 0, told: None, failed: 0, followed: 0, tried: Vec::new() }
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
        self.tried.clear();
    }

    /// The present one failed with this error: goes on to the next. Whether that one is to be tried without a pause.
    pub(crate) fn after(&mut self, error: &ClientError) -> bool {
        let present = self.present().clone();
        self.tried.retain(|(endpoint, _)| *endpoint != present);
        self.tried.push((present, error.clone()));
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

    /// What became of all that were tried, the last one with this error: which of several is to be looked at is not known here.
    pub(crate) fn verdict(&self, last: ClientError) -> ClientError {
        // If all have answered, the last one's word is as good as any.
        let is_told = self.tried.iter().all(|(_, error)| matches!(error, ClientError::Wire { .. }));
        if last.is_lasting() || is_told || self.tried.len() < 2 {
            return last;
        }
        let endpoints: Vec<String> = self.tried.iter().map(|(endpoint, _)| endpoint.to_string()).collect();
        ClientError::Unreachable { endpoint: endpoints.join(" or "), reason: self.report() }
    }

    /// What each that was tried did last.
    pub(crate) fn report(&self) -> String {
        let each = |(endpoint, error): &(Endpoint, ClientError)| format!("{endpoint}: {}", briefly(error));
        self.tried.iter().map(each).collect::<Vec<_>>().join("; ")
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

/// What an address did, behind its name.
fn briefly(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { reason, .. } | ClientError::Closed { reason } => reason.clone(),
        ClientError::Wire { code: WireCode::NotPrimary, message, .. } if message.is_empty() => {
            "it is not the primary, and knows of none".into()
        }
        ClientError::Wire { code: WireCode::NotPrimary, message, .. } => {
            format!("it is not the primary, which is at {message}")
        }
        other => other.to_string(),
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

    #[test]
    fn in_the_end_it_is_said_what_each_did() {
        let mut route = Route::new(vec![tcp("a:1"), tcp("b:1")]);
        route.after(&dead());
        assert_eq!(route.verdict(dead()), dead(), "one only");
        route.after(&not_primary("a:1"));
        let said = route.verdict(not_primary("a:1")).to_string();
        let each = "tcp://a:1: dead; tcp://b:1: it is not the primary, which is at a:1";
        assert!(said.starts_with(&format!("cannot reach tcp://a:1 or tcp://b:1: {each}")), "{said}");
        let lasting = ClientError::Protocol("x".into());
        assert_eq!(route.verdict(lasting.clone()), lasting);
        route.after(&not_primary(""));
        assert_eq!(route.verdict(not_primary("")), not_primary(""), "all have answered");
        route.serves();
        assert_eq!(route.report(), "");
    }
}
