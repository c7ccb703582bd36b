//! Going back: a new commit that makes the vault hold what it held at an older one.
//!
//! Nothing is thrown away: what came since stays in the history. Only secrets that a commit since has touched
//! are looked at; contents that differ are sealed anew, as an object belongs to one version.

use std::collections::BTreeSet;

use polykey_core::SecretPath;

use crate::change::Change;
use crate::draft::Handle;
use crate::error::VaultError;
use crate::event::State;
use crate::id::{CommitId, SecretId};
use crate::stored;
use crate::vault::Vault;
use crate::view::{At, Look, Moment};

impl Vault {
    /// Makes the vault hold what it held at `commit`, by a new commit; `None` when it holds that already.
    ///
    /// # Errors
    /// [`VaultError::NoSuchCommit`]; [`VaultError::Purged`] when a content that is needed is gone.
    pub fn reset_to(&self, commit: CommitId, message: Option<&str>) -> Result<Option<CommitId>, VaultError> {
        let past = self.moment(At::Commit(commit))?;
        let shared = self.shared();
        let message = match message {
            Some(message) => message.to_owned(),
            None => format!("back to {commit}"),
        };
        let (_, made) = self.change(Some(&message), |change| {
            let touched = shared.touched_between(change.draft.rows(), &Moment::Now, &past)?;
            change.go_back(&touched, &past)?;
            change.reset_to = Some(commit);
            Ok::<_, VaultError>(())
        })?;
        Ok(made)
    }
}

impl Change<'_> {
    /// Gives each of `secrets` the state that it had at `past`.
    fn go_back(&mut self, secrets: &BTreeSet<SecretId>, past: &Moment) -> Result<(), VaultError> {
        let rows = self.draft.rows();
        let before = Look { rows, moment: past };
        let states = secrets
            .iter()
            .map(|id| Ok((*id, before.state(*id)?)))
            .collect::<Result<Vec<_>, VaultError>>()?;
        let place = |state: &State| state.place().map(|(path, _)| path.clone());
        // First all that stood elsewhere or nowhere goes, so that each place is free when it is needed.
        for (id, state) in &states {
            let handle = Handle::Known(*id);
            if place(&self.draft.before(handle)?) != place(state) {
                self.draft.place(handle, None)?;
            }
        }
        for (id, state) in &states {
            let handle = Handle::Known(*id);
            let Some(to) = place(state) else { continue };
            let now = self.draft.before(handle)?;
            if place(&now).as_ref() != Some(&to) {
                self.draft.place(handle, Some(&to))?;
            }
            self.restore_content(*id, &to, state, &now)?;
            for key in now
                .attributes
                .keys()
                .filter(|key| !state.attributes.contains_key(*key))
            {
                self.draft.pending(handle)?.attributes.set(key, None)?;
            }
            for (key, (_, value)) in &state.attributes {
                self.draft.pending(handle)?.attributes.set(key, Some(value))?;
            }
        }
        Ok(())
    }

    fn restore_content(
        &mut self,
        id: SecretId,
        path: &SecretPath,
        then: &State,
        now: &State,
    ) -> Result<(), VaultError> {
        let Some((wanted, _)) = then.content() else {
            return Ok(());
        };
        if let [(only, _)] = now.contents.as_slice() {
            let content = |version| -> Result<_, VaultError> {
                let event = stored::event(self.draft.rows(), id, version)?;
                Ok(event.stored().map(|stored| stored.content))
            };
            if let (Some(a), Some(b)) = (content(only.version)?, content(wanted.version)?)
                && a.same_as(&b)
            {
                return Ok(());
            }
        }
        let staged = self.stage_again(path, id, wanted.version)?;
        self.draft.pending(Handle::Known(id))?.content = Some(staged);
        Ok(())
    }
}
