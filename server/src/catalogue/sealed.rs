//! A head's checksum: the last field of its JSON object, over every byte before it.
//!
//! JSON says of a flipped bit in a name or a rule only that it is another name or rule. With its last field a head
//! speaks for itself, also where nobody is there to hold it against another copy.

/// Between the bytes that are summed and the eight hexadecimal digits of their CRC-32C.
const FIELD: &[u8] = b",\"crc32c\":\"";
const DIGITS: usize = 8;
const END: &[u8] = b"\"}";

/// What the last field says of the bytes before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// They are what was written.
    Whole,
    /// They are not, or the field is not.
    Broken,
    /// There is no such field.
    Missing,
}

/// Adds the checksum to a JSON object of at least one field.
pub(super) fn seal(mut object: Vec<u8>) -> Vec<u8> {
    let closing = object.pop();
    debug_assert_eq!(closing, Some(b'}'), "an object ends in a brace");
    let sum = crc32c::crc32c(&object);
    object.extend_from_slice(FIELD);
    object.extend_from_slice(format!("{sum:08x}").as_bytes());
    object.extend_from_slice(END);
    object
}

/// Looks at the checksum of what [`seal`] has made, or of an object without one.
pub(super) fn look(bytes: &[u8]) -> Seal {
    let Some((object, tail)) = bytes.split_last_chunk::<{ FIELD.len() + DIGITS + END.len() }>() else {
        return Seal::Missing;
    };
    let (field, rest) = tail.split_at(FIELD.len());
    let (digits, end) = rest.split_at(DIGITS);
    match (field == FIELD, end == END) {
        (true, true) if digits == format!("{:08x}", crc32c::crc32c(object)).as_bytes() => Seal::Whole,
        (true, true) => Seal::Broken,
        _ => Seal::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let sealed = seal(br#"{"name":"Gala","rows":[1,2]}"#.to_vec());
        assert_eq!(look(&sealed), Seal::Whole);
        let value: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
        assert_eq!(value["rows"][1], 2, "it is still one object");
        for bit in 0..sealed.len() * 8 {
            let mut harmed = sealed.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(look(&harmed), Seal::Whole, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(look(&sealed[..length]), Seal::Missing, "cut to {length}");
        }
    }
}
