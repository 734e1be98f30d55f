//! Log groups that two tenants have.
//!
//! That is allowed, because a pipeline may route the lines of one log group by what is in them or by their log stream.
//! With neither, the canaries of two clients are alike to it: it takes those of one for the other's, which is told as a
//! leak where a source tells the two apart. Usually a `[[tenant]]` table was copied, and its log group was left as it was.

use std::collections::BTreeMap;

use super::settings::{Source, Tenant};
use super::tenant::TenantRead;
use crate::cloud::account;
use crate::domain::topology::TenantId;
use crate::keys::fault::Collector;

/// Region, account and name of a log group. Without a role, the account is that of the probe.
type Place<'a> = (&'a str, Option<&'a str>, &'a str);

/// Reports a log group that an earlier tenant has as well, if a source tells the tenants apart and nothing tells the
/// pipeline.
pub(super) fn check(faults: &mut Collector, tenants: &[TenantRead<'_>], sources: &[Source]) {
    let mut owners: BTreeMap<Place<'_>, Vec<(TenantId, &TenantRead<'_>, &Tenant)>> = BTreeMap::new();
    for (id, read) in (0..).map(TenantId).zip(tenants) {
        let Ok(tenant) = &read.tenant else { continue };
        for group in &tenant.log_groups {
            let before = owners.entry(place(tenant, group)).or_default();
            let is_taken = |(other_id, _, other): &&(TenantId, &TenantRead<'_>, &Tenant)| {
                are_alike(other, tenant) && sources.iter().any(|source| tells_apart(source, *other_id, id))
            };
            if let Some((_, other, _)) = before.iter().find(is_taken) {
                faults.report(
                    key(read),
                    format!(
                        "\"{group}\" is that of {} as well, so the pipeline could not tell the canaries of {} \
                         from those of {}, and they would be found with another tenant; write the tenant's own log \
                         group, or give both the same label if they are one client, or each its own template or \
                         log_stream if the pipeline routes by that",
                        key(other),
                        tenant.name,
                        other.name.as_deref().unwrap_or(&other.path)
                    ),
                );
            }
            before.push((id, read, tenant));
        }
    }
}

/// Whether a canary of one tenant could be found here with the other.
fn tells_apart(source: &Source, one: TenantId, other: TenantId) -> bool {
    let [has_one, has_other] = [one, other].map(|tenant| source.tenants.contains(&tenant));
    has_one != has_other || has_one && source.settings.attribution().labelled
}

fn place<'a>(tenant: &'a Tenant, group: &'a str) -> Place<'a> {
    (tenant.account.region.as_str(), tenant.account.number(), account::log_group_name(group))
}

/// Whether canaries of two clients leave in the same way. Two of one name are told as that.
fn are_alike(a: &Tenant, b: &Tenant) -> bool {
    a.name != b.name && a.label != b.label && a.log_stream == b.log_stream && a.template == b.template
}

fn key(read: &TenantRead<'_>) -> String {
    let name = if read.table.contains_key("log_groups") { "log_groups" } else { "log_group" };
    format!("{}.{name}", read.path)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// The faults of two tenants, acme and globex, with these keys.
    fn faults(acme: &str, globex: &str) -> Vec<String> {
        faults_of("logs-{tenant}", acme, globex)
    }

    /// The same, with this stream.
    fn faults_of(stream: &str, acme: &str, globex: &str) -> Vec<String> {
        let text = format!(
            "[aws]\nregion = \"eu-central-1\"\n[[tenant]]\nname = \"acme\"\n{acme}\n[[tenant]]\nname = \"globex\"\n\
             {globex}\n[[stage]]\nname = \"stream\"\nkind = \"kinesis\"\nstream = \"{stream}\"\nend = true\n"
        );
        let env = [("TRACEPROBE_TAG_KEY", "0123456789abcdef"), ("HOSTNAME", "probe-1")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Config::parse(&text, env)
            .map_or_else(|faults| faults.list.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    const APP: &str = "log_group = \"/app\"";

    #[test]
    fn a_log_group_that_was_copied_is_refused_with_both_keys() {
        let found = faults(APP, APP);
        let [fault] = &found[..] else { panic!("{found:?}") };
        for part in [
            "tenant.globex.log_group: \"/app\" is that of tenant.acme.log_group as well",
            "of globex from those of acme",
        ] {
            assert!(fault.contains(part), "no {part:?} in {fault}");
        }
        let several = "log_groups = [\"/other\", \"arn:aws:logs:eu-central-1:111111111111:log-group:/app\"]";
        let found = faults(APP, several);
        assert!(found.len() == 1 && found[0].starts_with("tenant.globex.log_groups: "), "{found:?}");
    }

    #[test]
    fn a_log_group_may_be_shared_if_no_source_tells_tenants_apart() {
        let text = faults_of("logs", APP, APP);
        assert_eq!(text, [""; 0]);
        assert_eq!(faults_of("logs-{tenant}", APP, APP).len(), 1);
    }

    #[test]
    fn a_log_group_of_that_name_elsewhere_is_another_one() {
        let role = |account: char| {
            let number = account.to_string().repeat(12);
            format!("{APP}\nrole_arn = \"arn:aws:iam::{number}:role/x\"")
        };
        assert_eq!(faults(&role('1'), &role('2')), [""; 0]);
        assert_eq!(faults(&role('1'), &role('1')).len(), 1);
        assert_eq!(faults(APP, &format!("{APP}\nregion = \"eu-west-1\"")), [""; 0]);
        let of_each = "log_group = \"/{tenant}/{instance}\"";
        assert_eq!(faults(of_each, of_each), [""; 0]);
    }

    #[test]
    fn a_log_group_may_be_shared_if_its_canaries_can_be_told_apart() {
        for own in ["log_stream = \"globex/{instance}\"", "template = \"globex {tag}\"", "label = \"acme\""] {
            assert_eq!(faults(APP, &format!("{APP}\n{own}")), [""; 0], "{own}");
        }
        let of_each = format!("{APP}\nlog_stream = \"{{tenant}}/{{instance}}\"");
        assert_eq!(faults(&of_each, &of_each), [""; 0]);
    }
}
