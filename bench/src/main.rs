//! Benchmarks of polykey, as whole processes beside yardsticks.
//!
//! `cargo run --release -p polykey-bench` measures everything and writes `docs/benchmarks.md` and its
//! plots; `-- --quick` leaves out what takes minutes. Machines are noisy, so every figure is a median,
//! run in turn with its yardstick in the same call, and what counts is the ratio.
//!
//! Start at [`cases`]; [`measure`](polykey_bench::measure) holds the method, [`report`] the page, and [`ground`]
//! clears up.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use polykey_bench::{cases, ground, node, report, stream, yardstick};

#[derive(Parser)]
#[command(about = "Measures polykey beside yardsticks and writes docs/benchmarks.md")]
struct Args {
    /// Leave out what takes minutes: the largest size of each case that grows.
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this text, which may be given again; prints them and leaves the page alone.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The program to measure; without it the release binary is built.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The folder for the page and its plots.
    #[arg(long, default_value = "docs")]
    out: PathBuf,
    #[command(subcommand)]
    yardstick: Option<Yardstick>,
}

/// The yardsticks that are processes of their own; the benchmark starts itself with these.
#[derive(Subcommand)]
enum Yardstick {
    /// A bare clap and hyper process that reads a body from a Unix socket and prints it.
    #[command(hide = true)]
    SocketRead {
        /// The socket.
        socket: PathBuf,
    },
    /// The sending end of a bare stream.
    #[command(hide = true)]
    StreamServe,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    match args.yardstick {
        Some(Yardstick::SocketRead { socket }) => return yardstick::socket_read(&socket),
        Some(Yardstick::StreamServe) => return stream::serve(),
        None => ground::guard()?,
    }
    let scope = cases::Scope {
        quick: args.quick,
        only: args.only,
    };
    scope.check()?;
    let node = node::Node::start(args.binary)?;
    let mut report = report::Report::default();
    report.machine("at the start");
    cases::run(&node, &scope, &mut report)?;
    report.machine("at the end");
    report.print();
    if scope.only.is_empty() {
        report.write(&args.out)?;
    }
    Ok(())
}
