//! Bytes that a server can send: any sequence of headers and bodies has to end in rows or an error, in bounded memory.
#![no_main]

use arrow_flight::FlightData;
use libfuzzer_sys::fuzz_target;

/// Bytes that a batch may unpack to.
const MAX_BATCH_BYTES: u64 = 16 << 20;

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number) as usize)
}

/// Each message is the lengths of its header and body, then both; the last may be cut.
fn messages(mut bytes: &[u8]) -> Vec<FlightData> {
    let mut messages = Vec::new();
    while let (Some(header), Some(body)) = (number(&mut bytes), number(&mut bytes)) {
        let (header, rest) = bytes.split_at(header.min(bytes.len()));
        let (body, rest) = rest.split_at(body.min(rest.len()));
        messages.push(FlightData::new().with_data_header(header.to_vec()).with_data_body(body.to_vec()));
        bytes = rest;
    }
    messages
}

fuzz_target!(|bytes: &[u8]| {
    // What the decoder of Arrow panics over is caught, and is no finding.
    std::sync::LazyLock::force(&QUIET);
    let _ = arrowload_flight_sql::fuzzing::decode(messages(bytes), MAX_BATCH_BYTES);
});

/// libFuzzer's hook ends the process at each panic, caught or not.
static QUIET: std::sync::LazyLock<()> = std::sync::LazyLock::new(|| std::panic::set_hook(Box::new(|_| ())));
