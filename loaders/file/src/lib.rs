//! loaders/file
