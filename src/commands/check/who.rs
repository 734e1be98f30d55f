//! Who the probe is, and what of it does not depend on any stage: clock, store, tag key.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::finding::{Failed, Finding, Mark};
use super::mend::{Mend, without_google_file};
use crate::cloud::Clients;
use crate::cloud::aws::Caller;
use crate::cloud::failure::aws::{NO_CREDENTIALS, has_code_of_refused_credentials};
use crate::cloud::failure::{Effect, Failure};
use crate::cloud::google::NO_FILE;
use crate::cloud::pending::within;
use crate::config::Config;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::{FailureKind, WantedTrace};
use crate::domain::time::{Timestamp, WallClock};

/// How long to wait for our own identity.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How far our clock and that of AWS may differ. The header has whole seconds, and a second more is lost on the way.
const CLOCK: Duration = Duration::from_secs(3);

const WHO: &str = "who am I";

/// Why nothing else that needs the probe's own AWS credentials was tried.
const UNUSABLE: &str = "the probe's own AWS credentials cannot be used; see \"who am I, AWS\"";
const UNUSABLE_AT_GOOGLE: &str = "the probe's Google credentials cannot be used; see \"who am I, Google\"";
const REFUSED: &str = "the credentials were refused; see \"who am I, AWS\"";
const REFUSED_ELSEWHERE: &str = "the credentials were refused; see the first FAIL that says so";

/// Why nobody is told whom an emulator takes us for.
const ANONYMOUS: &str =
    "aws.auth is \"none\": no account is known, because the dummy credentials are nobody's";

/// Whom Google takes us for.
#[derive(Clone, Debug)]
pub(super) enum GoogleIdentity {
    /// Nobody was asked, for this reason.
    NotTried(&'static str),
    Known(String),
    Failed {
        kind: FailureKind,
        text: ForeignText,
    },
}

impl Default for GoogleIdentity {
    fn default() -> Self {
        Self::NotTried("not asked")
    }
}

/// Who we are, as far as the clouds say.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    aws: Option<Result<Caller, Failure>>,
    google: GoogleIdentity,
    /// When AWS answered, by our own clock.
    answered: Option<Timestamp>,
    /// Whether calls are signed with dummy credentials. What an emulator says of them is no account of ours.
    is_anonymous: bool,
}

impl Identity {
    /// Asks AWS and Google at the same time.
    pub(super) async fn request(
        config: &Config,
        clients: &Clients,
        google: impl Future<Output = GoogleIdentity>,
        clock: &WallClock,
    ) -> Self {
        let aws = async {
            let answer = within(TIMEOUT, clients.aws.caller()).await;
            answer.unwrap_or_else(|unanswered| {
                let text = format!("GetCallerIdentity: {unanswered}");
                Err(Failure::new(FailureKind::Timeout, Effect::Unknown, text))
            })
        };
        let aws = async { (aws.await, clock.now()) };
        let ((aws, answered), google) = futures::join!(aws, google);
        Self { aws: Some(aws), google, answered: Some(answered), is_anonymous: config.aws.anonymous }
    }

    /// Whether calls are signed with the dummy credentials of `aws.auth = "none"`.
    pub(super) const fn is_anonymous(&self) -> bool {
        self.is_anonymous
    }

    /// The ARN of our own AWS identity.
    pub(super) fn arn(&self) -> Option<&str> {
        Some(self.caller()?.arn.as_str())
    }

    /// The number of our own account.
    pub(super) fn account(&self) -> Option<&str> {
        Some(self.caller()?.account.as_str())
    }

    fn caller(&self) -> Option<&Caller> {
        self.aws.as_ref().filter(|_| !self.is_anonymous)?.as_ref().ok()
    }

    /// The principal as which Google knows us.
    pub(super) fn google(&self) -> Option<&str> {
        match &self.google {
            GoogleIdentity::Known(name) => Some(name),
            GoogleIdentity::NotTried(_) | GoogleIdentity::Failed { .. } => None,
        }
    }

