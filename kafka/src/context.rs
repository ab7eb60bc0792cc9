//! What librdkafka reports while it works: kept, so that an error can say more than "timed out".

use crate::settings::Settings;
use frontrow_cdc::SinkError;
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

/// Whether this was Kafka's own answer: librdkafka's words for what it met by itself have numbers below zero.
fn is_answer(code: RDKafkaErrorCode) -> bool {
    code as i32 > 0
}

/// Whether a record was thrown away for what another one met.
fn is_purge(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight))
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
    /// Why a record was not delivered: the first that was not thrown away for another one, once it is known.
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

    /// Kafka has done something: what went wrong before is over, and is no reason for what goes wrong next.
    pub(crate) fn went_well(&self) {
        let mut reported = self.reported();
        (reported.is_down, reported.is_refused, reported.last) = (false, false, None);
    }

    /// What went wrong last, or `other`.
    pub(crate) fn why(&self, other: impl std::fmt::Display) -> String {
        self.reported().last.clone().unwrap_or_else(|| other.to_string())
    }

    /// A record was not delivered, or not taken.
    pub(crate) fn not_delivered(&self, error: KafkaError) {
        let known = &mut self.reported().undelivered;
        if known.as_ref().is_none_or(|known| is_purge(known) && !is_purge(&error)) {
            *known = Some(error);
        }
    }

    /// Whether all that is known of records is that they were thrown away for another one.
    pub(crate) fn lacks_reason(&self) -> bool {
        self.reported().undelivered.as_ref().is_some_and(is_purge)
    }

    pub(crate) fn undelivered(&self) -> Option<KafkaError> {
        self.reported().undelivered.clone()
    }

    /// What to say of records that were not written, and do about it: for what Kafka says of one, or what went wrong last, or
    /// `other`.
    pub(crate) fn unwritten(&self, settings: &Settings, other: impl std::fmt::Display) -> SinkError {
        let undelivered = self.undelivered();
        match undelivered.as_ref().and_then(KafkaError::rdkafka_error_code) {
            Some(code) if is_refusal(code) => SinkError::Refused(settings.refused(code)),
            Some(code) if is_answer(code) => SinkError::Away(settings.not_taken(code)),
            _ => SinkError::Away(settings.away(self.why(other))),
        }
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
            self.not_delivered(error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Format;
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, GroupAuthorizationFailed, InvalidRecord, MessageSizeTooLarge,
        MessageTimedOut, PurgeInflight, PurgeQueue, TopicAuthorizationFailed,
    };

    #[test]
    fn what_went_wrong_before_something_went_well_is_no_reason() {
        let context = Context::default();
        context.error(KafkaError::Global(BrokerTransportFailure), "Connect to b:9 failed: refused");
        context.error(KafkaError::Global(AllBrokersDown), "1/1 brokers are down");
        assert!(context.is_down());
        assert_eq!(context.why("timed out"), "Connect to b:9 failed: refused");
        context.went_well();
        assert!(!context.is_down());
        assert_eq!(context.why("timed out"), "timed out");
        context.error(KafkaError::Global(GroupAuthorizationFailed), "denied");
        assert!(context.is_refused());
        assert_eq!(context.why("timed out"), "denied");
        context.went_well();
        assert!(!context.is_refused());
    }

    /// After records were not delivered for these, in this order.
    fn after(codes: &[RDKafkaErrorCode]) -> Context {
        let context = Context::default();
        for code in codes {
            context.not_delivered(KafkaError::MessageProduction(*code));
        }
        context
    }

    #[test]
    fn the_reason_is_what_others_were_thrown_away_for() {
        let told = |codes: &[RDKafkaErrorCode]| after(codes).undelivered().unwrap().rdkafka_error_code();
        assert_eq!(told(&[PurgeQueue, PurgeInflight]), Some(PurgeQueue));
        assert_eq!(told(&[PurgeQueue, MessageSizeTooLarge, PurgeInflight]), Some(MessageSizeTooLarge));
        assert_eq!(told(&[PurgeInflight, InvalidRecord, MessageSizeTooLarge]), Some(InvalidRecord));
        assert!(after(&[PurgeQueue]).lacks_reason());
        assert!(!after(&[PurgeQueue, InvalidRecord]).lacks_reason() && !after(&[]).lacks_reason());
    }

    #[test]
    fn a_kafka_that_answered_is_not_to_be_started() {
        let settings = Settings {
            brokers: "b:9".into(),
            prefix: "p".into(),
            partitions: 1,
            replication: 1,
            client: [].into(),
            format: Format::Json,
            registry: None,
            cluster: 7,
        };
        let said = |codes: &[RDKafkaErrorCode]| {
            let context = after(codes);
            context.error(KafkaError::Global(BrokerTransportFailure), "Connect to b:9 failed: refused");
            context.unwritten(&settings, "no answer")
        };
        for (code, remedy) in [
            (MessageSizeTooLarge, "raise max.message.bytes of the topics p.*"),
            (InvalidRecord, "Kafka's log"),
        ] {
            let SinkError::Away(why) = said(&[PurgeQueue, code]) else { panic!("{code}") };
            assert!(why.contains(&code.to_string()) && why.contains(remedy), "{why}");
            assert!(!why.contains("start it") && !why.contains("Connect"), "{why}");
        }
        assert!(matches!(said(&[TopicAuthorizationFailed]), SinkError::Refused(why) if why.contains("sasl")));
        for code in [&[][..], &[PurgeQueue], &[MessageTimedOut]] {
            let SinkError::Away(why) = said(code) else { panic!("{code:?}") };
            assert!(why.contains("Connect to b:9 failed: refused; start it"), "{why}");
        }
    }
}
