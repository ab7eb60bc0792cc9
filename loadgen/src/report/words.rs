//! Numbers as people read them.

/// `1234567` → `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 core`, `2,000 cores`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `19,996 of 20,000 seats`; `all 20,000 seats` if it is all of them.
pub(crate) fn of_all(seats: u64, all: u64) -> String {
    if seats >= all && all > 0 {
        return format!("all {}", plural(all, "seat"));
    }
    format!("{} of {}", count(seats), plural(all, "seat"))
}

/// `1 seat was`, `2,000 seats were`.
pub(crate) fn were(number: u64, one: &str) -> String {
    format!("{} {}", plural(number, one), if number == 1 { "was" } else { "were" })
}

/// What a server's answers wait for, in words.
pub(crate) fn durable(durability: &str) -> String {
    match durability {
        "memory" => "answers wait for nothing (memory only)".to_owned(),
        "local" => "an answer is sent when its log is on this disk (local)".to_owned(),
        "backup" => "an answer is sent when its log is on two disks (backup)".to_owned(),
        other => format!("answers wait for {other}"),
    }
}

/// `0 violations`, and loud from the first on.
pub(crate) fn violations(number: u64) -> String {
    match number {
        0 => "0 violations".to_owned(),
        1 => "1 VIOLATION".to_owned(),
        more => format!("{} VIOLATIONS", count(more)),
    }
}

/// A number with about three digits that matter: `0.42`, `3.1`, `42`, `12,300`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "-" } else { "" };
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        s if s < 1000.0 && s.fract() == 0.0 => format!("{value:.0}"),
        s if s < 0.001 => format!("{value:.1e}"),
        s if s < 0.1 => format!("{value:.3}"),
        s if s < 1.0 => format!("{value:.2}"),
        s if s < 9.95 => format!("{value:.1}"),
        s if s < 10_000.0 => format!("{sign}{}", count(s.round() as u64)),
        s => {
            let unit = 10_f64.powi(s.log10().floor() as i32 - 2);
            format!("{sign}{}", count(((s / unit).round() * unit) as u64))
        }
    }
}

/// The same, never more than `value`: what a promise is given on.
pub(crate) fn number_down(value: f64) -> String {
    if !value.is_finite() || value < 1.0 {
        return number(value);
    }
    let unit = 10_f64.powi(value.log10().floor() as i32 - 2).max(if value < 10.0 { 0.1 } else { 1.0 });
    number((value / unit).floor() * unit)
}

/// Microseconds: `85 µs`, `3.1 ms`, `1.2 s`.
pub(crate) fn micros(us: f64) -> String {
    match us {
        us if !us.is_finite() => "–".to_owned(),
        us if us < 999.5 => format!("{} µs", number(us)),
        us if us < 999_500.0 => format!("{} ms", number(us / 1e3)),
        us => seconds(us / 1e6),
    }
}

/// Seconds: `0.42 s`, `42 s`, `3 min 20 s`, `1 h 5 min`.
pub(crate) fn seconds(s: f64) -> String {
    if !s.is_finite() {
        return "–".to_owned();
    }
    let whole = s.round() as u64;
    match whole {
        0..120 => format!("{} s", number(s)),
        120..7200 if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ if (whole % 3600) / 60 == 0 => format!("{} h", count(whole / 3600)),
        _ => format!("{} h {} min", count(whole / 3600), (whole % 3600) / 60),
    }
}

/// Bytes in binary units: `640 KiB`, `1.5 GiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", number(value), UNITS[unit])
}

/// A share: `0.052` → `5.2 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// `a / b`; 0 where that is not a number.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if quotient.is_finite() { quotient } else { 0.0 }
}

/// The command that a report was made by, changed: before its scenario comes `first`, some options go, others come. Of
/// questions it has the one that is answered, not what was asked when the report was made.
/// `frontrow-loadgen search onsale --server …`. Without a known command the scenario alone.
pub(crate) fn follow_up(
    report: &super::model::RunReport,
    question: super::Question,
    first: &str,
    more: &str,
) -> String {
    let (kept, asked) = (kept(report, &["--seats"]), question.options(report));
    format!("frontrow-loadgen {first}{}{kept}{asked}{more}", report.name)
}

/// The options by which a report's command found its server: ` --server …`.
pub(crate) fn same_server(report: &super::model::RunReport) -> String {
    kept(report, &[])
}

/// Of a report's command the options that find the server, and those of `more`.
fn kept(report: &super::model::RunReport, more: &[&str]) -> String {
    let mut kept = String::new();
    let mut words = report.command.split_whitespace().skip(1).skip_while(|word| *word != report.name).skip(1);
    while let Some(word) = words.next() {
        let (name, has_value) = word.split_once('=').map_or((word, false), |(name, _)| (name, true));
        let of_server = ["--server", "--data", "--admin-key", "--transport", "--tcp"].contains(&name);
        if !of_server && !more.contains(&name) {
            continue;
        }
        kept = kept + " " + word;
        if let Some(value) = (!has_value).then(|| words.next()).flatten() {
            kept = kept + " " + value;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let said = [0.0, 0.000_12, 0.042, 0.42, 3.12, 42.4, 9_999.0, 1_234_567.0, -12_345.0].map(number);
        assert_eq!(said, ["0", "1.2e-4", "0.042", "0.42", "3.1", "42", "9,999", "1,230,000", "-12,300"]);
        assert_eq!([85.0, 3100.0, 1.2e6].map(micros), ["85 µs", "3.1 ms", "1.2 s"]);
        assert_eq!(
            [42.0, 200.0, 300.0, 3900.0, 7200.0].map(seconds),
            ["42 s", "3 min 20 s", "5 min", "65 min", "2 h"]
        );
        assert_eq!(
            (bytes(1536.0), percent(0.052), count(1000)),
            ("1.5 KiB".into(), "5.2 %".into(), "1,000".into())
        );
        assert_eq!(
            (plural(1, "core"), plural(2000, "core"), plural(0, "core")),
            ("1 core".into(), "2,000 cores".into(), "0 cores".into())
        );
        let down = [37_199.0, 999.9, 12.8, 1.97, 9_999_999.0].map(number_down);
        assert_eq!(down, ["37,100", "999", "12", "1.9", "9,990,000"]);
        assert_eq!((number(f64::NAN), ratio(1.0, 0.0)), ("–".to_owned(), 0.0));
    }
}
