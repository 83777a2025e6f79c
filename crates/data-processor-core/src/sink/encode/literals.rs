//! Zstandard that looks for no repeats: Huffman codes only.
//!
//! Digits of ids and addresses repeat too little for matches to pay: their pages are as small without them and take less than half
//! the time.

use zstd::zstd_safe::{CCtx, CParameter, ParamSwitch, compress_bound};

/// Bytes the search skips: a whole block (`ZSTD_TARGETLENGTH_MAX`).
const SKIPPED: u32 = 1 << 17;

/// A compression context of our own.
pub struct Literals(CCtx<'static>);

impl Literals {
    /// A context; None when there is no memory, or the library does not know the parameters.
    pub fn new() -> Option<Literals> {
        let mut context = CCtx::try_create()?;
        let wanted = [
            CParameter::CompressionLevel(1),
            CParameter::TargetLength(SKIPPED),
            // Literals are coded although the search skips.
            CParameter::LiteralCompressionMode(ParamSwitch::Enable),
        ];
        wanted.into_iter().all(|parameter| context.set_parameter(parameter).is_ok()).then_some(Literals(context))
    }

    /// Compresses into `out`, whose content is lost; whether it was possible.
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        out.reserve(compress_bound(raw.len()));
        self.0.compress2(out, raw).is_ok()
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
