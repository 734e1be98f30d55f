//! How bytes are cut into pieces.

/// Endless sizes of pieces, mostly a few bytes and sometimes thousands. They follow from the bytes, so that an
/// input that fails once fails always.
pub fn sizes(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    // FNV-1a, then xorshift64: enough to vary the borders.
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    }) | 1;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let size = state >> 8;
        let most = [1, 4, 16, 64, 256, 4_096][(state % 6) as usize];
        Some(1 + (size % most) as usize)
    })
}
