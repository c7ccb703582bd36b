//! A person at a terminal: the program under `script` of util-linux, which gives it a terminal of its own.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::home::Home;

/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program and what it has shown.
pub struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    shown: Receiver<Vec<u8>>,
    text: String,
    read: usize,
}

impl Terminal {
    /// Runs the program without a password in its environment; `None`, with a printed reason, where there is no
    /// `script`. Under CI that is a failure.
    pub fn open(home: &Home, args: &[&str]) -> Option<Terminal> {
        Terminal::open_with(home, args, &[])
    }

    /// The same with more in its environment.
    pub fn open_with(home: &Home, args: &[&str], env: &[(&str, String)]) -> Option<Terminal> {
        if !is_there() {
            println!("skipped: there is no `script` of util-linux here");
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "`script` is missing"
            );
            return None;
        }
        let like = home.command(args);
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--flush", "--command"])
            .arg(format!("'{}' {}", env!("CARGO_BIN_EXE_polykey"), args.join(" ")))
            .arg("/dev/null")
            .current_dir(home.path())
            .env_clear()
            .envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("SHELL", "/bin/sh")
            // Without it nothing is ever drawn.
            .env("TERM", "xterm")
            .env_remove("PK_PASSWORD")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().expect("starts");
        let keys = child.stdin.take();
        let mut screen = child.stdout.take().expect("piped");
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Some(Terminal {
            child,
            keys,
            shown,
            text: String::new(),
            read: 0,
        })
    }

    /// Waits until `needle` is shown, and gives all that was shown before it and was not given yet.
    #[track_caller]
    pub fn until(&mut self, needle: &str) -> String {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.text[self.read..].find(needle) {
                let before = self.text[self.read..self.read + at].to_owned();
                self.read += at + needle.len();
                return before;
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error}: no {needle:?} in {:?}", self.text),
            }
        }
    }

    /// Types a line.
    #[track_caller]
    pub fn line(&mut self, text: &str) {
        self.keys(&format!("{text}\n"));
    }

    /// Types keys; `\u{3}` is Ctrl-C and `\u{4}` is Ctrl-D.
    #[track_caller]
    pub fn keys(&mut self, text: &str) {
        let keys = self.keys.as_mut().expect("open");
        keys.write_all(text.as_bytes())
            .and_then(|()| keys.flush())
            .expect("the terminal reads");
    }

    /// Waits for the end; gives the exit code and all that was shown.
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        while let Ok(bytes) = self.shown.recv_timeout(PATIENCE) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        drop(self.keys.take());
        let status = self.child.wait().expect("waits");
        (
            status.code().expect("script ends by itself"),
            std::mem::take(&mut self.text),
        )
    }

    /// Takes the terminal away, as when its window is closed: the program hangs up.
    pub fn close(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = self.child.wait();
        drop(self.keys.take());
    }
}

fn is_there() -> bool {
    Command::new("script")
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux"))
}
