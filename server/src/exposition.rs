//! What is counted, as OpenMetrics text. Counters lie where they are counted; they are read off when somebody asks, a family
//! at a time, and written by the library that knows the format.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// Below it every whole number is a `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What tells a sample from others of its family; none if it is the only one.
pub type Labels = Vec<(&'static str, String)>;

/// Families of samples, in the order in which they were read off.
#[derive(Debug, Default)]
pub struct Families(Vec<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, Buckets)>),
}

/// A histogram as it is.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Of all values.
    pub sum: f64,
    /// Upper bounds, rising, the last one infinite; and how many values lie below each and not below the one before.
    pub counts: Vec<(f64, u64)>,
}

impl Families {
    /// Something that only rises. `name` begins with `frontrow_` and has no `_total`; a family is read off once.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        of: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.add(name, help, Samples::Counter(of.into_iter().collect()));
    }

    /// Something that rises and falls.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        of: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        self.add(name, help, Samples::Gauge(of.into_iter().collect()));
    }

    /// The same of one sample without labels.
    pub fn value(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.gauge(name, help, [(Labels::new(), value)]);
    }

    /// How values lie.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        of: impl IntoIterator<Item = (Labels, Buckets)>,
    ) {
        self.add(name, help, Samples::Histogram(of.into_iter().collect()));
    }

    fn add(&mut self, name: &'static str, help: &'static str, samples: Samples) {
        debug_assert!(self.0.iter().all(|family| family.name != name), "{name} is read off twice");
        self.0.push(Family { name, help, samples });
    }

    /// The answer to who asks for all of it.
    pub fn answer(self) -> Response {
        let (mut registry, mut out) = (Registry::default(), String::with_capacity(16 << 10));
        registry.register_collector(Box::new(self));
        if encode_registry(&mut out, &registry).is_err() {
            return (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response();
        }
        out.push_str("# EOF\n");
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], out).into_response()
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.samples {
            Samples::Counter(_) => MetricType::Counter,
            Samples::Gauge(_) => MetricType::Gauge,
            Samples::Histogram(_) => MetricType::Histogram,
        };
        let mut out = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        match &self.samples {
            Samples::Counter(all) => {
                each(&mut out, all, |one, count| one.encode_counter::<Labels, _, u64>(count, None))
            }
            Samples::Gauge(all) => each(&mut out, all, |one, value| gauge(one, *value)),
            Samples::Histogram(all) => each(&mut out, all, |one, it| {
                let count = it.counts.iter().map(|(_, count)| count).sum();
                one.encode_histogram::<Labels>(it.sum, count, &it.counts, None)
            }),
        }
    }
}

/// Whole numbers without a point, as whoever reads them with other tools than Prometheus expects.
fn gauge(out: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
    if value.fract() == 0.0 && (0.0..EXACT).contains(&value) {
        return out.encode_gauge(&(value as u64));
    }
    out.encode_gauge(&value)
}

fn each<T>(
    out: &mut MetricEncoder<'_>,
    all: &[(Labels, T)],
    one: impl Fn(&mut MetricEncoder<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    all.iter().try_for_each(|(labels, sample)| {
        // The library writes `{}` for no labels, which readers of the page would have to know.
        if labels.is_empty() { one(out, sample) } else { one(&mut out.encode_family(labels)?, sample) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn families_are_written_as_they_were_read_off() {
        let mut families = Families::default();
        let core = |core: u16| vec![("core", core.to_string())];
        families.counter("frontrow_a", "Counted.", [(core(0), 3), (core(1), 4)]);
        families.value("frontrow_b", "Whole.", 7.0);
        families.gauge("frontrow_c", "Of what is not known.", []);
        families.gauge("frontrow_d", "Not whole.", [(vec![("text", "a\"b\\".to_owned())], 0.25)]);
        let buckets = Buckets { sum: 5.5, counts: vec![(1.0, 2), (4.0, 1), (f64::INFINITY, 1)] };
        families.histogram("frontrow_e", "Values.", [(core(0), buckets)]);
        let answer = families.answer();
        assert_eq!(
            answer.headers()[header::CONTENT_TYPE].to_str().unwrap().split(';').next().unwrap(),
            "application/openmetrics-text"
        );
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let wanted = r#"# HELP frontrow_a Counted.
# TYPE frontrow_a counter
frontrow_a_total{core="0"} 3
frontrow_a_total{core="1"} 4
# HELP frontrow_b Whole.
# TYPE frontrow_b gauge
frontrow_b 7
# HELP frontrow_c Of what is not known.
# TYPE frontrow_c gauge
# HELP frontrow_d Not whole.
# TYPE frontrow_d gauge
frontrow_d{text="a\"b\\"} 0.25
# HELP frontrow_e Values.
# TYPE frontrow_e histogram
frontrow_e_sum{core="0"} 5.5
frontrow_e_count{core="0"} 4
frontrow_e_bucket{le="1.0",core="0"} 2
frontrow_e_bucket{le="4.0",core="0"} 3
frontrow_e_bucket{le="+Inf",core="0"} 4
# EOF
"#;
        assert_eq!(text, wanted);
    }
}
