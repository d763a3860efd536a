//! Files and streams: any bytes have to end in rows or an error, in bounded memory, by the footer and forward. A panic of Arrow's
//! decoder, though it is caught, is a finding: it is to be refused before.
#![no_main]

use std::io::Cursor;

use arrowload_common_ipc::{IpcOptions, IpcReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut options = IpcOptions::default();
    options.max_batch_bytes = 16 << 20;
    for is_forward in [false, true] {
        let input = Cursor::new(bytes.to_vec());
        let reader = match is_forward {
            true => IpcReader::forward("fuzzed", input, &options),
            false => IpcReader::open("fuzzed", input, &options),
        };
        if let Ok(reader) = reader {
            reader.for_each(drop);
        }
    }
});
