//! The Redis serialization protocol, version 2, as far as a load needs it: commands out, plain replies in.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use crate::LoadError;
use std::io::Write as _;

/// A reply that is not an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// `+OK`
    Simple(&'a [u8]),
    /// `-ERR …`
    Error(&'a [u8]),
    /// `:42`
    Integer(i64),
    /// `$3` and three bytes; `None` is `$-1`.
    Bulk(Option<&'a [u8]>),
}

/// Writes a command: an array of byte strings.
pub(crate) fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    head(b'*', words.len(), out);
    for word in words {
        head(b'$', word.len(), out);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn head(kind: u8, number: usize, out: &mut Vec<u8>) {
    out.push(kind);
    // Writing to memory does not fail.
    let _ = write!(out, "{number}\r\n");
}

/// The first reply of `bytes` and what is behind it; `None` until it is whole.
pub(crate) fn reply(bytes: &[u8]) -> Result<Option<(Reply<'_>, &[u8])>, LoadError> {
    let Some((line, rest)) = line(bytes) else { return Ok(None) };
    let wrong = || LoadError::Wrong(format!("no reply of Redis: {:?}", String::from_utf8_lossy(line)));
    let (kind, text) = line.split_first().ok_or_else(wrong)?;
    let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    let found = match kind {
        b'+' => Reply::Simple(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Integer(number().ok_or_else(wrong)?),
        b'$' => match number().ok_or_else(wrong)? {
            -1 => Reply::Bulk(None),
            length => {
                let length = usize::try_from(length).map_err(|_| wrong())?;
                let Some(behind) = length.checked_add(2).and_then(|whole| rest.get(whole..)) else {
                    return Ok(None);
                };
                if &rest[length..length + 2] != b"\r\n" {
                    return Err(wrong());
                }
                return Ok(Some((Reply::Bulk(Some(&rest[..length])), behind)));
            }
        },
        _ => return Err(wrong()),
    };
    Ok(Some((found, rest)))
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        command(&[b"FCALL", b"", b"a\r\nb"], &mut out);
        assert_eq!(out, b"*3\r\n$5\r\nFCALL\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn replies_are_read_at_every_cut() {
        let stream = b"+OK\r\n-ERR no\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n$0\r\n\r\n";
        let all = [
            Reply::Simple(b"OK"),
            Reply::Error(b"ERR no"),
            Reply::Integer(-7),
            Reply::Bulk(Some(b"a\r\nb")),
            Reply::Bulk(None),
            Reply::Bulk(Some(b"")),
        ];
        for cut in 0..=stream.len() {
            let (mut rest, mut seen) = (&stream[..cut], Vec::new());
            while let Some((found, behind)) = reply(rest).expect("a reply") {
                seen.push(found);
                rest = behind;
            }
            assert_eq!(seen, all[..seen.len()], "cut at {cut}");
            assert_eq!(seen.len() == all.len(), cut == stream.len(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bytes in [&b"?\r\n"[..], b"\r\n", b":x\r\n", b"$-2\r\n", b"$1\r\nabc", b"*1\r\n"] {
            assert!(reply(bytes).is_err(), "{bytes:?}");
        }
    }
}
