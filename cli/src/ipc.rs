//! Checks whether an Arrow stream on standard input is complete.

use std::fs::File;
use std::io::Read;

use arrowload_common_ipc::{End, end_of_stream};

use crate::exit::Failure;

/// Refuses a stream on standard input that may have been cut off.
pub(crate) fn check(mut file: &File, may_be_unmarked: bool) -> Result<(), Failure> {
    let mut first = [0; 4];
    // Input that begins differently is not a stream; its own reader checks it.
    if file.read_exact(&mut first).is_err() || first != [u8::MAX; 4] {
        return Ok(());
    }
    match end_of_stream(file)? {
        End::Unmarked if !may_be_unmarked => Err(Failure::failed(
            "the Arrow stream on standard input ended without its end marker, so that batches may be missing: its writer has to close it; \
             --no-end-marker takes it as it is",
        )),
        End::Followed(bytes) => Err(Failure::failed(format!(
            "{bytes} bytes follow the end of the Arrow stream on standard input: two streams are not one; query each for itself"
        ))),
        // What is broken is refused by its reader.
        _ => Ok(()),
    }
}
