//! Bytes of text that are looked at many at once.

/// Bytes that are looked at together: the compiler makes a few instructions of them.
const BLOCK: usize = 16;

/// Whether all bytes are so. To be fast, `is_so` must have no branches.
#[inline]
#[must_use]
pub fn all(bytes: &[u8], is_so: impl Fn(u8) -> bool) -> bool {
    let Some(last) = bytes.last_chunk::<BLOCK>() else {
        let short = by_ends::<8>(bytes, &is_so).or_else(|| by_ends::<4>(bytes, &is_so));
        return short.unwrap_or_else(|| bytes.iter().all(|byte| is_so(*byte)));
    };
    let mut found = [true; BLOCK];
    // The last block overlaps with the one before it.
    for block in bytes.as_chunks::<BLOCK>().0.iter().chain([last]) {
        for (found, byte) in found.iter_mut().zip(block) {
            *found &= is_so(*byte);
        }
    }
    found == [true; BLOCK]
}

/// The same of what has `N` bytes at least and twice as many at most.
#[inline]
fn by_ends<const N: usize>(bytes: &[u8], is_so: impl Fn(u8) -> bool) -> Option<bool> {
    let both = bytes.first_chunk::<N>()?.iter().chain(bytes.last_chunk::<N>()?);
    Some(both.fold(true, |all, byte| all & is_so(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_looked_at() {
        for len in 0..=3 * BLOCK {
            let mut bytes = vec![b'a'; len];
            assert!(all(&bytes, |byte| byte == b'a'), "{len}");
            for place in 0..len {
                bytes[place] = b'b';
                assert!(!all(&bytes, |byte| byte == b'a'), "{place} of {len}");
                bytes[place] = b'a';
            }
        }
    }
}
