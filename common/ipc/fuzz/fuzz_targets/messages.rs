//! Bytes that a Flight server can send: any sequence of heads and bodies has to end in rows or an error, in bounded memory. A
//! panic of Arrow's decoder, though it is caught, is a finding: it is to be refused before.
#![no_main]

use arrowload_common_ipc::Decoder;
use libfuzzer_sys::fuzz_target;

/// Bytes that a batch may unpack to.
const MAX_BATCH_BYTES: u64 = 16 << 20;

fn part(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (part, rest) = rest.split_at(length.min(rest.len()));
    *bytes = rest;
    Some(part.to_vec())
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes;
    let mut decoder = Decoder::new(MAX_BATCH_BYTES);
    // Each message is its head and its body, both after their lengths; the last may be cut.
    while let (Some(head), Some(body)) = (part(&mut bytes), part(&mut bytes)) {
        if decoder.decode(&head, body.into()).is_err() {
            break;
        }
    }
});
