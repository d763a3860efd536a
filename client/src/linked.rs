//! Made by `cargo xtask generate`: names the crates that are switched on, as the linker drops those that nobody names, and their
//! registrations with them.

#[cfg(feature = "loader-delta-lake")]
use loader_delta_lake as _;
#[cfg(feature = "loader-file")]
use loader_file as _;
#[cfg(feature = "loader-iceberg")]
use loader_iceberg as _;
#[cfg(feature = "loader-mongodb")]
use loader_mongodb as _;
#[cfg(feature = "loader-postgresql")]
use loader_postgresql as _;
#[cfg(feature = "loader-redis")]
use loader_redis as _;
#[cfg(feature = "source-datafusion")]
use source_datafusion as _;
#[cfg(feature = "source-flight-sql")]
use source_flight_sql as _;
