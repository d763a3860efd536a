#![doc = include_str!("../README.md")]
#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how a test kit reports"
)]

mod canonical;
mod cases;
mod context;
#[cfg(feature = "faulty-store")]
mod faulty_store;
#[cfg(feature = "flight-sql")]
mod flight_sql;
mod held;
pub mod loads;
#[cfg(feature = "mongo")]
pub mod mongo;
pub mod postgres;
pub mod python;
pub mod redis;
mod report;
mod require;
mod s3;
mod small_disk;
mod subject;
mod support_table;
mod type_cases;

pub use canonical::canonical_rows;
#[cfg(feature = "faulty-store")]
pub use faulty_store::{Fate, FaultyStore, StoreCall, StoreStep};
#[cfg(feature = "flight-sql")]
pub use flight_sql::{AnnouncedSchema, ExpiredTickets, FlightSqlBehaviour, ThrowawayFlightSql};
pub use postgres::{PostgresPrograms, PostgresSetup, ThrowawayPostgres};
pub use redis::ThrowawayRedis;
pub use report::{CaseOutcome, ConformanceReport};
pub use require::{is_required, skip};
pub use s3::ThrowawayS3;
pub use small_disk::SmallDisk;
pub use subject::{Refusal, Subject};
pub use support_table::check_support_table;
pub use type_cases::{TypeCase, type_cases};

/// Runs the conformance suite over a loader. See the crate's page.
///
/// A case never stops the others; [`ConformanceReport::assert`] panics with every case that failed. Each says how it ended as soon
/// as it has. With the environment variable `ARROWLOAD_CASE` only the cases run whose names contain its text, which does not prove
/// conformance.
pub async fn conformance(subject: &dyn Subject) -> ConformanceReport {
    let wanted = std::env::var("ARROWLOAD_CASE").unwrap_or_default();
    cases::run(subject, |name| name.contains(&wanted)).await
}

/// Runs only the cases whose names are wanted: for looking into one. It is not proof that a loader conforms.
pub async fn conformance_of(
    subject: &dyn Subject,
    wanted: impl Fn(&str) -> bool,
) -> ConformanceReport {
    cases::run(subject, wanted).await
}

/// The names of all cases, in the order in which [`conformance`] runs them.
pub fn case_names() -> Vec<String> {
    cases::names()
}
