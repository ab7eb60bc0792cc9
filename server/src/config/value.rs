//! Kinds of values: how each is read from text, and what to say is allowed.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// How one setting's text becomes a value.
pub(super) struct Kind<T> {
    /// What is allowed, for a message.
    pub(super) allowed: String,
    parse: Parse<T>,
}

type Parse<T> = Box<dyn Fn(&str) -> Option<T>>;

impl<T: 'static> Kind<T> {
    fn new(allowed: impl Into<String>, parse: impl Fn(&str) -> Option<T> + 'static) -> Self {
        Self { allowed: allowed.into(), parse: Box::new(parse) }
    }

    /// The value, if `text` is one.
    pub(super) fn parse(&self, text: &str) -> Option<T> {
        (self.parse)(text.trim())
    }
}

/// A whole number inside a range; underscores may group its digits.
pub(super) fn number<N>(range: RangeInclusive<N>) -> Kind<N>
where
    N: FromStr + PartialOrd + Display + 'static,
{
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    Kind::new(allowed, move |text| text.replace('_', "").parse().ok().filter(|n| range.contains(n)))
}

/// A power of two inside a range.
pub(super) fn power_of_two(range: RangeInclusive<u32>) -> Kind<u32> {
    let allowed = format!("a power of two from {} to {}", range.start(), range.end());
    let number = number(range);
    Kind::new(allowed, move |text| number.parse(text).filter(|n| n.is_power_of_two()))
}

/// A size in bytes inside a range, as `64MiB`, `64KiB`, `1GiB` or plain bytes.
pub(super) fn bytes(range: RangeInclusive<u64>) -> Kind<u64> {
    let allowed = format!(
        "a size like 64MiB (B, KiB, MiB, GiB) from {} to {}",
        show_bytes(*range.start()),
        show_bytes(*range.end())
    );
    Kind::new(allowed, move |text| parse_bytes(text).filter(|n| range.contains(n)))
}

/// A span of time inside a range, as `300s`, `5m`, `250ms`, `50us` or `24h`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let allowed = format!(
        "a time like 300s or 5m (us, ms, s, m, h) from {} to {}",
        show_duration(*range.start()),
        show_duration(*range.end())
    );
    Kind::new(allowed, move |text| parse_duration(text).filter(|t| range.contains(t)))
}

/// `off`, or a span of time inside a range.
pub(super) fn off_or_duration(range: RangeInclusive<Duration>) -> Kind<Option<Duration>> {
    let span = duration(range);
    Kind::new(format!("off, or {}", span.allowed), move |text| match text {
        "off" => Some(None),
        text => (span.parse)(text).map(Some),
    })
}

/// One of some words.
pub(super) fn choice<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    Kind::new(format!("one of {}", names.join(", ")), move |text| {
        words.iter().find(|(name, _)| *name == text).map(|&(_, value)| value)
    })
}

/// `true` or `false`.
pub(super) fn flag() -> Kind<bool> {
    choice(&[("true", true), ("false", false)])
}

/// An address with a port, both numbers.
pub(super) fn address() -> Kind<SocketAddr> {
    Kind::new("an address and a port like 127.0.0.1:7411, 0.0.0.0:7411 or [::]:7411", |text| {
        text.parse().ok()
    })
}

/// `off`, or an address with a port.
pub(super) fn off_or_address() -> Kind<Option<SocketAddr>> {
    Kind::new("off, or an address and a port like 127.0.0.1:7415", |text| match text {
        "off" => Some(None),
        text => text.parse().ok().map(Some),
    })
}

/// Any text; empty stands for "not set".
pub(super) fn text() -> Kind<Option<String>> {
    Kind::new("a text", |text| Some((!text.is_empty()).then(|| text.to_owned())))
}

/// Any text that is not empty.
pub(super) fn filled() -> Kind<String> {
    Kind::new("a text that is not empty", |text| (!text.is_empty()).then(|| text.to_owned()))
}

/// Texts, as `[a, b]`.
pub(super) fn list() -> Kind<Vec<String>> {
    Kind::new("a list like [\"http://127.0.0.1:2379\"]", |text| {
        let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let word = |word: &str| word.trim().trim_matches('"').to_owned();
        Some(text.split(',').map(word).filter(|word| !word.is_empty()).collect())
    })
}