    /// Why a failure need not be told again: it has the reason for which our own identity is unknown.
    pub(super) fn explains(&self, text: &str) -> Option<&'static str> {
        let Some(Err(failure)) = &self.aws else { return None };
        if failure.kind != FailureKind::Denied {
            return None;
        }
        // Whatever was called, and whichever role was to be assumed for it.
        let lacks_credentials = |text: &str| text.split(": ").any(|part| part == NO_CREDENTIALS);
        if failure.effect == Effect::NotSent && lacks_credentials(&failure.text) && lacks_credentials(text) {
            return Some(UNUSABLE);
        }
        // Each service has a code and a sentence of its own for it.
        let refused = has_code_of_refused_credentials;
        (refused(&failure.text) && refused(text)).then_some(REFUSED)
    }

    /// Why a failure at Google need not be told again: there is no access token for any call.
    pub(super) fn explains_at_google(&self, text: &str) -> Option<&'static str> {
        let GoogleIdentity::Failed { text: own, .. } = &self.google else { return None };
        (lacks_token(own) && lacks_token(text)).then_some(UNUSABLE_AT_GOOGLE)
    }

    /// Why a failure need not be told again if STS could not be asked who we are, and another service has refused our
    /// credentials before. If STS knows them, a region may be one that the account has not enabled.
    pub(super) fn explains_after_another(&self, text: &str) -> Option<&'static str> {
        let is_unknown = matches!(&self.aws, Some(Err(failure)) if failure.kind != FailureKind::Denied);
        (is_unknown && has_code_of_refused_credentials(text)).then_some(REFUSED_ELSEWHERE)
    }

    /// What is known, as findings.
    pub(super) fn findings(&self, config: &Config) -> Vec<Finding> {
        let mut findings = vec![self.of_aws()];
        findings.extend(self.of_google(config));
        findings.push(self.of_clock());
        findings
    }

    fn of_aws(&self) -> Finding {
        let what = format!("{WHO}, AWS");
        match &self.aws {
            Some(Ok(_)) if self.is_anonymous => Finding::general(Mark::NotTried, &what, ANONYMOUS),
            Some(Ok(caller)) => {
                Finding::general(Mark::Ok, &what, format!("{} in account {}", caller.arn, caller.account))
            }
            Some(Err(failure)) if failure.kind == FailureKind::Denied => {
                let mend = of_own_credentials(&failure.text);
                let failed = Failed {
                    kind: failure.kind.as_str(),
                    principal: None,
                    permission: None,
                    resource: "sts".to_owned(),
                    sentence: failure.text.to_string(),
                };
                let finding = Finding::general(Mark::Fail, &what, failure.text.to_string());
                Finding { failure: Some(failed), ..finding.with_mend(mend) }
            }
            // Whoever assumes no role needs no STS.
            Some(Err(failure)) => Finding::general(Mark::NotTried, &what, failure.text.to_string()),
            None => Finding::general(Mark::NotTried, &what, "not asked"),
        }
    }

    fn of_google(&self, config: &Config) -> Option<Finding> {
        if config.google.services.is_empty() {
            return None;
        }
        let what = format!("{WHO}, Google");
        Some(match &self.google {
            GoogleIdentity::Known(name) => Finding::general(Mark::Ok, &what, name.clone()),
            GoogleIdentity::Failed { kind, text } if lacks_token(text) => {
                let failed = Failed {
                    kind: kind.as_str(),
                    principal: None,
                    permission: None,
                    resource: "bigquery".to_owned(),
                    sentence: text.to_string(),
                };
                let finding = Finding::general(Mark::Fail, &what, text.to_string());
                Finding { failure: Some(failed), ..finding.with_mend(of_google_credentials(config, text)) }
            }
            // The right to query may be missing, which nothing else needs.
            GoogleIdentity::Failed { text, .. } => Finding::general(Mark::NotTried, &what, text.to_string()),
            GoogleIdentity::NotTried(why) => Finding::general(Mark::NotTried, &what, *why),
        })
    }

    fn of_clock(&self) -> Finding {
        const WHAT: &str = "clock";
        let theirs = self.aws.as_ref().and_then(|aws| aws.as_ref().ok()?.server_date);
        let Some((theirs, ours)) = theirs.zip(self.answered) else {
            return Finding::general(Mark::NotTried, WHAT, "AWS did not tell its time");
        };
        let (ahead, behind) = (ours.since(theirs), theirs.since(ours));
        let apart = ahead.max(behind);
        if apart <= CLOCK {
            let text = format!("within {} s of that of AWS", CLOCK.as_secs());
            return Finding::general(Mark::Ok, WHAT, text);
        }
        let way = if ahead > behind { "ahead of" } else { "behind" };
        let text = format!(
            "{} s {way} that of AWS: arrivals would seem early or late, and AWS refuses calls from 5 minutes on",
            apart.as_secs()
        );
        let command = Some("timedatectl timesync-status".to_owned());
        Finding::general(Mark::Fail, WHAT, text).with_mend(Mend { command, ..Mend::default() })
    }
}

