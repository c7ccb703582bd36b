//! Opening a page in the user's browser.
//!
//! Always: only for a person at a terminal with a screen; what is opened is the URL of a web page, given as one argument
//! to the desktop's own opener; nothing that opens the node stands in its environment. Where there is no opener, the
//! user opens the page that was shown.

use std::io::{IsTerminal, stdout};
use std::process::{Command, Stdio};

use polykey_client::background;

use crate::output::Output;

/// Longest URL that is opened.
const MAX_LEN: usize = 2048;

/// Opens `url` if there is a person and a screen. Returns at once; whether it worked, the user sees.
pub fn open(out: Output, url: &str) {
    if out.is_json() || !stdout().is_terminal() || !has_screen() || !is_page(url) {
        return;
    }
    let program = match cfg!(target_os = "macos") {
        true => "open",
        false => "xdg-open",
    };
    let mut command = Command::new(program);
    command.arg(url);
    for variable in background::SECRET_VARIABLES {
        command.env_remove(variable);
    }
    // An opener may be a browser for the terminal: it gets none, and ends.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It lives on when this program ends.
    let _ = command.spawn();
}

fn has_screen() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// True for what an opener takes for a web page, and for no option, file or other scheme.
fn is_page(url: &str) -> bool {
    url.len() <= MAX_LEN
        && url.bytes().all(|b| b.is_ascii_graphic())
        && ["https://", "http://"].iter().any(|scheme| {
            let rest = url.strip_prefix(scheme);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_pages_are_opened() {
        let check = |url: &str, want: bool| assert_eq!(is_page(url), want, "{url:?}");
        check("https://github.com/login/device", true);
        check("http://127.0.0.1:8080/login?x=1", true);
        check("https://[::1]/", true);
        for bad in [
            "",
            "--help",
            "-a",
            "https://",
            "https:///etc/passwd",
            "https://-x",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "HTTPS://github.com/",
            "https://github.com/ x",
            "https://github.com/\n",
            "https://github.com/\u{1b}[2J",
            "https://gith\u{fc}b.com/",
            "/etc/passwd",
            "github.com",
        ] {
            check(bad, false);
        }
        check(&format!("https://a{}", "b".repeat(MAX_LEN)), false);
    }
}
