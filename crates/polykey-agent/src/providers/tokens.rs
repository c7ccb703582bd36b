//! Tokens for accounts of the user: with which to publish there, and to look others up.
//!
//! Always: they stand only in the node's database, sealed as all of it, and leave it only towards the service that gave
//! them.

use polykey_api::Problem;
use polykey_store::{Database, StoreError};
use polykey_trust::identity::IdentityId;
use polykey_trust::provider::login::Token;

use crate::failure;
use crate::tables::TOKENS;

const ALL: &[u8] = b"all";

/// Keeps the token of an account, in place of one that was there.
///
/// # Errors
/// What the store says.
pub fn keep(db: &Database, identity: &IdentityId, token: &Token) -> Result<(), Problem> {
    let item = identity.as_str().as_bytes();
    db.write(|tx| tx.put(TOKENS, ALL, item, token.expose().as_bytes()))
        .map_err(|error: StoreError| failure::store(&error))
}

/// The accounts with a token, in order.
///
/// # Errors
/// [`Code::BadData`](polykey_api::Code::BadData) when a row is damaged; what the store says.
pub fn accounts(db: &Database) -> Result<Vec<IdentityId>, Problem> {
    let rows = db
        .read(|tx| tx.group(TOKENS, ALL))
        .map_err(|error: StoreError| failure::store(&error))?;
    rows.iter()
        .map(|(item, _)| {
            let text = std::str::from_utf8(item).map_err(|error| damaged(&error))?;
            text.parse().map_err(|error| damaged(&error))
        })
        .collect()
}

/// The token of an account.
///
/// # Errors
/// As [`accounts`].
pub fn find(db: &Database, identity: &IdentityId) -> Result<Option<Token>, Problem> {
    db.read(|tx| tx.value(TOKENS, ALL, identity.as_str().as_bytes()))
        .map_err(|error: StoreError| failure::store(&error))?
        .map(|token| Token::parse(token).map_err(|error| damaged(&error)))
        .transpose()
}

/// Any token for this provider: with one, a service lets more be looked up.
///
/// # Errors
/// As [`accounts`].
pub fn any_of(db: &Database, provider: &str) -> Result<Option<Token>, Problem> {
    match accounts(db)?
        .iter()
        .find(|account| account.provider() == provider)
    {
        Some(account) => find(db, account),
        None => Ok(None),
    }
}

fn damaged(error: &dyn std::error::Error) -> Problem {
    failure::record("the token of an account", error)
}

#[cfg(test)]
mod tests {
    use polykey_core::SecretBytes;

    use super::*;
    use crate::peer::bench::Bench;

    #[test]
    fn a_token_is_found_by_its_account_and_by_its_provider() {
        let bench = Bench::new();
        let db = &bench.node().db;
        let account: IdentityId = "github.com:alice".parse().expect("an identity");
        let token = |text: &str| Token::parse(SecretBytes::new(text.as_bytes().to_vec())).expect("a token");
        assert!(any_of(db, "github.com").expect("reads").is_none());
        keep(db, &account, &token("first")).expect("kept");
        keep(db, &account, &token("second")).expect("kept");
        let found = find(db, &account).expect("reads").expect("there");
        assert_eq!(found.expose(), "second");
        assert_eq!(accounts(db), Ok(vec![account]));
        assert!(any_of(db, "github.com").expect("reads").is_some());
        assert!(any_of(db, "gitlab.com").expect("reads").is_none());
    }
}