/// What to do about credentials of our own that are missing or refused.
pub(super) fn of_own_credentials(text: &str) -> Mend {
    let command = Some("aws sts get-caller-identity".to_owned());
    let refused = "the credentials that the probe finds are valid and have not expired: AWS_ACCESS_KEY_ID with its \
                   AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else AWS_PROFILE, else the role of the task";
    let missing = "there are credentials where the probe looks: AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, else \
                   AWS_PROFILE, else the role of the task (taskRoleArn) or of the instance";
    let possibility = if has_code_of_refused_credentials(text) { refused } else { missing };
    Mend {
        command,
        key: Some("aws.auth".to_owned()),
        possibilities: vec![possibility.to_owned()],
        ..Mend::default()
    }
}

/// What the texts of failures begin with that have got no access token ([`GoogleError`]), after the call.
///
/// [`GoogleError`]: crate::cloud::google::GoogleError
const WITHOUT_TOKEN: [&str; 3] =
    ["cannot use the Google credentials", "cannot fetch an access token", "no access token"];

/// Whether a call to Google failed because there is no access token.
fn lacks_token(text: &str) -> bool {
    text.split(": ").any(|part| WITHOUT_TOKEN.iter().any(|begin| part.starts_with(begin)))
}

/// What to do about credentials for Google with which no access token is given.
fn of_google_credentials(config: &Config, text: &str) -> Mend {
    if text.contains(NO_FILE) {
        return without_google_file();
    }
    let key = config.google.credentials_from().unwrap_or_else(|| "gcp.auth".to_owned());
    let right = "what it names is valid and has not been revoked, and the hosts under \"Network\" in docs/permissions.md \
                 can be reached (docs/google.md)";
    Mend { key: Some(key), possibilities: vec![right.to_owned()], ..Mend::default() }
}

/// What needs no cloud: the tag key and the store.
pub(super) fn own(config: &Config, sample: &WantedTrace) -> Vec<Finding> {
    let signed = config.keyring.sign(&sample.tag);
    let is_ours = config.keyring.read(signed.as_str().as_bytes()).is_ok();
    let key = if is_ours {
        Finding::general(Mark::Ok, "tag key", "a tag was signed and verified")
    } else {
        Finding::general(Mark::Fail, "tag key", "a tag that was signed cannot be verified")
    };
    let store = match &config.store.path {
        None => Finding::general(Mark::Ok, "store", "none: traces are kept in memory only"),
        Some(path) => match try_store(path) {
            Ok(seen) => Finding::general(Mark::Ok, "store", seen),
            Err(error) => {
                let mend = Mend { key: Some("store.path".to_owned()), ..Mend::default() };
                let text = format!("{} cannot be written: {error}", path.display());
                Finding::general(Mark::Fail, "store", text).with_mend(mend)
            }
        },
    };
    vec![key, store]
}

