//! Unguessable numbers from a secret that came from outside.

/// SipHash-1-3 (Aumasson and Bernstein) of two words under a 128-bit key. Whoever sees some of its values
/// cannot tell the others, nor the key.
pub(crate) fn keyed(secret: u128, a: u64, b: u64) -> u64 {
    let (k0, k1) = (secret as u64, (secret >> 64) as u64);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last block carries the input's length, 16 bytes.
    for block in [a, b, 16 << 56] {
        v[3] ^= block;
        round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard library's default hasher is SipHash-1-3 with a zero key.
    #[test]
    #[allow(deprecated, reason = "the keyed standard hasher is 2-4; the default one is 1-3")]
    fn agrees_with_the_standard_library() {
        use std::hash::Hasher;
        for n in 0..100_u64 {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write_u64(n);
            hasher.write_u64(n * 77);
            assert_eq!(keyed(0, n, n * 77), hasher.finish());
        }
        assert_ne!(keyed(1, 2, 3), keyed(2, 2, 3));
    }
}
