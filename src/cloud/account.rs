//! A region of AWS, and the role to assume there.

use toml::Value;

use crate::domain::evidence::NamedPlace;
use crate::keys::fault::Checked;
use crate::keys::key::Key;
use crate::keys::reader::Reader;
use crate::keys::secret::Secret;
use crate::keys::value::{Parsed, text};

/// A region, and the role to assume for calls to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// The role to assume; the probe's own credentials if `None`.
    pub role: Option<Role>,
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// The role's ARN, such as `arn:aws:iam::111111111111:role/name`.
    pub arn: String,
    /// The external id that its trust policy requires. AWS does not treat it as a secret; the probe does.
    pub external_id: Option<Secret>,
}

/// The keys of a tenant or stage in AWS, read by [`Account::read`].
pub(crate) const KEYS: [Key; 3] =
    [Key::text("region"), Key::text("role_arn"), Key::text("external_id").masked()];

impl Account {
    /// Returns an account that is reached with the probe's own credentials.
    #[must_use]
    pub fn in_region(region: impl Into<String>) -> Self {
        Self { region: region.into(), role: None }
    }

    /// Reads [`KEYS`]. `resource` is the name or ARN of what is called there. If no region is set, it is that of the
    /// ARN, or else `fallback`.
    pub(crate) fn read(
        read: &mut Reader<'_, '_>,
        fallback: &Checked<Option<String>>,
        resource: Option<&str>,
    ) -> Checked<Self> {
        let of_arn = resource.and_then(region_of_arn);
        let region = read.find("region", region);
        if let (Ok(Some(region)), Some(of_arn)) = (&region, of_arn)
            && region != of_arn
        {
            read.report(
                "region",
                format!(
                    "\"{region}\" is not the region of the ARN, which names \"{of_arn}\"; remove region, or correct one of them"
                ),
            );
        }
        let arn = read.find("role_arn", role_arn);
        let external_id = read.find("external_id", external_id);
        if let (Ok(None), Ok(Some(_))) = (&arn, &external_id) {
            read.report(
                "external_id",
                "has no effect without role_arn, because it is only sent when a role is assumed; set role_arn, or remove external_id",
            );
        }
        let region = match region?.or_else(|| of_arn.map(str::to_owned)) {
            Some(region) => Ok(region),
            None => match fallback.clone()? {
                Some(region) => Ok(region),
                None => Err(read.report(
                    "region",
                    "missing; set it here, as aws.region for all tenants and stages, or as AWS_REGION in the environment",
                )),
            },
        };
        let external_id = external_id?.map(Secret::new);
        Ok(Self { region: region?, role: arn?.map(|arn| Role { arn, external_id }) })
    }

    /// Returns region and role as one text, which tells two accounts apart.
    pub(crate) fn identity(&self) -> String {
        format!("{} {}", self.region, self.role.as_ref().map_or("", |role| role.arn.as_str()))
    }

    /// Returns the 12-digit account id from the role's ARN; `None` without a role.
    pub(crate) fn number(&self) -> Option<&str> {
        self.role.as_ref().and_then(|role| role.arn.split(':').nth(4))
    }

    /// The account for people: its id, or that it is the probe's own.
    pub(crate) fn holder(&self) -> String {
        self.number().map_or_else(|| "of the probe".to_owned(), str::to_owned)
    }
}

/// Returns the name of a log group, which may be given by its ARN.
///
/// PutLogEvents and CreateLogStream take nothing else: `logGroupName` must match `[\.\-_/#A-Za-z0-9]+` (AWS Logs
/// API reference). So do the commands of the AWS CLI that the page shows.
#[must_use]
pub fn log_group_name(log_group: &str) -> &str {
    log_group.split(":log-group:").last().unwrap_or(log_group).trim_end_matches(":*")
}

/// The names with which the runbook's commands reach a log group.
#[must_use]
pub fn log_group_names(log_group: &str, account: &Account) -> Vec<NamedPlace> {
    vec![
        ("LOG_GROUP", log_group_name(log_group).to_owned()),
        ("LOG_GROUP_REGION", account.region.clone()),
        ("LOG_GROUP_ACCOUNT", account.holder()),
    ]
}

