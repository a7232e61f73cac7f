//! The `mayfly` program. Refuses to do anything but hand over to the command line's room.

fn main() -> std::process::ExitCode {
    mayfly::cli::run()
}
