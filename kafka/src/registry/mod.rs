//! A schema registry, through the HTTP interface that Confluent's has and others offer as well.
//!
//! It is asked when a writer begins, and when a reader meets a schema that is later than it: never for a record. One connection
//! a question, and only `http://`.

mod address;

pub use address::{BadRegistry, Registry};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer taken: a schema is a few thousand bytes.
const ANSWER_MAX: usize = 1 << 20;
/// Of what a registry says of an error.
const WORDS_MAX: usize = 400;
const KIND: &str = "application/vnd.schemaregistry.v1+json";

/// What a registry means by "there is no such": subject, version, schema.
const NONE: std::ops::RangeInclusive<u32> = 40_401..=40_403;

/// Why a registry did not do what it was asked. Each may be mended there while Frontrow runs, so each is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or is not well.
    #[error(
        "the schema registry at {at}: {why}; start it, or set kafka.registry to where it is; nothing is lost meanwhile"
    )]
    Away {
        /// Which.
        at: String,
        /// What happened.
        why: String,
    },
    /// Another schema stands there, and by its rules Frontrow's is no later version of it.
    #[error(
        "the schema registry at {at} does not take Frontrow's schema as a version of {subject}: {why}; other schemas stand \
         there: delete that subject, or set another kafka.prefix"
    )]
    Incompatible {
        /// Which.
        at: String,
        /// Under what name.
        subject: String,
        /// Its words.
        why: String,
    },
    /// Somebody else must ask.
    #[error(
        "the schema registry at {at} does not allow it ({status}): give kafka.registry a user who may, as \
         http://user:password@host:port, or register what `frontrow schema` prints under {subject}"
    )]
    Denied {
        /// Which.
        at: String,
        /// The HTTP status.
        status: u16,
        /// What it was asked for.
        subject: String,
    },
    /// It is none, or says what none says.
    #[error(
        "what is at {at} does not answer as a schema registry ({why}): set kafka.registry to the root of one, with its path if \
         it has one (Apicurio: http://host:port/apis/ccompat/v7)"
    )]
    Odd {
        /// Which.
        at: String,
        /// What it said.
        why: String,
    },
}

struct Answer {
    status: u16,
    body: Bytes,
}

#[derive(Deserialize)]
struct Identified {
    id: u32,
}

#[derive(Deserialize)]
struct Explained {
    schema: String,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
    #[serde(default)]
    message: String,
}

impl Registry {
    /// The id of a schema under a subject. It is registered there if it is not there yet, so whoever may not register can have
    /// had it registered.
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let body = serde_json::json!({ "schema": schema }).to_string();
        let known = self.ask(Method::POST, &format!("/subjects/{subject}"), &body)?;
        if self.refusal(&known, subject)?.is_none() {
            return self.read(&known).map(|Identified { id }| id);
        }
        let made = self.ask(Method::POST, &format!("/subjects/{subject}/versions"), &body)?;
        match self.refusal(&made, subject)? {
            None => self.read(&made).map(|Identified { id }| id),
            Some(refusal) => Err(self.odd(refusal.message)),
        }
    }

    /// The schema with an id, if there is one.
    pub fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let path = format!("/schemas/ids/{id}");
        let answer = self.ask(Method::GET, &path, "")?;
        match self.refusal(&answer, &path)? {
            None => self.read(&answer).map(|Explained { schema }| Some(schema)),
            Some(_) => Ok(None),
        }
    }

    /// That there is no such, if it says so; anything else but an answer is an error.
    fn refusal(&self, answer: &Answer, subject: &str) -> Result<Option<Refusal>, RegistryError> {
        let Answer { status, body } = answer;
        let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
        let why = || {
            let message = refusal.as_ref().map(|it| it.message.clone());
            let message = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
            format!("{status} {}", message.chars().take(WORDS_MAX).collect::<String>()).trim_end().to_owned()
        };
        let (at, subject) = (self.to_string(), subject.to_owned());
        match status {
            200 => Ok(None),
            404 if refusal.as_ref().is_some_and(|it| NONE.contains(&it.error_code)) => Ok(refusal),
            409 => Err(RegistryError::Incompatible { at, subject, why: why() }),
            401 | 403 => Err(RegistryError::Denied { at, subject, status: *status }),
            429 | 500.. => Err(RegistryError::Away { at, why: why() }),
            _ => Err(self.odd(why())),
        }
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, answer: &Answer) -> Result<T, RegistryError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.odd(error.to_string()))
    }

    fn odd(&self, why: String) -> RegistryError {
        RegistryError::Odd { at: self.to_string(), why }
    }

    fn ask(&self, method: Method, path: &str, body: &str) -> Result<Answer, RegistryError> {
        let away = |why: String| RegistryError::Away { at: self.to_string(), why };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| away(error.to_string()))?;
        let asked = async {
            tokio::time::timeout(PATIENCE, self.exchange(method, path, body))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
        };
        let answer = runtime.block_on(asked);
        // A look-up of its name may go on in a thread; nobody waits for it.
        runtime.shutdown_background();
        answer.map_err(away)
    }

    async fn exchange(&self, method: Method, path: &str, body: &str) -> Result<Answer, String> {
        fn said(error: impl std::fmt::Display) -> String {
            error.to_string()
        }
        let socket = TcpStream::connect(self.authority()).await.map_err(said)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(said)?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path()))
            .header(HOST, self.authority())
            .header(CONTENT_TYPE, KIND)
            .header(ACCEPT, format!("{KIND}, application/json"));
        if let Some(login) = self.login() {
            request = request.header(AUTHORIZATION, login);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).map_err(said)?;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(said)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(said)?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        tokio::pin!(connection, answered);
        // The connection moves what is asked and answered; when it ends first, the answer says why.
        tokio::select! {
            answer = &mut answered => return answer,
            _ = &mut connection => {}
        }
        answered.await
    }
}

#[cfg(test)]
mod tests;
