//! Reading: a query's answer as Arrow batches, by `COPY (…) TO STDOUT` where it can be, from one connection or several.

mod listing;
mod parallel;
mod params;
mod source;
mod sql;
mod stream;

pub use source::PostgresqlSource;
