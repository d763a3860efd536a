//! common/parquet
