//! The command with a loader of somebody else's crate in it, which it is enough to name.
//!
//! `cargo run -p arrowload-cli --example with_a_loader -- loaders`

use arrowload_plugin_template as _;

fn main() -> std::process::ExitCode {
    arrowload_cli::main()
}
