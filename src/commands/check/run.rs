//! Tries everything at once, and tells it in the order of the configuration.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture, Shared};
use futures::stream::{self, StreamExt};

use super::finding::{Finding, Mark};
use super::mend::Mend;
use super::region;
use super::report::{Progress, Report};
use super::subject::Subject;
use super::who::{self, GoogleIdentity, Identity};
use crate::cloud::account::{Account, Role, account_of_arn};
use crate::cloud::aws::Aws;
use crate::cloud::budget::Budgets;
use crate::cloud::calls::Calls;
use crate::cloud::google::Auth;
use crate::cloud::{Clients, NoClient, Provider};
use crate::config::{Config, Source, Tenant};
use crate::daemon::build::{self, Destination};
use crate::domain::proof::{Proof, Refusal, Verdict};
use crate::domain::sighting::{FailureKind, Wanted, WantedTrace};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::WallClock;
use crate::domain::topology::{SourceId, TenantId, Topology};
use crate::observe::{self, Recognizer, Site, spec};

/// How many log groups and sources are tried at the same time. Each waits for one call at a time, so that silence costs
/// time only where there are more.
const CONCURRENCY: usize = 512;

/// What is needed for every try.
pub(super) struct Stand<'a> {
    pub(super) config: &'a Config,
    pub(super) clients: &'a Clients,
    pub(super) clock: &'a WallClock,
    /// The sources and log groups of these tenants are tried.
    tenants: &'a [TenantId],
    topology: Topology,
    recognizer: Recognizer,
    wanted: Wanted,
    sample: WantedTrace,
    shared: observe::Shared,
}

/// Makes the clients. Credentials of Google that cannot be used are a finding, so that the rest is tried.
pub(super) async fn clients(config: &Config, report: &mut Report) -> Clients {
    let calls = Calls::default();
    let aws = Aws::new(config.aws.clone(), calls.clone()).await;
    let google = build::google(&aws, &config.google, calls).await.unwrap_or_else(|error| {
        let from = config.google.credentials_from().unwrap_or_else(|| "gcp.auth".to_owned());
        let right = "what it names is there, and is what gcp.auth takes (docs/google.md)".to_owned();
        let mend = Mend { key: Some(from), possibilities: vec![right], ..Mend::default() };
        report
            .add(Finding::general(Mark::Fail, "Google's credentials", format!("{error:#}")).with_mend(mend));
        None
    });
    Clients { aws, google, budgets: Budgets::default() }
}

/// What came of one log group or source.
pub(super) struct Tried<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) proofs: Vec<Proof>,
}

/// All that came of the tries so far. It is told when all of them are known, because what they have in common comes first.
#[derive(Default)]
pub(super) struct Known<'a> {
    identity: Option<Arc<Identity>>,
    tried: Vec<Tried<'a>>,
}

impl Known<'_> {
    /// Adds it to the report: who we are, what many tries have in common, and each of them.
    pub(super) fn tell(self, config: &Config, report: &mut Report) {
        // If it was interrupted before anything was known, there is nothing to tell.
        let Some(identity) = self.identity else { return };
        identity.findings(config).into_iter().for_each(|finding| report.add(finding));
        // Who is unknown to AWS is denied everywhere, and emulators do not know whose their dummy credentials are.
        if identity.arn().is_some() {
            region::notes(&self.tried).iter().for_each(|note| report.note(note));
        }
        let mut is_refusal_told = false;
        for Tried { subject, proofs } in self.tried {
            let explained = explanation(&subject, &proofs, &identity, &mut is_refusal_told);
            for proof in proofs {
                let finding = match (explained, &proof.verdict) {
                    (None, _) | (_, Verdict::Ok(_)) => Finding::of(&subject, proof, &identity),
                    (Some(why), _) => Finding::of(&subject, Proof::not_tried(proof.what, why), &identity),
                };
                report.add(finding);
            }
            let note = missing_external_id(subject.account, identity.account());
            // Nobody else uses the roles of an emulator.
            if let Some(note) = note.filter(|_| !identity.is_anonymous()) {
                report.note(&format!("{}: {note}", subject.name));
            }
        }
    }
}

/// Why nothing of a subject was tried, if that was told before.
fn explanation(
    subject: &Subject<'_>,
    proofs: &[Proof],
    identity: &Identity,
    is_refusal_told: &mut bool,
) -> Option<&'static str> {
    let failed = proofs.iter().find_map(|proof| match &proof.verdict {
        Verdict::Failed(refusal) => Some(refusal.text.as_str()),
        Verdict::Ok(_) | Verdict::NotTried { .. } => None,
    })?;
    // In another cloud, there are other credentials.
    if subject.account.is_none() {
        return identity.explains_at_google(failed);
    }
    if let Some(why) = identity.explains(failed) {
        return Some(why);
    }
    let why = identity.explains_after_another(failed)?;
    std::mem::replace(is_refusal_told, true).then_some(why)
}

/// What is tried at once.
enum Item<'a> {
    Group(&'a Destination),
    /// The number of a source.
    Source(usize),
}

