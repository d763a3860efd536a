#![doc = include_str!("../README.md")]

mod config;
mod disk;
mod error;
mod existing;
#[cfg(test)]
mod faulty_store;
mod loader;
mod local;
mod options;
mod place;
mod record;
mod remote;
mod session;
mod store_commit;
mod target;
mod types;
mod verify;
mod write;

pub use config::FileConfig;
pub use loader::FileLoader;
pub use options::{FileOptions, Format};
pub use session::FileSession;

arrowload_core::register_loader!(FileLoader);
