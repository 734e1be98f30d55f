//! The users of the web port and their passwords.
//!
//! A bcrypt hash is slow on purpose. So a password that was right is remembered, or each scrape would cost as much as
//! all the rest of the probe. Only one is checked at a time, in a thread of its own, even if its client has left:
//! somebody who guesses passwords gets one processor at most, and never delays those who are remembered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bcrypt::HashParts;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Most passwords that are remembered, of right and of wrong ones each.
const REMEMBERED: usize = 100;
/// How long a password may wait until it is checked.
const CHECKED_WITHIN: Duration = Duration::from_secs(5);
/// Highest cost of a hash: a check with it takes about 3 s.
const MAX_COST: u32 = 16;
/// Is compared for users that do not exist, so that they take as long as others. Its password is unknown.
const NO_USER: &str = "$2b$10$LwZlzTe3VKvhSijrX.HPR.F5l0KbnQCr.fipFeiezD57EeyuqSu0O";

/// The users, and what is remembered of their passwords.
pub(super) struct Users {
    /// Hashes by name.
    hashes: HashMap<String, String>,
    /// Makes what is remembered useless elsewhere.
    salt: [u8; 32],
    // A mutex, because requests are answered on any thread; held to look a digest up.
    known: Arc<Mutex<Known>>,
    checking: Arc<Semaphore>,
}

/// Digests of a user with a password.
#[derive(Default)]
struct Known {
    right: HashSet<[u8; 32]>,
    /// A client that was configured wrongly must not cost a hash with each request either.
    wrong: HashSet<[u8; 32]>,
}

impl Known {
    fn remember(&mut self, digest: [u8; 32], verdict: Verdict) {
        let same = if verdict == Verdict::Right { &mut self.right } else { &mut self.wrong };
        if same.len() >= REMEMBERED {
            same.clear();
        }
        same.insert(digest);
    }
}

/// What is known of a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Too many others wait for a check.
    Unchecked,
}

/// Returns the hash, or what is wrong with it.
pub(super) fn check_hash(hash: &str) -> Result<&str, &'static str> {
    match hash.parse::<HashParts>() {
        Ok(parts) if parts.get_cost() <= MAX_COST => Ok(hash),
        Ok(_) => Err("has a cost above 16, so that each check would take many seconds"),
        Err(_) => Err("is not a bcrypt hash; write what `htpasswd -nBC 10 \"\"` prints behind the colon"),
    }
}

impl Users {
    pub(super) fn new(users: Vec<(String, String)>) -> Self {
        let mut salt = [0; 32];
        // Without it, digests are only as secret as the memory of the process.
        let _salted = getrandom::fill(&mut salt);
        Self {
            hashes: users.into_iter().collect(),
            salt,
            known: Arc::default(),
            checking: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) async fn check(&self, user: &str, password: &str) -> Verdict {
        let digest = self.digest(user, password);
        if let Some(verdict) = self.remembered(&digest) {
            return verdict;
        }
        let Ok(Ok(permit)) = timeout(CHECKED_WITHIN, self.checking.clone().acquire_owned()).await else {
            return Verdict::Unchecked;
        };
        // The same client may have had its turn meanwhile.
        if let Some(verdict) = self.remembered(&digest) {
            return verdict;
        }
        let is_user = self.hashes.contains_key(user);
        let hash = self.hashes.get(user).map_or(NO_USER, String::as_str).to_owned();
        let (password, known) = (password.to_owned(), self.known.clone());
        // A client that leaves drops this future, but the thread goes on. So the permit belongs to the thread.
        let verdict = spawn_blocking(move || {
            let matches = bcrypt::verify(password, &hash).unwrap_or(false);
            let verdict = if matches && is_user { Verdict::Right } else { Verdict::Wrong };
            known.lock().unwrap_or_else(PoisonError::into_inner).remember(digest, verdict);
            drop(permit);
            verdict
        });
        verdict.await.unwrap_or(Verdict::Wrong)
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Verdict> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.right.contains(digest) {
            Some(Verdict::Right)
        } else {
            known.wrong.contains(digest).then_some(Verdict::Wrong)
        }
    }

    fn digest(&self, user: &str, password: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        // The length keeps `ab` with `c` and `a` with `bc` apart.
        digest.update(user.len().to_le_bytes());
        digest.update(user);
        digest.update(password);
        digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    use super::*;

    /// Of the password `right`, with the lowest cost.
    fn users() -> Users {
        Users::new(vec![("prometheus".to_owned(), bcrypt::hash("right", 4).unwrap())])
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_user_is_right() {
        let users = users();
        for (user, password, verdict) in [
            ("prometheus", "right", Verdict::Right),
            ("prometheus", "wrong", Verdict::Wrong),
            ("prometheusr", "ight", Verdict::Wrong),
            ("stranger", "right", Verdict::Wrong),
            ("", "", Verdict::Wrong),
        ] {
            for _ in 0..2 {
                assert_eq!(users.check(user, password).await, verdict, "{user} {password}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_that_was_right_is_not_checked_again() {
        let users = users();
        assert_eq!(users.check("prometheus", "right").await, Verdict::Right);
        let _somebody_guesses = users.checking.acquire().await.unwrap();
        assert_eq!(users.check("prometheus", "right").await, Verdict::Right);
        assert_eq!(users.check("prometheus", "another").await, Verdict::Unchecked);
    }

    #[test]
    fn a_check_whose_client_has_left_keeps_the_others_waiting_until_it_has_ended() {
        let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let users = users();
            let (free, occupied) = oneshot::channel::<()>();
            let _only_thread = spawn_blocking(move || occupied.blocking_recv());
            assert_eq!(users.check("prometheus", "right").now_or_never(), None, "it waits for a thread");
            assert_eq!(users.checking.available_permits(), 0);
            free.send(()).unwrap();
            let _ended = users.checking.acquire().await.unwrap();
            let digest = users.digest("prometheus", "right");
            assert_eq!(users.remembered(&digest), Some(Verdict::Right), "its client may come again");
        });
    }

    #[tokio::test]
    async fn guesses_do_not_push_out_a_password_that_was_right() {
        let users = users();
        users.check("prometheus", "right").await;
        for guess in 0..REMEMBERED + 1 {
            users.check("prometheus", &guess.to_string()).await;
        }
        let known = users.known.lock().unwrap();
        assert_eq!(known.right.len(), 1);
        assert!(known.wrong.len() <= REMEMBERED);
    }

    #[test]
    fn a_hash_that_would_take_minutes_is_refused() {
        let hash = bcrypt::hash("x", 4).unwrap();
        assert!(check_hash(&hash).is_ok());
        assert!(check_hash(&hash.replace("$04$", "$20$")).unwrap_err().contains("cost above 16"));
        assert!(bcrypt::verify("x", NO_USER).is_ok_and(|matches| !matches), "it must be a valid hash");
    }
}
