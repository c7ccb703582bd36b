//! Where a text occurs: in names, attributes and, when asked, in contents, of one vault or all.

use polykey_api::secrets::{Find, Found};
use polykey_api::{Code, Problem};
use polykey_core::SecretPath;
use polykey_vault::{EntryKind, FieldKind, Stat};
use tokio::sync::mpsc;

use super::opened::Opened;
use crate::agent::Agent;
use crate::blocking::{blocking, feed};
use crate::door::{Action, Caller};
use crate::vaults::problem::vault_problem;

/// Longest content that is searched in one piece; longer ones are searched in overlapping pieces.
const SEARCHED: usize = 1 << 20;

/// Where a text occurs.
pub async fn find(agent: Agent, caller: Caller, q: Find) -> Result<mpsc::Receiver<Found>, Problem> {
    let event = if q.content {
        "secrets.find.content"
    } else {
        "secrets.find"
    };
    let mut action = Action::new(event);
    if let Some(vault) = &q.vault {
        action = action.vault(vault);
    }
    if q.text.is_empty() {
        return Err(Problem::new(Code::Usage, "there is nothing to look for"));
    }
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let found = blocking(move || {
        let names = match &q.vault {
            Some(name) => vec![name.clone()],
            None => node.vaults.present(),
        };
        let wanted = Wanted::new(&q.text);
        let mut found = Vec::new();
        for name in names {
            let opened = Opened::new(&node, &name, None, None)?;
            for stat in opened.seen().walk(&SecretPath::root())? {
                if let Some(matched) = wanted.matches(&opened, &stat, q.content)? {
                    found.push(Found {
                        vault: opened.vault.name.clone(),
                        path: stat.path.as_str().to_owned(),
                        matched,
                        attributes: stat.attributes,
                    });
                }
            }
        }
        Ok(found)
    })
    .await?;
    Ok(feed(found))
}

/// A text that is looked for; without capitals, case does not count.
struct Wanted {
    text: String,
    exact: bool,
}

impl Wanted {
    fn new(text: &str) -> Wanted {
        let exact = text.chars().any(char::is_uppercase);
        Wanted {
            text: text.to_owned(),
            exact,
        }
    }

    fn is_in(&self, text: &str) -> bool {
        if self.exact {
            text.contains(&self.text)
        } else {
            text.to_lowercase().contains(&self.text)
        }
    }

    fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.is_in(text),
            Err(_) => {
                let same = |window: &[u8]| {
                    if self.exact {
                        window == self.text.as_bytes()
                    } else {
                        window.eq_ignore_ascii_case(self.text.as_bytes())
                    }
                };
                bytes.windows(self.text.len()).any(same)
            }
        }
    }

    fn matches(&self, opened: &Opened, stat: &Stat, content: bool) -> Result<Option<String>, Problem> {
        if self.is_in(stat.path.as_str()) {
            return Ok(Some("name".to_owned()));
        }
        let attribute = stat
            .attributes
            .iter()
            .find(|(key, value)| self.is_in(key) || self.is_in(value));
        if let Some((key, _)) = attribute {
            return Ok(Some(key.clone()));
        }
        let inside = match stat.kind {
            EntryKind::Directory => false,
            EntryKind::Record => self.in_record(opened, stat, content)?,
            EntryKind::Raw => content && self.in_content(opened, stat)?,
        };
        Ok(inside.then(|| "content".to_owned()))
    }

    /// Names of fields and what may be shown count always, what is concealed only with the content.
    fn in_record(&self, opened: &Opened, stat: &Stat, content: bool) -> Result<bool, Problem> {
        let record = opened.view.record(&stat.path);
        let record = record.map_err(|error| vault_problem(&opened.vault.name, error))?;
        Ok(record.fields().iter().any(|field| {
            let open = matches!(field.kind(), FieldKind::Text | FieldKind::Url);
            self.is_in(field.name()) || ((content || open) && self.is_in_bytes(field.value().expose()))
        }))
    }

    fn in_content(&self, opened: &Opened, stat: &Stat) -> Result<bool, Problem> {
        let problem = |error| vault_problem(&opened.vault.name, error);
        let mut reader = opened.view.open(&stat.path).map_err(problem)?;
        let mut window = zeroize::Zeroizing::new(Vec::new());
        while let Some(piece) = reader.next_piece().map_err(problem)? {
            window.extend_from_slice(piece);
            if window.len() >= SEARCHED {
                if self.is_in_bytes(&window) {
                    return Ok(true);
                }
                // The text may lie across the border.
                let keep = window.len().saturating_sub(self.text.len());
                window.drain(..keep);
            }
        }
        Ok(self.is_in_bytes(&window))
    }
}
