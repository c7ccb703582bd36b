//! Sessions: tokens that stand for a password given before.
//!
//! Only the hash of a token is remembered, in memory, so neither the disk nor a dump of the agent gives a
//! usable one. A session that is not used for [`IDLE`] ends.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use polykey_core::random::random_array;
use polykey_core::scrub::{SHALLOW, scrubbed};
use polykey_core::{Random, SecretBytes, hash, label};

/// A session ends after this long without a request.
pub const IDLE: Duration = Duration::from_hours(12);
/// Most sessions at a time; the one that was idle longest gives way.
const MAX_SESSIONS: usize = 1024;

/// All open sessions of an agent.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

struct Session {
    name: String,
    used: Instant,
}

impl Sessions {
    /// Opens a session; the token, as text, is known to the caller only.
    pub fn open(&self, name: Option<String>, random: &dyn Random, now: Instant) -> SecretBytes {
        let token = token_text(random);
        let digest = digest(token.expose());
        let mut sessions = self.lock();
        sessions.retain(|_, session| now.duration_since(session.used) < IDLE);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, session)| session.used)
                .map(|(d, _)| *d);
            oldest.and_then(|digest| sessions.remove(&digest));
        }
        let short: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = name.map_or(short.clone(), |name| format!("{name}-{short}"));
        sessions.insert(digest, Session { name, used: now });
        token
    }

    /// The name of the session that `token` opens, which is used by this.
    pub fn find(&self, token: &[u8], now: Instant) -> Option<String> {
        let digest = digest(token);
        let mut sessions = self.lock();
        let session = sessions.get_mut(&digest)?;
        if now.duration_since(session.used) >= IDLE {
            sessions.remove(&digest);
            return None;
        }
        session.used = now;
        Some(session.name.clone())
    }

    /// Ends all sessions.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // A panic cannot leave the map half changed.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    scrubbed::<SHALLOW, _>(|| hash::hash(label::SESSION_TOKEN, &[token]))
}

/// 32 random bytes in hexadecimal.
fn token_text(random: &dyn Random) -> SecretBytes {
    let bytes = SecretBytes::new(random_array::<32>(random).to_vec());
    let mut text = Vec::with_capacity(64);
    for byte in bytes.expose() {
        for half in [byte >> 4, byte & 15] {
            text.push(b"0123456789abcdef"[usize::from(half)]);
        }
    }
    SecretBytes::new(text)
}

#[cfg(test)]
mod tests {
    use polykey_core::random::OsRandom;

    use super::*;

    #[test]
    fn a_session_lives_while_it_is_used() {
        let sessions = Sessions::default();
        let mut now = Instant::now();
        let token = sessions.open(Some("cli".into()), &OsRandom, now);
        for _ in 0..3 {
            now += IDLE - Duration::from_secs(1);
            assert!(
                sessions
                    .find(token.expose(), now)
                    .expect("in use")
                    .starts_with("cli-")
            );
        }
        assert_eq!(sessions.find(token.expose(), now + IDLE), None);
        assert_eq!(sessions.find(token.expose(), now), None);
    }

    #[test]
    fn only_the_exact_token_opens_and_none_after_forgetting() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let token = sessions.open(None, &OsRandom, now);
        let text = token.expose();
        for bad in [
            &b""[..],
            &text[1..],
            &[text, b"0"].concat(),
            &text.to_ascii_uppercase(),
        ] {
            assert_eq!(sessions.find(bad, now), None);
        }
        assert!(sessions.find(text, now).is_some());
        sessions.forget_all();
        assert_eq!(sessions.find(text, now), None);
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let first = sessions.open(None, &OsRandom, start);
        for i in 1..=MAX_SESSIONS {
            sessions.open(None, &OsRandom, start + Duration::from_millis(i as u64));
        }
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
        assert_eq!(sessions.find(first.expose(), start), None);
    }
}
