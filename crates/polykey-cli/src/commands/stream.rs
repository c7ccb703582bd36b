//! Answers that come line by line.

use std::io::Write;

use polykey_api::{Endpoint, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{Autostart, Context};
use crate::output::{Done, cannot_write};

/// Asks `question` and prints what comes: in JSON as one array, else a text for each item. Memory holds one
/// item at a time.
///
/// # Errors
/// What the agent answers, or that the output cannot be written.
pub async fn print_array<Q: Serialize, A: Serialize + DeserializeOwned>(
    cx: &Context<'_>,
    endpoint: &'static Endpoint<Q, A>,
    question: &Q,
    human: impl Fn(&A) -> String,
) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut lines = link
        .ask(async |client| client.lines(endpoint, question).await)
        .await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let json = cx.out.is_json();
    let mut first = true;
    while let Some(item) = lines.next().await? {
        let text = if json {
            let before = if first { "[" } else { "," };
            format!("{before}{}", serde_json::to_string(&item).unwrap_or_default())
        } else {
            let mut text = human(&item);
            if !text.is_empty() {
                text.push('\n');
            }
            text
        };
        first = false;
        out.write_all(text.as_bytes())
            .map_err(|error| cannot_write(&error))?;
    }
    if json {
        let end: &[u8] = if first { b"[]\n" } else { b"]\n" };
        out.write_all(end).map_err(|error| cannot_write(&error))?;
    }
    out.flush().map_err(|error| cannot_write(&error))?;
    Ok(Done::All)
}
