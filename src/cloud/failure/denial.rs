//! What AWS says when it denies a call: who asked, for what, and why.
//!
//! `User: ARN is not authorized to perform: ACTION on resource: ARN because no identity-based policy allows the ACTION
//! action` (IAM user guide, troubleshooting access denied messages). Not every service says all of it.

/// The parts of a denial. Each is `None` if the service does not name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Denial<'a> {
    /// Who made the call.
    pub principal: Option<&'a str>,
    /// The permission that is missing: `s3:GetObject`.
    pub action: Option<&'a str>,
    /// The ARN of what was called.
    pub resource: Option<&'a str>,
    /// Whether a policy of the caller is at fault: it allows nothing, and nobody else forbids it.
    pub no_identity_policy: bool,
}

impl<'a> Denial<'a> {
    /// Reads an error text.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        let after = |label: &str| {
            let rest = text.split_once(label)?.1.trim_start();
            let word = rest.split([' ', ',', '"', ')']).next()?.trim_end_matches('.');
            (!word.is_empty() && word.contains(':')).then_some(word)
        };
        Self {
            principal: after("User:"),
            action: after("not authorized to perform:"),
            resource: after("on resource:"),
            no_identity_policy: text.contains("no identity-based policy allows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_who_what_and_where() {
        let text = "GetObject on s3://b/k: AccessDenied: User: arn:aws:sts::9:assumed-role/task/x is not authorized to \
                    perform: kms:Decrypt on resource: arn:aws:kms:eu-central-1:9:key/1 because no identity-based policy \
                    allows the kms:Decrypt action";
        let expected = Denial {
            principal: Some("arn:aws:sts::9:assumed-role/task/x"),
            action: Some("kms:Decrypt"),
            resource: Some("arn:aws:kms:eu-central-1:9:key/1"),
            no_identity_policy: true,
        };
        assert_eq!(Denial::read(text), expected);
    }

    #[test]
    fn what_a_service_does_not_say_is_unknown() {
        assert_eq!(Denial::read("AccessDenied: Access Denied"), Denial::default());
        let text = "AccessDenied: User: is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/r";
        let denial = Denial::read(text);
        assert_eq!((denial.principal, denial.action), (None, Some("sts:AssumeRole")));
    }
}
