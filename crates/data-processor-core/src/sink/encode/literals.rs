//! Zstandard that looks for no repeats: Huffman codes only.
//!
//! Digits of ids and addresses repeat too little for matches to pay: their pages are as small without them and take less than half
//! the time. The crate's safe interface lacks the one parameter that says so, which is why this file calls the C library.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use zstd::zstd_safe::zstd_sys::{
    ZSTD_CCtx, ZSTD_CCtx_setParameter, ZSTD_cParameter, ZSTD_compress2, ZSTD_compressBound, ZSTD_createCCtx, ZSTD_freeCCtx,
    ZSTD_isError,
};

/// `ZSTD_c_literalCompressionMode`, and `ZSTD_ps_enable`: literals are coded although the search skips.
const LITERAL_MODE: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam5;
const ENABLE: c_int = 1;
/// Bytes the search skips: a whole block (`ZSTD_TARGETLENGTH_MAX`).
const SKIPPED: c_int = 1 << 17;

/// A compression context of our own.
pub struct Literals(NonNull<ZSTD_CCtx>);

// SAFETY: a context is plain memory that refers to no thread; it belongs to one `Literals`.
unsafe impl Send for Literals {}
// SAFETY: whatever uses the context takes `&mut self`.
unsafe impl Sync for Literals {}

impl Literals {
    /// A context; None when there is no memory, or the library does not know the parameters.
    pub fn new() -> Option<Literals> {
        // SAFETY: the call has no preconditions; null is caught.
        let context = Literals(NonNull::new(unsafe { ZSTD_createCCtx() })?);
        let wanted = [
            (ZSTD_cParameter::ZSTD_c_compressionLevel, 1),
            (ZSTD_cParameter::ZSTD_c_targetLength, SKIPPED),
            (LITERAL_MODE, ENABLE),
        ];
        let accepted = wanted.into_iter().all(|(parameter, value)| {
            // SAFETY: the context is alive; parameters and values that are not known are answered with an error.
            unsafe { ZSTD_isError(ZSTD_CCtx_setParameter(context.0.as_ptr(), parameter, value)) == 0 }
        });
        accepted.then_some(context)
    }

    /// Compresses into `out`, whose content is lost; whether it was possible.
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        // SAFETY: the call only reckons.
        out.reserve(unsafe { ZSTD_compressBound(raw.len()) });
        let (into, room) = (out.as_mut_ptr().cast::<c_void>(), out.capacity());
        // SAFETY: the context is alive and ours alone; both buffers are as long as is said, and do not overlap.
        let written = unsafe { ZSTD_compress2(self.0.as_ptr(), into, room, raw.as_ptr().cast(), raw.len()) };
        // SAFETY: the call only looks at the number.
        if unsafe { ZSTD_isError(written) } != 0 {
            return false;
        }
        // SAFETY: so many bytes from the start were just written, and they are no more than the room.
        unsafe { out.set_len(written) };
        true
    }
}

impl Drop for Literals {
    fn drop(&mut self) {
        // SAFETY: the context came from `ZSTD_createCCtx` and is not used any more.
        unsafe { ZSTD_freeCCtx(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_writes_is_zstandard() {
        let mut literals = Literals::new().unwrap();
        let mut out = vec![1, 2, 3];
        for length in [0, 1, 5, 1_000, 131_072, 131_073, 500_000] {
            let raw: Vec<u8> =
                (0..length).map(|at: u64| b'0' + (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u8 % 10).collect();
            assert!(literals.compress(&raw, &mut out));
            assert_eq!(zstd::bulk::decompress(&out, raw.len()).unwrap(), raw);
            assert!(length < 1_000 || out.len() * 2 < raw.len(), "{} of {length}", out.len());
        }
    }
}
