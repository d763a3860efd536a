//! The `arrowload` command.

fn main() -> std::process::ExitCode {
    arrowload_cli::main()
}
