//! Bringing several files in: one commit, the contents streamed as frames.

use std::io::{self, Read};

use axum::body::Body;
use polykey_api::Problem;
use polykey_api::frames::{self, Frame, FrameReader};
use polykey_api::secrets::{Import, ImportHead, Imported};
use polykey_core::SecretPath;
use polykey_vault::{Change, Expect, Parents, Staged, VaultError};

use super::changes::is_directory;
use super::secrets::on_one;
use crate::agent::Agent;
use crate::blocking::{BodyReader, blocking};
use crate::door::Caller;
use crate::vaults::problem::{path_problem, vault_problem};
use crate::vaults::select::new_path;

/// Several secrets in one commit.
pub async fn import(agent: Agent, caller: Caller, q: Import, body: Body) -> Result<Imported, Problem> {
    let action = on_one("secrets.import", &q.vault, &q.path);
    let pass = agent.enter(&caller, action).await?;
    let node = pass.node().clone();
    let body = BodyReader::new(body, pass.node().closing());
    blocking(move || {
        let vault = node.vaults.open(&q.vault)?;
        let problem = |error| vault_problem(&vault.name, error);
        let root = SecretPath::parse(&q.path).map_err(|error| path_problem(&vault.name, error))?;
        let mut incoming = Incoming {
            body,
            reader: FrameReader::new(),
            file: false,
            ready: Vec::new(),
            used: 0,
        };
        let mut staged: Vec<(SecretPath, Option<Staged>)> = Vec::new();
        while let Some(head) = incoming
            .next_head()
            .map_err(|error| problem(VaultError::Input(error)))?
        {
            let path = new_path(&vault.name, &head.path)?;
            let content = if head.directory {
                io::copy(&mut incoming, &mut io::sink())
                    .map_err(|error| problem(VaultError::Input(error)))?;
                None
            } else {
                Some(vault.vault.stage(&mut incoming).map_err(problem)?)
            };
            staged.push((path, content));
        }
        let secrets = staged.iter().filter(|(_, content)| content.is_some()).count();
        let ((), made) = vault
            .vault
            .change(None, |change| {
                place_all(change, &root, q.rename && !q.path.ends_with('/'), staged)
            })
            .map_err(problem)?;
        Ok(Imported {
            vault_id: vault.id.to_string(),
            secrets: secrets as u64,
            commit_id: made.map(|id| id.to_string()),
        })
    })
    .await
}

fn place_all(
    change: &mut Change<'_>,
    root: &SecretPath,
    rename: bool,
    staged: Vec<(SecretPath, Option<Staged>)>,
) -> Result<(), VaultError> {
    let into = root.is_root() || !rename || is_directory(change, root)?;
    for (path, content) in staged {
        let path = if into {
            root.join_path(&path)?
        } else {
            let below = path.as_str().split_once('/').map_or("", |(_, below)| below);
            root.join_path(&SecretPath::parse(below)?)?
        };
        match content {
            Some(content) => {
                change.put(&path, content, &Expect::Any)?;
            }
            None => change.mkdir(&path, Parents::Made)?,
        }
    }
    Ok(())
}

/// The frames of an import as a row of readers: each file ends where its frames end.
struct Incoming {
    body: BodyReader,
    reader: FrameReader,
    /// Inside a file.
    file: bool,
    ready: Vec<u8>,
    used: usize,
}

enum Got {
    Head(ImportHead),
    Data,
    End,
    Close,
}

impl Incoming {
    fn got(&mut self) -> io::Result<Got> {
        let malformed = |error: frames::FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        loop {
            match self.reader.next_frame().map_err(malformed)? {
                Some(Frame::Head(head)) if !self.file => {
                    self.file = true;
                    return frames::parse(head).map(Got::Head).map_err(malformed);
                }
                Some(Frame::Data(data)) if self.file => {
                    self.ready.clear();
                    self.ready.extend_from_slice(data);
                    self.used = 0;
                    return Ok(Got::Data);
                }
                Some(Frame::End) if self.file => {
                    self.file = false;
                    return Ok(Got::End);
                }
                Some(Frame::Close) if !self.file => return Ok(Got::Close),
                Some(_) => return Err(malformed(frames::FrameError::Content)),
                None => {
                    let piece = self.body.piece()?;
                    if piece.is_empty() {
                        return Err(malformed(frames::FrameError::Cut));
                    }
                    self.reader.push(&piece);
                }
            }
        }
    }

    fn next_head(&mut self) -> io::Result<Option<ImportHead>> {
        match self.got()? {
            Got::Head(head) => Ok(Some(head)),
            _ => {
                // Bytes behind the end would be part of nothing.
                let rest = self.body.piece()?;
                self.reader.push(&rest);
                self.reader
                    .finish()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(None)
            }
        }
    }
}

impl Read for Incoming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.used == self.ready.len() {
            if !self.file {
                return Ok(0);
            }
            if !matches!(self.got()?, Got::Data) {
                self.ready.clear();
                self.used = 0;
                return Ok(0);
            }
        }
        let count = out.len().min(self.ready.len() - self.used);
        out[..count].copy_from_slice(&self.ready[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
