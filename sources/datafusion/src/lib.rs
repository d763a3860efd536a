//! sources/datafusion