/// Opens the file for writing without writing, and makes a file beside it, as SQLite does. A running daemon may hold
/// the file, so it is neither locked nor changed.
fn try_store(path: &Path) -> Result<String, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("the folder {} does not exist", folder.display()));
    }
    let beside = folder.join(format!(".traceprobe-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&beside);
    made.and_then(|_| fs::remove_file(&beside)).map_err(|error| error.to_string())?;
    match OpenOptions::new().append(true).open(path) {
        Ok(_) => Ok(format!("{} exists and may be written", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(format!("{} does not exist yet and may be created", path.display()))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::google::GoogleError;

    fn identity(skew: i64) -> Identity {
        let theirs = Timestamp::from_secs(1_000);
        let caller = Caller {
            arn: "arn:aws:sts::999999999999:assumed-role/task/x".to_owned(),
            account: "999999999999".to_owned(),
            server_date: Some(theirs),
        };
        let answered = Some(Timestamp::from_secs(1_000 + skew));
        Identity { aws: Some(Ok(caller)), answered, ..Identity::default() }
    }

    #[test]
    fn what_an_emulator_says_of_dummy_credentials_is_no_account_of_ours() {
        let anonymous = Identity { is_anonymous: true, ..identity(1) };
        assert_eq!((anonymous.arn(), anonymous.account()), (None, None));
        let finding = anonymous.of_aws();
        assert_eq!((finding.mark, &*finding.detail), (Mark::NotTried, ANONYMOUS));
        assert_eq!(anonymous.of_clock().mark, Mark::Ok, "its clock is one nevertheless");
    }

    #[test]
    fn a_clock_that_is_off_by_a_minute_fails_and_one_by_a_second_does_not() {
        assert_eq!(identity(1).of_clock().mark, Mark::Ok);
        let ahead = identity(60).of_clock();
        assert_eq!(ahead.mark, Mark::Fail);
        assert!(ahead.detail.starts_with("60 s ahead of"), "{}", ahead.detail);
        assert!(identity(-60).of_clock().detail.starts_with("60 s behind"));
        assert_eq!(Identity::default().of_clock().mark, Mark::NotTried);
    }

    #[test]
    fn missing_credentials_are_told_once() {
        let without =
            format!("{NO_CREDENTIALS}: dispatch failure: {}", "not here, and not there; ".repeat(21));
        let of = |call: &str| {
            let failure = Failure::new(FailureKind::Denied, Effect::NotSent, without.as_str());
            failure.calling(call)
        };
        let identity = Identity { aws: Some(Err(of("GetCallerIdentity"))), ..Identity::default() };
        let of_role = of("AssumeRole").calling("CreateLogStream on `/ecs/globex/app`").text;
        assert!(of_role.ends_with("B)"), "with a role in front, the text is cut: {of_role}");
        for text in [&*of("ListShards on stream s").text, &*of_role] {
            assert_eq!(identity.explains(text), Some(UNUSABLE), "{text}");
        }
        assert_eq!(identity.explains("ListShards on stream s: AccessDenied: no"), None);
        assert_eq!(Identity::default().explains(&of_role), None);
    }

    #[test]
    fn refused_credentials_are_told_once_whatever_a_service_calls_it() {
        let of = |kind, text: &str| {
            let failure = Failure::new(kind, Effect::Refused, text).calling("GetCallerIdentity");
            Identity { aws: Some(Err(failure)), ..Identity::default() }
        };
        let of_services = [
            "ListShards on stream s: ExpiredTokenException: m",
            "ListObjectsV2 on s3://b/p/: InvalidAccessKeyId: m",
            "CreateLogStream on `g`: AssumeRole: InvalidClientTokenId: m",
            "GetQueueAttributes on q: SignatureDoesNotMatch: m",
            "GetQueueAttributes on q: ExpiredToken (HTTP 403)",
        ];
        for text in of_services {
            assert_eq!(of(FailureKind::Denied, "ExpiredToken: m").explains(text), Some(REFUSED), "{text}");
            let unknown = of(FailureKind::Unreachable, "cannot reach sts");
            assert_eq!(unknown.explains(text), None);
            assert_eq!(unknown.explains_after_another(text), Some(REFUSED_ELSEWHERE), "{text}");
            // Who is known to STS is refused for another reason.
            assert_eq!((identity(0).explains(text), identity(0).explains_after_another(text)), (None, None));
        }
        let denied =
            "ListShards on stream s: AccessDenied: with an explicit deny in an identity-based policy";
        assert_eq!(of(FailureKind::Denied, "ExpiredToken: m").explains(denied), None);
    }

    #[test]
    fn missing_credentials_of_google_are_told_once() {
        let failed = |text: String| Identity {
            google: GoogleIdentity::Failed { kind: FailureKind::Unreachable, text: text.into() },
            ..Identity::default()
        };
        let errors = [
            GoogleError::Credentials("m".to_owned()),
            GoogleError::TokenDenied("m".to_owned()),
            GoogleError::TokenFetchFailed("m: n".to_owned()),
            GoogleError::TokenTimedOut(Duration::from_secs(5), ""),
        ];
        for error in errors {
            let identity = failed(format!("query on `p`: {error}"));
            let of_stage = format!("tables.get of `p.d.t`: {error}");
            assert_eq!(identity.explains_at_google(&of_stage), Some(UNUSABLE_AT_GOOGLE), "{error}");
            assert_eq!(identity.explains_at_google("tables.get of `p.d.t`: accessDenied: no"), None);
        }
        let denied = failed("query on `p`: accessDenied: no".to_owned());
        assert_eq!(denied.explains_at_google("tables.get of `p.d.t`: no access token: m"), None);
    }

    #[test]
    fn a_store_whose_folder_is_missing_cannot_be_written() {
        let missing = try_store(Path::new("/no/such/folder/traceprobe.db")).unwrap_err();
        assert_eq!(missing, "the folder /no/such/folder does not exist");
        let folder = std::env::temp_dir();
        assert!(try_store(&folder.join("traceprobe-check-no-such.db")).unwrap().contains("may be created"));
    }
}
