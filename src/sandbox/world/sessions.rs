//! The sessions of a tenant's role.

/// How many were issued, and which of them were revoked.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    issued: u64,
    /// All up to this one are.
    revoked: u64,
}

impl Sessions {
    /// Issues a session and returns the id of its access key, which holds the account and the number of the session.
    pub(crate) fn issue(&mut self, account: &str) -> String {
        self.issued += 1;
        format!("ASIA{account}{:06}", self.issued)
    }

    pub(crate) fn revoke(&mut self) {
        self.revoked = self.issued;
    }

    /// Whether a key of [`Self::issue`] belongs to a revoked session.
    pub(crate) fn is_revoked(&self, key: &str) -> bool {
        let number = key.strip_prefix("ASIA").and_then(|rest| rest.get(12..)?.parse().ok());
        number.is_some_and(|number: u64| number <= self.revoked)
    }
}
