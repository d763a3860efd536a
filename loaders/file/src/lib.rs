#![doc = include_str!("../README.md")]

mod config;
mod disk;
mod error;
mod existing;
#[cfg(test)]
mod faults;
mod loader;
mod local;
mod options;
mod place;
mod record;
mod remote;
mod session;
mod stage;
mod store_commit;
mod tables;
mod target;
#[cfg(test)]
mod testing;
mod types;
mod verify;
mod write;

pub use config::FileConfig;
pub use loader::FileLoader;
pub use options::{FileOptions, Format};
pub use session::FileSession;
pub use target::FileTarget;

arrowload_core::register_loader!(FileLoader);
