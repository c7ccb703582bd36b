//! What this program is made of, for `--version --json`.

use polykey_api::version::{API_VERSION, Formats, Versions};
use polykey_core::statement;

/// The versions of the program, the API and the formats.
pub fn versions() -> Versions {
    Versions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: API_VERSION,
        formats: Formats {
            statement: statement::FORMAT_VERSION,
            // The key file shares the suite, and so the version, of statements.
            key_file: statement::FORMAT_VERSION,
            database: polykey_store::FORMAT_VERSION.into(),
        },
    }
}
