//! loader-core
