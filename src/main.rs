//! The program `embergrid`. All that it does is a subcommand in `cli`.

use std::process::ExitCode;

/// Much of what a write cost beyond the bare call was taking and giving back memory with the
/// allocator of the C library. The library leaves the choice to the program that it is part of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embergrid::cli::run()
}
