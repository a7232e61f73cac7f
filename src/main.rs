//! The `mayfly` program. Refuses to do anything but hand over to the command line's room.

// A body is copied and a payload parsed for each delivery: a fifth of that was the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mayfly::cli::run()
}
