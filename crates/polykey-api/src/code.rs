//! Error codes: the one table of code text, exit code and HTTP status.
//!
//! The text is what programs compare and never changes; the exit code is the one of `cli.md`'s table
//! that the command line ends with; the HTTP status is what the socket answers.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $exit:literal, $status:literal;)*) => {
        /// Why a request or a command failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The stable text of the code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The exit code of a command that fails with it.
            pub const fn exit(self) -> u8 {
                match self { $(Code::$name => $exit,)* }
            }

            /// The HTTP status of an answer that carries it.
            pub const fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// Wrong usage: an argument, option or request that cannot be meant.
    Usage = "usage", 64, 400;
    /// The request is longer than the agent accepts.
    TooLarge = "too-large", 65, 413;
    /// Input or stored data is damaged or not acceptable.
    BadData = "bad-data", 65, 422;
    /// A path or name breaks a rule.
    BadPath = "bad-path", 65, 422;
    /// There is no such call in this version of the agent.
    UnknownCall = "unknown-call", 64, 404;
    /// No such vault.
    VaultNotFound = "vault-not-found", 66, 404;
    /// No such secret or directory.
    SecretNotFound = "secret-not-found", 66, 404;
    /// No such version or commit.
    VersionNotFound = "version-not-found", 66, 404;
    /// No such file on the disk.
    FileNotFound = "file-not-found", 66, 404;
    /// There is no node in this folder yet.
    NoNode = "no-node", 69, 404;
    /// No such node, gestalt or identity.
    NodeNotFound = "node-not-found", 67, 404;
    /// The other node cannot be reached.
    NodeUnreachable = "node-unreachable", 68, 502;
    /// No agent is running, and none could be started.
    NoAgent = "no-agent", 69, 503;
    /// A fault in polykey itself.
    Internal = "internal", 70, 500;
    /// Something of that name exists already.
    Exists = "exists", 73, 409;
    /// Disk or stream error.
    Io = "io", 74, 500;
    /// The disk is full.
    DiskFull = "disk-full", 74, 507;
    /// Another agent holds this node path, or something took too long; trying again may help.
    Busy = "busy", 75, 503;
    /// The version is not the expected one any more.
    Changed = "changed", 75, 412;
    /// The other side broke the protocol.
    Protocol = "protocol", 76, 502;
    /// The caller gave no password or token.
    Unauthenticated = "unauthenticated", 77, 401;
    /// The password is wrong.
    WrongPassword = "wrong-password", 77, 401;
    /// The token is not, or no longer, valid.
    BadToken = "bad-token", 77, 401;
    /// The agent is locked.
    Locked = "locked", 77, 423;
    /// The caller may not do this.
    NotAllowed = "not-allowed", 77, 403;
    /// Bad configuration.
    Config = "config", 78, 500;
}

impl Code {
    /// The code with this text.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// True when other credentials may change the answer: worth a prompt.
    pub const fn wants_password(self) -> bool {
        matches!(self, Code::Unauthenticated | Code::WrongPassword | Code::BadToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit codes of the command line's table, failures only.
    const EXITS: &[u8] = &[64, 65, 66, 67, 68, 69, 70, 73, 74, 75, 76, 77, 78];

    #[test]
    fn codes_are_unique_and_parse_back() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert!(Code::ALL[..i].iter().all(|other| other.as_str() != code.as_str()));
            assert!(
                code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{code:?}"
            );
        }
        for bad in ["", "Usage", "usage ", "64"] {
            assert_eq!(Code::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_exit_code_has_a_code_and_every_code_an_exit_code() {
        for exit in EXITS {
            assert!(Code::ALL.iter().any(|code| code.exit() == *exit), "{exit}");
        }
        for code in Code::ALL {
            assert!(EXITS.contains(&code.exit()), "{code:?}");
            assert!((400..=599).contains(&code.status()), "{code:?}");
        }
    }
}
