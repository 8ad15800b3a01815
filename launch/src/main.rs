//! The `egogrid` binary: everything is in the library, so that tests can assemble the same pipeline.

use std::process::ExitCode;

fn main() -> ExitCode {
    egogrid_launch::main()
}
