//! Where a registry is, and as whom it is asked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// A schema registry's address. It is shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// `host:port`.
    authority: String,
    /// What its paths begin with: nothing, or `/…`.
    path: String,
    /// The header that says who asks.
    login: Option<String>,
}

/// What is no address of a registry that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRegistry {
    /// Encrypted.
    #[error(
        "https:// is not spoken by this build, which has no TLS: put a proxy that speaks it beside the server, and set \
         http://127.0.0.1:port, or the registry's own http:// address in a private network"
    )]
    Tls,
    /// Something else.
    #[error(
        "is no address of a schema registry; write http://host:port, or http://user:password@host:port/path"
    )]
    Address,
}

impl Registry {
    /// Reads `http://[user:password@]host[:port][/path]`.
    pub fn parse(text: &str) -> Result<Self, BadRegistry> {
        if text.starts_with("https://") {
            return Err(BadRegistry::Tls);
        }
        let rest = text.strip_prefix("http://").ok_or(BadRegistry::Address)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let is_fine = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"?#@".contains(&b));
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if host.is_empty() || host.starts_with(':') || !is_port || !is_fine(host) || !is_fine(path) {
            return Err(BadRegistry::Address);
        }
        let authority = if port.is_some() { host.to_owned() } else { format!("{host}:80") };
        let login = user.map(login).transpose()?;
        Ok(Self { authority, path: path.trim_end_matches('/').to_owned(), login })
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }
}

/// `user:password`, whose special characters stand as `%40`, as the header that says it.
fn login(user: &str) -> Result<String, BadRegistry> {
    let text = percent_decode_str(user).decode_utf8().map_err(|_| BadRegistry::Address)?;
    let is_whole = text.contains(':') && !text.contains(char::is_control);
    is_whole.then(|| format!("Basic {}", STANDARD.encode(text.as_bytes()))).ok_or(BadRegistry::Address)
}

impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({self})")
    }
}
