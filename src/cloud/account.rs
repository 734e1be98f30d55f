//! Where in AWS something is, and as whom to go there.

use toml::Value;

use crate::keys::fault::Checked;
use crate::keys::key::Key;
use crate::keys::reader::Reader;
use crate::keys::secret::Secret;
use crate::keys::value::{Parsed, text};

/// A region, and who to be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The region: `eu-central-1`.
    pub region: String,
    /// The role to assume; the probe's own credentials if `None`.
    pub role: Option<Role>,
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy asks for; AWS does not call it a secret, but it is one for each tenant.
    pub external_id: Option<Secret>,
}

/// The keys of whatever is in AWS, read by [`Account::read`].
pub(crate) const KEYS: [Key; 3] =
    [Key::text("region"), Key::text("role_arn"), Key::text("external_id").masked()];

impl Account {
    /// This region, with the probe's own credentials.
    #[must_use]
    pub fn in_region(region: impl Into<String>) -> Self {
        Self { region: region.into(), role: None }
    }

    /// Reads [`KEYS`]. The last layer's key is blamed for a missing region.
    pub(crate) fn read(read: &mut Reader<'_, '_>, fallback: &Checked<Option<String>>) -> Checked<Self> {
        let region = read.find("region", region);
        let arn = read.find("role_arn", role_arn);
        let external_id = read.find("external_id", external_id);
        if let (Ok(None), Ok(Some(_))) = (&arn, &external_id) {
            read.report(
                "external_id",
                "is given without role_arn; it is only sent when a role is assumed, so add role_arn or leave it out",
            );
        }
        let region = match region? {
            Some(region) => Ok(region),
            None => match fallback.clone()? {
                Some(region) => Ok(region),
                None => Err(read.report(
                    "region",
                    "missing; set it here, as aws.region for all, or as AWS_REGION in the environment",
                )),
            },
        };
        let external_id = external_id?.map(Secret::new);
        Ok(Self { region: region?, role: arn?.map(|arn| Role { arn, external_id }) })
    }

    /// Region and role as one text.
    pub(crate) fn identity(&self) -> String {
        format!("{} {}", self.region, self.role.as_ref().map_or("", |role| role.arn.as_str()))
    }

    /// The account's number, where a role's ARN names it: `arn:aws:iam::111111111111:role/name`.
    pub(crate) fn number(&self) -> Option<&str> {
        self.role.as_ref().and_then(|role| role.arn.split(':').nth(4))
    }
}

/// `eu-central-1`.
pub(crate) fn region(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    let parts: Vec<_> = text.split('-').collect();
    let good = parts.len() >= 3
        && parts.last().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
        && parts[..parts.len() - 1]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()));
    if good {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is no AWS region; write for example \"eu-central-1\""))
    }
}

/// `arn:aws:iam::111111111111:role/name`.
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
            "\"{text}\" is no role ARN; write for example \"arn:aws:iam::111111111111:role/traceprobe-inject\""
        ))
    }
}

/// What STS takes as an external id: 2 to 1,224 of these characters (AWS STS API reference, AssumeRole).
fn external_id(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    let good = (2..=1224).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c));
    if good {
        Ok(text)
    } else {
        Err("is no external id; STS takes 2 to 1224 letters, digits and _+=,.@:/-".to_owned())
    }
}

/// A name, `[.\-_/#A-Za-z0-9]+`, 1 to 512 characters (AWS Logs API reference, CreateLogGroup), or an ARN.
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
            "\"{text}\" is no log group; write for example \"/ecs/acme/app\", or an ARN without `:*` at its end"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_would_refuse_is_refused_here() {
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
