//! Roles: what a member may do in a vault.

use std::fmt;
use std::str::FromStr;

/// What a member may do. Ordered from most to least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Changes content, members and keys.
    Admin,
    /// Changes content.
    Writer,
    /// Reads content.
    Reader,
    /// Holds ciphertext and has no keys.
    Keeper,
}

/// The text is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a role: use admin, writer, reader or keeper")]
pub struct RoleError;

impl Role {
    /// Every role with its number in the encoding and its name.
    pub const ALL: &[(Role, u64, &str)] = &[
        (Role::Admin, 0, "admin"),
        (Role::Writer, 1, "writer"),
        (Role::Reader, 2, "reader"),
        (Role::Keeper, 3, "keeper"),
    ];

    fn row(self) -> (u64, &'static str) {
        let row = Role::ALL
            .iter()
            .find(|(role, ..)| *role == self)
            .expect("every role has a row");
        (row.1, row.2)
    }

    /// Its form in the encoding.
    pub fn number(self) -> u64 {
        self.row().0
    }

    /// The role with this number in the encoding.
    pub fn from_number(number: u64) -> Option<Role> {
        Role::ALL
            .iter()
            .find(|(_, n, _)| *n == number)
            .map(|(role, ..)| *role)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// True when the role may change members and keys, and purge.
    pub fn administers(self) -> bool {
        self == Role::Admin
    }

    /// True when commits of the role count.
    pub fn writes(self) -> bool {
        matches!(self, Role::Admin | Role::Writer)
    }

    /// True when the role is given keys.
    pub fn reads(self) -> bool {
        self != Role::Keeper
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Role, RoleError> {
        Role::ALL
            .iter()
            .find(|(.., name)| *name == text)
            .map(|(role, ..)| *role)
            .ok_or(RoleError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_of_rights_is_this() {
        let rows: Vec<_> = Role::ALL
            .iter()
            .map(|(role, ..)| (role.name(), role.administers(), role.writes(), role.reads()))
            .collect();
        assert_eq!(
            rows,
            [
                ("admin", true, true, true),
                ("writer", false, true, true),
                ("reader", false, false, true),
                ("keeper", false, false, false),
            ]
        );
    }

    #[test]
    fn names_and_numbers_come_back() {
        for (role, number, name) in Role::ALL {
            assert_eq!(Role::from_number(*number), Some(*role));
            assert_eq!(name.parse(), Ok(*role));
        }
        assert_eq!(Role::from_number(4), None);
        for bad in ["", "Admin", "owner", "admin "] {
            assert_eq!(bad.parse::<Role>(), Err(RoleError), "{bad:?}");
        }
    }
}
