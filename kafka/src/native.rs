//! The few calls that rdkafka has no safe and fast way for.

use crate::context::Context;
use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, rd_kafka_flush, rd_kafka_get_watermark_offsets, rd_kafka_header_add,
    rd_kafka_headers_destroy, rd_kafka_headers_new, rd_kafka_producev, rd_kafka_resp_err_t, rd_kafka_vtype_t,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer};
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;
use std::time::Duration;

/// Reports that are taken at a time.
const REPORTS: usize = 16;

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
    Err(error.into())
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
