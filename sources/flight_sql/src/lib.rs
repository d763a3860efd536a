#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod announced;
mod cancel;
mod channel;
mod config;
mod connect;
mod credentials;
mod decode;
mod error;
mod fetch;
mod listing;
mod oauth;
mod source;
mod statement;
mod stream;
mod tls;
mod transaction;

pub use config::FlightSqlConfig;
pub use source::FlightSqlSource;
pub use stream::{FlightBatch, FlightStream};
pub use transaction::Transaction;

arrowload_core::register_source!(FlightSqlSource);

/// What the fuzz target and the tests of malformed bytes call.
#[doc(hidden)]
pub mod fuzzing {
    use arrow_flight::FlightData;
    use arrowload_core::Result;

    use crate::decode::{Decoded, Decoder};

    /// Decodes messages as those of an endpoint, and answers how many rows they have.
    ///
    /// # Errors
    /// If they are malformed.
    pub fn decode(messages: Vec<FlightData>, max_batch_bytes: u64) -> Result<usize> {
        let mut decoder = Decoder::new(max_batch_bytes);
        messages.into_iter().try_fold(0_usize, |rows, message| {
            Ok(match decoder.decode(message)? {
                Decoded::Batch(batch) => rows.saturating_add(batch.num_rows()),
                Decoded::Schema(_) | Decoded::Nothing => rows,
            })
        })
    }
}
