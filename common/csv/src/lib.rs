#![doc = include_str!("../README.md")]

mod dialect;
mod frame;
mod masks;
mod number;
mod syntax;
mod text;
mod tokens;
mod walk;
