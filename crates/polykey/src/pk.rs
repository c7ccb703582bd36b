//! `pk`: the short name of `polykey`, which lies beside it or on the search path.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let beside = std::env::current_exe()
        .ok()
        .map(|here| here.with_file_name("polykey"))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("polykey"));
    let error = Command::new(&beside).args(std::env::args_os().skip(1)).exec();
    eprintln!("polykey: error: cannot run {}: {error}", beside.display());
    ExitCode::from(69)
}
