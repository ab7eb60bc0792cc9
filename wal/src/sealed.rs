//! Small files of text that a checksum ends: one spelling only, and no byte of it can be another.

/// `body`, whose lines all end, with its checksum as the last line.
pub fn sealed(body: &str) -> String {
    let crc = crc32c::crc32c(body.as_bytes());
    format!("{body}crc32c {crc:08x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_checksum_of_those_before() {
        assert_eq!(sealed("123456789"), "123456789crc32c e3069283\n", "RFC 3720, the check value");
    }
}