/// Which CPUs the shards get, as it stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// All allowed CPUs, one left for HTTP if there are several.
    Auto,
    /// So many shards, on the first allowed CPUs.
    Count(usize),
    /// A shard on each of these CPUs.
    List(Vec<usize>),
}

/// `auto`, a number of shards, or a list of CPUs (in the environment: `[0,2]`).
pub(super) fn cores() -> Kind<Cores> {
    Kind::new("auto, a number of shards from 1 to 256, or a list of CPUs like [0, 2]", |text| {
        if text == "auto" {
            return Some(Cores::Auto);
        }
        let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            return text.parse().ok().filter(|n| (1..=256).contains(n)).map(Cores::Count);
        };
        cpus(list).map(Cores::List)
    })
}

/// `auto` (nothing), or a whole number.
pub(super) fn auto_or(range: RangeInclusive<u16>) -> Kind<Option<u16>> {
    let what = format!("auto, or a number from {} to {}", range.start(), range.end());
    Kind::new(what, move |text| {
        if text == "auto" {
            return Some(None);
        }
        text.parse().ok().filter(|n| range.contains(n)).map(Some)
    })
}

/// `auto` (nothing), or a list of CPUs (in the environment: `[0,2]`).
pub(super) fn some_cpus() -> Kind<Option<Vec<usize>>> {
    Kind::new("auto, or a list of CPUs like [0, 2]", |text| {
        if text == "auto" {
            return Some(None);
        }
        cpus(text.strip_prefix('[')?.strip_suffix(']')?).map(Some)
    })
}

fn cpus(list: &str) -> Option<Vec<usize>> {
    let list: Option<Vec<usize>> = list.split(',').map(|cpu| cpu.trim().parse().ok()).collect();
    list.filter(|cpus| cpus.len() <= 256)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    Some((text[..end].replace('_', "").parse().ok()?, text[end..].trim_start()))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (count, unit) = split_unit(text)?;
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(scale)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = split_unit(text)?;
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "" if count == 0 => 1,
        _ => return None,
    };
    count.checked_mul(micros).map(Duration::from_micros)
}

/// A size as it would be written in the configuration.
pub(super) fn show_bytes(n: u64) -> String {
    let unit = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match unit.into_iter().find(|(scale, _)| n >= *scale && n.is_multiple_of(*scale)) {
        Some((scale, name)) => format!("{}{name}", n / scale),
        None => format!("{n}B"),
    }
}

/// A span of time as it would be written in the configuration.
pub(super) fn show_duration(time: Duration) -> String {
    let micros = time.as_micros();
    let unit = [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
    match unit.into_iter().find(|(scale, _)| micros >= *scale && micros.is_multiple_of(*scale)) {
        Some((scale, name)) => format!("{}{name}", micros / scale),
        None => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_and_shown_alike() {
        for (text, n) in [("64MiB", 64 << 20), ("1_000B", 1000), ("12", 12), ("3 GiB", 3 << 30)] {
            assert_eq!(parse_bytes(text), Some(n), "{text}");
            assert_eq!(parse_bytes(&show_bytes(n)), Some(n));
        }
        for text in ["", "MiB", "1MB", "-1B", "99999999999999999999GiB", "18446744073709551615KiB", "1.5MiB"]
        {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for (text, micros) in
            [("300s", 300_000_000), ("5m", 300_000_000), ("250 ms", 250_000), ("50us", 50), ("0", 0)]
        {
            let time = Duration::from_micros(micros);
            assert_eq!(parse_duration(text), Some(time), "{text}");
            assert_eq!(parse_duration(&show_duration(time)), Some(time));
        }
        for text in ["300", "5 min", "s", "1.5s", "é", "18446744073709551615h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn cores_are_auto_a_number_or_a_list() {
        let read = |text| cores().parse(text);
        assert_eq!(read("auto"), Some(Cores::Auto));
        assert_eq!(read("3"), Some(Cores::Count(3)));
        assert_eq!(read("[0, 2]"), Some(Cores::List(vec![0, 2])));
        for text in ["0", "[]", "257", "[a]", "-1", "0,2"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