/// Who we are, for every try that fails; asked once.
type SharedIdentity<'a> = Shared<LocalBoxFuture<'a, Arc<Identity>>>;

impl<'a> Stand<'a> {
    pub(super) fn new(
        config: &'a Config,
        clients: &'a Clients,
        clock: &'a WallClock,
        tenants: &'a [TenantId],
    ) -> Self {
        let topology = config.topology();
        let recognizer = build::recognizer(&config.keyring, &topology);
        let sample = phantom_canary(config, clock);
        let wanted = Wanted { waiting: [sample].into(), ..Wanted::default() };
        let shared = observe::Shared::default();
        Self { config, clients, clock, tenants, topology, recognizer, wanted, sample, shared }
    }

    /// Tries every log group and source, and keeps what came of it in the order of the configuration. What needs no cloud
    /// is added to the report at once.
    pub(super) async fn try_everything(&'a self, report: &mut Report, known: &mut Known<'a>) {
        let mut destinations = build::destinations(&self.config.tenants, self.clients, self.clock);
        destinations
            .retain(|destination| destination.tenants.iter().any(|(id, _)| self.tenants.contains(id)));
        let is_of_them =
            |at: &usize| self.config.sources[*at].tenants.iter().any(|tenant| self.tenants.contains(tenant));
        let sources: Vec<usize> = (0..self.config.sources.len()).filter(is_of_them).collect();
        let progress = Progress::new(destinations.len() + sources.len());
        let identity = Identity::request(self.config, self.clients, self.google(), self.clock).map(Arc::new);
        let identity = identity.boxed_local().shared();
        let items = destinations.iter().map(Item::Group);
        let items = items.chain(sources.into_iter().map(Item::Source));
        let tries = stream::iter(items).map(|item| self.try_one(item, identity.clone(), &progress));
        let mut tries = std::pin::pin!(tries.buffered(CONCURRENCY));
        who::own(self.config, &self.sample).into_iter().for_each(|finding| report.add(finding));
        while let Some((tried, identity)) = tries.next().await {
            known.identity.get_or_insert(identity);
            known.tried.push(tried);
        }
        progress.clear();
    }

    async fn try_one(
        &self,
        item: Item<'_>,
        identity: SharedIdentity<'_>,
        progress: &Progress,
    ) -> (Tried<'_>, Arc<Identity>) {
        let (subject, mut proofs) = match item {
            Item::Group(group) => {
                let lines = self.lines(group);
                (Subject::of_destination(self.config, group), group.injector.prove(&lines).await)
            }
            Item::Source(at) => {
                let source = &self.config.sources[at];
                let proofs = source.settings.prove(&self.site(at), &self.shared, &self.wanted).await;
                let no_client = |error: NoClient| {
                    vec![Proof::not_tried("poll", format!("{error}: its credentials cannot be used"))]
                };
                (Subject::of_source(self.config, source, self.clock.now()), proofs.unwrap_or_else(no_client))
            }
        };
        progress.step();
        let identity = identity.await;
        if let Item::Group(Destination { tenants, .. }) = item
            && let Some((tenant, group)) = tenants.first()
            && let Some(tenant) = self.config.tenants.get(usize::from(tenant.0))
            && let Some(group) = tenant.log_groups.get(usize::from(group.0))
            && let Some(proof) = in_another_account(tenant, group, identity.account())
        {
            // Before what was tried in the account to which canaries go.
            proofs.insert(0, proof);
        }
        (Tried { subject, proofs }, identity)
    }

    fn site(&self, at: usize) -> Site<'_> {
        let source = SourceId(u32::try_from(at).unwrap_or(u32::MAX));
        Site {
            topology: &self.topology,
            source,
            rhythm: self.config.sources[at].rhythm,
            clients: self.clients,
            recognizer: &self.recognizer,
            clock: self.clock,
        }
    }

    /// As whom Google knows us.
    async fn google(&self) -> GoogleIdentity {
        if self.config.google.auth == Auth::None {
            return GoogleIdentity::NotTried("gcp.auth is \"none\"");
        }
        if self.clients.google.is_none() {
            return GoogleIdentity::NotTried("its credentials cannot be used; see \"Google's credentials\"");
        }
        let is_google =
            |source: &Source| matches!(spec(source.settings.kind()).provider, Provider::Google(_));
        for (at, source) in self.config.sources.iter().enumerate().filter(|(_, source)| is_google(source)) {
            if let Some(answer) = source.settings.principal(&self.site(at), &self.shared).await {
                return answer.map_or_else(
                    |error| GoogleIdentity::Failed { kind: error.kind, text: error.detail },
                    GoogleIdentity::Known,
                );
            }
        }
        GoogleIdentity::NotTried(
            "only BigQuery can be asked, and no stage of the configuration is in BigQuery",
        )
    }

    /// A canary of each tenant of a log group, as it would be put.
    fn lines(&self, destination: &Destination) -> Vec<String> {
        let line = |id: &TenantId| {
            let tenant = self.config.tenants.get(usize::from(id.0))?;
            let size = tenant.sizes.iter().copied().min()?;
            let tag = self.sample.tag;
            let tag = Tag::new(tag.trace, TenantCode::of(&tenant.name), tag.instance, size, Purpose::Check);
            Some(tenant.template.render(&tag, &self.config.keyring.sign(&tag)))
        };
        destination.tenants.iter().filter_map(|(id, _)| line(id)).collect()
    }
}

