//! The suite over the reference loader, and over loaders that are broken on purpose.

mod faults;
mod memory;
mod mutants;
mod postgres;
