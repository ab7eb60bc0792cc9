//! The few calls that rdkafka has no safe and fast way for.

use crate::context::Context;
use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_request_timeout, rd_kafka_DescribeTopics,
    rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error,
    rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_least_significant_bits,
    rd_kafka_Uuid_most_significant_bits, rd_kafka_admin_op_t, rd_kafka_error_code,
    rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_t,
    rd_kafka_flush, rd_kafka_get_watermark_offsets, rd_kafka_header_add, rd_kafka_headers_destroy,
    rd_kafka_headers_new, rd_kafka_producev, rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll,
    rd_kafka_resp_err_t, rd_kafka_vtype_t,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;
use std::time::Duration;

/// Reports that are taken at a time.
const REPORTS: usize = 16;
/// For the report that says why others were thrown away, and how many may come before it.
const REASON: Duration = Duration::from_millis(50);
const REASONS: usize = 16;

/// Sends what waits at once, and waits until everything is delivered, at most this long. Whether it is.
///
/// [`Producer::flush`] waits for reports of deliveries, which successes do not make here, a tenth of a second at a time.
pub(crate) fn flush(producer: &BaseProducer<Context>, most: Duration) -> bool {
    let most = i32::try_from(most.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as the producer that it is borrowed from, and may be used by any thread.
    let flushed = unsafe { rd_kafka_flush(producer.client().native_ptr(), most) };
    for _ in 0..REPORTS {
        producer.poll(Duration::ZERO);
    }
    // What was thrown away is reported before what it was thrown away for.
    for _ in 0..REASONS {
        if !producer.context().lacks_reason() {
            break;
        }
        producer.poll(REASON);
    }
    flushed == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// A record on its way.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a CStr,
    pub(crate) partition: i32,
    /// None if it is empty.
    pub(crate) key: &'a [u8],
    /// None takes back what the key said before.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
}

/// Puts a record behind those that wait. It is copied.
///
/// [`BaseProducer::send`] allocates for the topic's name and the name of each header once more.
pub(crate) fn send(producer: &BaseProducer<Context>, record: Outgoing<'_>) -> Result<(), RDKafkaErrorCode> {
    let Outgoing { topic, partition, key, value, headers } = record;
    let of = |bytes: Option<&[u8]>| {
        bytes.map_or((null_mut(), 0), |it| (it.as_ptr().cast_mut().cast::<c_void>(), it.len()))
    };
    let (key, key_bytes) = of(Some(key).filter(|key| !key.is_empty()));
    let (value, value_bytes) = of(value);
    // SAFETY: a list of its own, which the record takes with it when it is taken, and which is ended here when it is not.
    // Names and values live as long as the call that copies them.
    let list = unsafe { rd_kafka_headers_new(headers.len()) };
    for (name, value) in headers {
        let (bytes, name_bytes) = (value.len().cast_signed(), name.len().cast_signed());
        // SAFETY: as above.
        unsafe { rd_kafka_header_add(list, name.as_ptr().cast(), name_bytes, value.as_ptr().cast(), bytes) };
    }
    // SAFETY: the client and all texts live as long as the call, and what follows a kind is what that kind is followed by.
    let error = unsafe {
        rd_kafka_producev(
            producer.client().native_ptr(),
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            partition,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            RD_KAFKA_MSG_F_COPY,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            value,
            value_bytes,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            key,
            key_bytes,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            list,
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        )
    };
    if error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: it was not taken.
    unsafe { rd_kafka_headers_destroy(list) };
    let error = RDKafkaErrorCode::from(error);
    if error != RDKafkaErrorCode::QueueFull {
        producer.context().not_delivered(KafkaError::MessageProduction(error));
    }
    Err(error)
}

/// Up to where a partition that is read has been written, as of the last answer.
pub(crate) fn high<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client and the text live as long as the call, and the two numbers are its own to write to.
    let found = unsafe {
        rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (found == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// Kafka's id of a topic, which it keeps until it is deleted, as 32 hexadecimal digits; none if Kafka gives none (before 2.8),
/// or not to this client. Waits at most this long.
///
/// rdkafka has no call for it.
pub(crate) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    most: Duration,
) -> Result<Option<String>, RDKafkaErrorCode> {
    let topic = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let most = i32::try_from(most.as_millis()).unwrap_or(i32::MAX);
    let (client, mut names) = (client.native_ptr(), [topic.as_ptr()]);
    // SAFETY: the client and the name live as long as the calls. What is made here is ended here, the answer last of all that
    // is read: the request keeps copies of its own, and a queue that is ended takes no answer that comes later.
    unsafe {
        let queue = rd_kafka_queue_new(client);
        let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options =
            rd_kafka_AdminOptions_new(client, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        rd_kafka_AdminOptions_set_request_timeout(options, most, null_mut(), 0);
        rd_kafka_DescribeTopics(client, topics, options, queue);
        let answer = rd_kafka_queue_poll(queue, most);
        let id = if answer.is_null() { Err(RDKafkaErrorCode::OperationTimedOut) } else { described(answer) };
        if !answer.is_null() {
            rd_kafka_event_destroy(answer);
        }
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_TopicCollection_destroy(topics);
        rd_kafka_queue_destroy(queue);
        id
    }
}

/// What an answer says of its one topic.
///
/// # Safety
///
/// It is an answer to [`rd_kafka_DescribeTopics`], and not ended.
unsafe fn described(answer: *mut rd_kafka_event_t) -> Result<Option<String>, RDKafkaErrorCode> {
    let mut count = 0;
    // SAFETY: as the caller says; all that is read is part of the answer.
    unsafe {
        let mut error = rd_kafka_event_error(answer);
        let topics = rd_kafka_DescribeTopics_result_topics(
            rd_kafka_event_DescribeTopics_result(answer),
            &raw mut count,
        );
        if error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && count > 0 {
            error = rd_kafka_error_code(rd_kafka_TopicDescription_error(*topics));
        }
        match error.into() {
            RDKafkaErrorCode::NoError if count > 0 => {}
            RDKafkaErrorCode::NoError
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::UnsupportedFeature => return Ok(None),
            code => return Err(code),
        }
        let id = rd_kafka_TopicDescription_topic_id(*topics);
        let half = |bits: i64| bits.cast_unsigned();
        let (high, low) =
            (half(rd_kafka_Uuid_most_significant_bits(id)), half(rd_kafka_Uuid_least_significant_bits(id)));
        Ok((high | low != 0).then(|| format!("{high:016x}{low:016x}")))
    }
}