/// Returns a request for a canary that was never sent, planned a second ago.
fn phantom_canary(config: &Config, clock: &WallClock) -> WantedTrace {
    let planned_at = clock.now() - Duration::from_secs(1);
    let tenant = config.tenants.first().map_or("", |tenant| &*tenant.name);
    let trace = TraceId::new(planned_at, [0; 10]);
    let instance = InstanceCode::of(&config.probe.instance);
    let tag = Tag::new(trace, TenantCode::of(tenant), instance, 100, Purpose::Check);
    WantedTrace { tag, planned_at }
}

/// What is wrong if the ARN of a log group names another account than `own`, the probe's, and no role is to be assumed.
/// PutLogEvents takes the name alone, so canaries go to a log group of that name in the probe's account.
fn in_another_account(tenant: &Tenant, group: &str, own: Option<&str>) -> Option<Proof> {
    let own = own.filter(|_| tenant.account.role.is_none())?;
    let named = account_of_arn(group).filter(|named| *named != own)?;
    let text = format!(
        "the ARN names account {named}, but canaries go to account {own}, the probe's own: tenant.{}.role_arn is not set; \
         set it to a role in account {named}, or write the log group's name",
        tenant.name
    );
    let refusal = Refusal {
        kind: FailureKind::Error,
        permission: None,
        resource: group.to_owned(),
        text: text.as_str().into(),
        key: Some(if tenant.log_groups.len() > 1 { "log_groups" } else { "log_group" }),
    };
    Some(Proof::failed("account", refusal))
}

/// What to say of a role in another account that is assumed without an external id; `None` if there is none. It
/// works, so nothing fails: but whoever operates a probe for others could be made to use this role for one
/// of them (the confused deputy, IAM user guide).
fn missing_external_id(account: Option<&Account>, own: Option<&str>) -> Option<String> {
    let Some(Account { role: Some(Role { arn, external_id: None }), .. }) = account else { return None };
    if own.is_some_and(|own| arn.split(':').nth(4) == Some(own)) {
        return None;
    }
    Some(format!(
        "{arn} is in another account and is assumed without an external id; set external_id, and require it in the role's trust policy"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::Secret;

    fn account(external_id: Option<&str>) -> Account {
        let arn = "arn:aws:iam::111111111111:role/traceprobe".to_owned();
        let role = Some(Role { arn, external_id: external_id.map(Secret::new) });
        Account { role, ..Account::in_region("eu-central-1") }
    }

    #[test]
    fn an_arn_in_another_account_than_the_probes_fails_without_a_role() {
        let of = |group: &str, more: &str, own: Option<&str>| {
            let text = format!(
                "[aws]\nregion = \"eu-central-1\"\n[[tenant]]\nname = \"acme\"\nlog_group = \"{group}\"\n{more}\
                 [[stage]]\nname = \"stream\"\nkind = \"kinesis\"\nstream = \"logs\"\nend = true\n"
            );
            let key = ("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned());
            let config = Config::parse(&text, [key]).unwrap_or_else(|faults| panic!("{faults}"));
            in_another_account(&config.tenants[0], group, own)
        };
        let arn = "arn:aws:logs:eu-central-1:111111111111:log-group:/acme";
        let Some(Proof { verdict: Verdict::Failed(refusal), .. }) = of(arn, "", Some("999999999999")) else {
            panic!("it does not fail")
        };
        assert_eq!(refusal.key, Some("log_group"));
        for part in ["account 111111111111", "account 999999999999, the probe's own", "tenant.acme.role_arn"]
        {
            assert!(refusal.text.contains(part), "{part}: {}", refusal.text);
        }
        let role = "role_arn = \"arn:aws:iam::111111111111:role/x\"\n";
        assert_eq!(of(arn, role, Some("999999999999")), None, "it is put with the role");
        assert_eq!(of(arn, "", Some("111111111111")), None);
        assert_eq!(of(arn, "", None), None, "its own account is unknown");
        assert_eq!(of("/acme", "", Some("999999999999")), None, "a name is in any account");
    }

    #[test]
    fn a_role_in_another_account_without_an_external_id_is_noted() {
        let note = missing_external_id(Some(&account(None)), Some("222222222222")).unwrap();
        assert!(
            note.contains("arn:aws:iam::111111111111:role/traceprobe") && note.contains("set external_id"),
            "{note}"
        );
        assert_eq!(missing_external_id(Some(&account(None)), None), Some(note), "unknown is not ours");
    }

    #[test]
    fn a_role_with_an_external_id_or_in_our_own_account_is_not_noted() {
        assert_eq!(missing_external_id(Some(&account(Some("id"))), None), None);
        assert_eq!(missing_external_id(Some(&account(None)), Some("111111111111")), None);
        assert_eq!(missing_external_id(Some(&Account::in_region("eu-central-1")), None), None);
        assert_eq!(missing_external_id(None, None), None);
    }
}
