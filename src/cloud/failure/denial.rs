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
    /// The kind of policy at fault: `service control policy`, `permissions boundary`, `resource-based policy`.
    pub policy: Option<&'a str>,
    /// Whether that policy forbids it, so that no further permission helps.
    pub is_explicit: bool,
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
        let forbidding = text.split_once("explicit deny in a").map(|(_, rest)| {
            let rest = rest.trim_start_matches('n').trim_start();
            rest.split([':', '.', ',', '"', ')']).next().unwrap_or_default().trim()
        });
        let allowing = || text.split_once("because no ")?.1.split_once(" allows").map(|(policy, _)| policy);
        Self {
            policy: forbidding.or_else(allowing).filter(|policy| !policy.is_empty()),
            is_explicit: forbidding.is_some(),
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
            policy: Some("identity-based policy"),
            is_explicit: false,
        };
        assert_eq!(Denial::read(text), expected);
    }

    #[test]
    fn the_policy_that_forbids_or_does_not_allow_it_is_told() {
        let of = |text| {
            let denial = Denial::read(text);
            (denial.policy, denial.is_explicit)
        };
        let text = "AccessDenied: User: x:y is not authorized to perform: a:b with an explicit deny in a service control policy";
        assert_eq!(of(text), (Some("service control policy"), true));
        let text = "not authorized to perform: a:b with an explicit deny in an identity-based policy: arn:aws:iam::1:policy/p";
        assert_eq!(of(text), (Some("identity-based policy"), true));
        let text = "not authorized to perform: sts:AssumeRole because no resource-based policy allows the sts:AssumeRole action";
        assert_eq!(of(text), (Some("resource-based policy"), false));
        assert_eq!(of("AccessDenied: Access Denied"), (None, false));
    }

    #[test]
    fn what_a_service_does_not_say_is_unknown() {
        assert_eq!(Denial::read("AccessDenied: Access Denied"), Denial::default());
        let text = "AccessDenied: User: is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/r";
        let denial = Denial::read(text);
        assert_eq!((denial.principal, denial.action), (None, Some("sts:AssumeRole")));
    }
}
