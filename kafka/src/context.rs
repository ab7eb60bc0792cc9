//! What librdkafka reports while it works: kept, so that an error can say more than "timed out".

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether Kafka does not let a client in, or do what it wants: not who it says it is, or without the right.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// One client's.
#[derive(Debug, Default)]
pub(crate) struct Context {
    reported: Mutex<Reported>,
}

#[derive(Debug, Default)]
struct Reported {
    /// No node could be reached, and none has been since, as far as is known.
    is_down: bool,
    /// The last that went wrong is that it was not let in.
    is_refused: bool,
    /// The last that went wrong.
    last: Option<String>,
    /// The first record that was not delivered.
    undelivered: Option<KafkaError>,
}

impl Context {
    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.reported().is_down
    }

    /// Whether Kafka is there, and does not let this client in.
    pub(crate) fn is_refused(&self) -> bool {
        self.reported().is_refused
    }

    /// It was told that none can be reached. That one can be again librdkafka does not report: it is seen by what comes.
    pub(crate) fn told_down(&self) {
        self.reported().is_down = false;
    }

    /// What went wrong last, or `other`.
    pub(crate) fn why(&self, other: impl std::fmt::Display) -> String {
        self.reported().last.clone().unwrap_or_else(|| other.to_string())
    }

    pub(crate) fn undelivered(&self) -> Option<KafkaError> {
        self.reported().undelivered.clone()
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, fac: &str, log_message: &str) {
        tracing::debug!(target: "librdkafka", "{fac} {log_message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            // That all was read is nothing that went wrong.
            return;
        }
        let mut reported = self.reported();
        reported.is_refused = match error.rdkafka_error_code() {
            // It says no more than that; what came before says why.
            Some(RDKafkaErrorCode::AllBrokersDown) => reported.is_refused,
            code => code.is_some_and(is_refusal),
        };
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            reported.is_down = true;
            reported.last.get_or_insert_with(|| reason.to_owned());
        } else {
            reported.last = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.reported().undelivered.get_or_insert_with(|| error.clone());
        }
    }
}