/// Returns the region in an ARN; `None` for a name, and for an ARN without a valid region.
pub(crate) fn region_of_arn(resource: &str) -> Option<&str> {
    let region = resource.strip_prefix("arn:")?.split(':').nth(2)?;
    is_region(region).then_some(region)
}

/// Returns the account of an ARN; `None` for a name, and for an ARN without one.
pub(crate) fn account_of_arn(resource: &str) -> Option<&str> {
    let account = resource.strip_prefix("arn:")?.split(':').nth(3)?;
    (!account.is_empty()).then_some(account)
}

/// Whether a text has the form of a region.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.len() >= 3
        && parts.last().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
        && parts[..parts.len() - 1]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Reads a region, such as `eu-central-1`.
pub(crate) fn region(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    if is_region(&text) {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is not a valid AWS region; write for example \"eu-central-1\""))
    }
}

/// Reads the ARN of a role, such as `arn:aws:iam::111111111111:role/name`.
fn role_arn(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let good = matches!(
        parts.as_slice(),
        ["arn", partition, "iam", "", account, resource]
            if partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace))
    );
    if good {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a valid role ARN; write for example \"arn:aws:iam::111111111111:role/traceprobe-inject\""
        ))
    }
}

/// Reads an external id: 2 to 1,224 of these characters (AWS STS API reference, AssumeRole). Never quotes it.
fn external_id(value: &Value) -> Parsed<String> {
    let Some(text) = value.as_str().map(str::to_owned) else {
        return Err("is not text; write it in quotes".to_owned());
    };
    let good = (2..=1224).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c));
    if good {
        Ok(text)
    } else {
        Err("is not a valid external id; write 2 to 1224 letters, digits and _+=,.@:/-".to_owned())
    }
}

/// Checks a log group: a name, `[.\-_/#A-Za-z0-9]+`, 1 to 512 characters (AWS Logs API reference,
/// CreateLogGroup), or an ARN.
pub(crate) fn log_group(text: String) -> Result<String, String> {
    let name = match text.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "logs", _, _, "log-group", name] => name,
        [name] => *name,
        _ => "",
    };
    let good = (1..=512).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_/#".contains(c));
    if good {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a valid log group name or ARN; write for example \"/ecs/acme/app\", or an ARN without `:*` at its end"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_its_region_and_account_and_a_name_does_not() {
        let of = |resource| (region_of_arn(resource), account_of_arn(resource));
        let stream = "arn:aws:kinesis:us-west-2:111111111111:stream/logs";
        assert_eq!(of(stream), (Some("us-west-2"), Some("111111111111")));
        assert_eq!(of("arn:aws:s3:::archive"), (None, None));
        assert_eq!(of("logs"), (None, None));
    }

    #[test]
    fn a_log_group_has_one_name_however_it_is_given() {
        for given in ["/ecs/acme/app", "arn:aws:logs:us-east-1:444444444444:log-group:/ecs/acme/app"] {
            assert_eq!(log_group_name(given), "/ecs/acme/app");
        }
    }

    #[test]
    fn values_that_aws_would_refuse_are_refused() {
        let s = |text: &str| Value::String(text.to_owned());
        assert!(region(&s("eu-central-1")).is_ok() && region(&s("us-gov-west-1")).is_ok());
        for text in ["", "eu-central", "eu central-1", "EU-central-1", "eu--1"] {
            assert!(region(&s(text)).is_err(), "{text}");
        }
        assert!(role_arn(&s("arn:aws-cn:iam::111111111111:role/path/name")).is_ok());
        for text in ["", "role/name", "arn:aws:iam::1:role/x", "arn:aws:iam::111111111111:user/x"] {
            assert!(role_arn(&s(text)).is_err(), "{text}");
        }
        assert!(external_id(&s("acme-7f3a9c")).is_ok() && external_id(&s("a b")).is_err());
    }
}
