//! Connections: how many a server lets in, against how many the buyers may be; and which limit it was that refused some.

use super::capacity::Question;
use super::model::RunReport;
use super::words::{count, plural, were};

/// `limits.connections` of a server that does not say otherwise.
const USUAL: u32 = 20_000;
/// Open files that a server has beside connections, as it reckons itself.
const FILES_BESIDE: u64 = 256;
/// By so many a limit may be missed that is hit: connections of HTTP count too, and come and go.
const NEARLY: u64 = 16;

/// Connections that the server takes in all, and whether that is known.
fn in_all(report: &RunReport) -> (u32, bool) {
    report.target.connections_limit.map_or((USUAL, false), |limit| (limit, true))
}

/// Of those so many from one address, if that is known and is a limit of its own.
fn of_address(report: &RunReport) -> Option<u32> {
    report.target.address_limit.filter(|limit| *limit > 0)
}

/// How many connections the buyers may be, against what the server takes.
pub(super) fn connections(report: &RunReport, question: Question) -> String {
    let (most, known) = in_all(report);
    let buyers = plural(question.buyers, "buyer");
    let has = if known {
        format!("this server takes {}", count(most.into()))
    } else {
        format!("this run does not tell what the server takes (the default is {})", count(most.into()))
    };
    let from_one = match report.target.address_limit {
        Some(0) => "any number of them from one address".to_owned(),
        Some(limit) => format!("{} of them from one address", count(limit.into())),
        None => "10,000 of them from one address unless it is set otherwise".to_owned(),
    };
    let remedy = match raise(report, question) {
        Some(raise) if question.buyers > u64::from(most) => {
            format!("TOO FEW if so: {raise}, or keep the others in a waiting room")
        }
        Some(raise) => format!("TOO FEW behind a proxy: {raise}, or keep the others in a waiting room"),
        None if !known => {
            "check `limits.connections`, `limits.connections_per_address` and the open files (LimitNOFILE)"
                .to_owned()
        }
        None if report.target.address_limit.is_some() => {
            "enough, also if all come from one address, as behind a proxy that ends TLS".to_owned()
        }
        None => {
            "enough, if `limits.connections_per_address` is (behind a proxy that ends TLS all come from one)"
                .to_owned()
        }
    };
    format!("Connections: {buyers} may be as many at once; {has}, {from_one}: {remedy}.")
}

/// What is to be raised, from what to what, if the server said that it lets fewer in than the buyers are.
pub(super) fn raise(report: &RunReport, question: Question) -> Option<String> {
    let low = |limit: &u32| question.buyers > u64::from(*limit);
    let all = report.target.connections_limit.filter(low);
    let one = of_address(report).filter(low);
    let from = |key: &str, limit: u32| format!("`limits.{key}` from {}", count(limit.into()));
    let proxy = "behind a proxy that ends TLS all connections come from one address";
    let what = match (all, one) {
        (None, None) => return None,
        (Some(all), Some(one)) => format!(
            "{} and {} (this one is hit first: {proxy})",
            from("connections", all),
            from("connections_per_address", one)
        ),
        (Some(all), None) if report.target.address_limit.is_none() => {
            format!("{} and `limits.connections_per_address` with it ({proxy})", from("connections", all))
        }
        (Some(all), None) => from("connections", all),
        (None, Some(one)) => format!("{} ({proxy})", from("connections_per_address", one)),
    };
    Some(format!(
        "raise {what} to at least {} in the server's frontrow.toml, and the open files (LimitNOFILE) to at least {}",
        count(question.buyers),
        count(question.buyers + FILES_BESIDE)
    ))
}

/// Which limit lets how many of the buyers in, in words, and how many that are: the one that is hit first.
pub(super) fn let_in(report: &RunReport, question: Question) -> (u32, String) {
    let (most, known) = in_all(report);
    let usual = if known { "" } else { " (the default)" };
    let enough = |most: u32| match question.buyers.saturating_sub(most.into()) {
        0 => "enough for all of them".to_owned(),
        out => format!("{} of them would be refused", count(out)),
    };
    let all = format!("`limits.connections` lets {}{usual} in, {}", count(most.into()), enough(most));
    match of_address(report).filter(|one| *one < most && question.buyers > u64::from(*one)) {
        Some(one) => {
            let from_one = format!(
                "; behind a proxy that ends TLS `limits.connections_per_address` lets {} in, {}",
                count(one.into()),
                enough(one)
            );
            (one, all + &from_one)
        }
        None => (most, all),
    }
}

/// What to say of connections that the server refused, if it refused any: which limit was hit, as far as it can be told.
pub fn refused_connections(report: &RunReport) -> Option<String> {
    let failed = report.totals.connect_failed;
    if failed == 0 {
        return None;
    }
    let (refused, own) = (were(failed, "connection"), u64::from(report.load.connections));
    let Some(all) = report.target.connections_limit.map(u64::from) else {
        return Some(format!(
            "{refused} refused: see limits.connections, limits.connections_per_address and the open files (LimitNOFILE) of the \
             server; it does not say what they are."
        ));
    };
    let seen = report.series.iter().map(|sample| sample.cores.iter().map(|core| core.connections).sum());
    let open: u64 = seen.max().filter(|seen| *seen > 0).unwrap_or_else(|| report.totals.connected.min(own));
    let one = of_address(report).map(u64::from);
    let values = format!(
        "`limits.connections` is {}, `limits.connections_per_address` {}",
        count(all),
        one.map_or_else(|| "no limit of its own".to_owned(), count)
    );
    let hit = |key: &str| {
        format!(
            "{refused} refused: `limits.{key}` was hit, with {} open. {values}: both have to be above the {} of this load, and so \
             do the open files of the server (LimitNOFILE).",
            plural(open, "connection"),
            count(own)
        )
    };
    let is_hit = |open: u64, limit: u64| open + NEARLY >= limit;
    // All of the load come from one address; connections of others count in all.
    Some(match one {
        Some(one) if one <= all && is_hit(open.min(own), one) => hit("connections_per_address"),
        _ if is_hit(open, all) => hit("connections"),
        _ => format!(
            "{refused} refused, with {} open at most, which neither limit forbids ({values}): the server's open files \
             (LimitNOFILE) were spent, or it, or its machine, was too slow to let them in. See what it says.",
            plural(open, "connection")
        ),
    })
}
