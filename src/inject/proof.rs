//! Proves before the probe runs that canaries can be put into a log group and leave it.
//!
//! The right to put is proven without an event that anybody could find: CloudWatch Logs checks it first, then takes the
//! call and rejects the only event in it, which is too old.

use std::error::Error;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, PolicyType, SubscriptionFilter};

use super::{Injector, answer};
use crate::cloud::failure::{Effect, Failure};
use crate::cloud::pending::within;
use crate::domain::foreign::ForeignText;
use crate::domain::proof::{Proof, Refusal, Verdict};
use crate::domain::sighting::FailureKind;

/// CloudWatch Logs rejects events that are more than 14 days old (AWS Logs API reference, PutLogEvents).
const TOO_OLD: Duration = Duration::from_hours(15 * 24);
/// Text of that event. It has no tag, so that it is no canary where an emulator stores it.
const OLD_EVENT: &str = "traceprobe check: an event of 15 days ago, which CloudWatch Logs rejects";
/// TestMetricFilter takes at most this many events (AWS Logs API reference).
const MAX_TESTED: usize = 50;

const STREAM: &str = "log stream";
const PUT: &str = "right to put";
const FILTERS: &str = "subscription filters";
const PATTERN: &str = "filter pattern";

const DESCRIBE_FILTERS: &str = "logs:DescribeSubscriptionFilters";
const DESCRIBE_POLICIES: &str = "logs:DescribeAccountPolicies";
const TEST_FILTER: &str = "logs:TestMetricFilter";

/// What leaves a log group.
enum Forwarding {
    /// Subscription filters of the group.
    Filters(Vec<SubscriptionFilter>),
    /// Subscription filters of the account.
    Account(usize),
    /// Nothing.
    None,
    /// None of the group; whether the account has some is unknown.
    Unknown(Failure),
}

impl Injector {
    /// Creates the log stream if it is missing, and tries every right that it can without putting an event that
    /// anybody could find. `lines` are canaries as they would be put.
    pub async fn prove(&self, lines: &[String]) -> Vec<Proof> {
        let stream = self.prove_stream().await;
        if stream.is_silence() {
            let why = "CloudWatch Logs does not answer";
            return vec![stream, Proof::not_tried(PUT, why), Proof::not_tried(FILTERS, why)];
        }
        if let Verdict::Failed(Refusal { permission: Some("sts:AssumeRole"), .. }) = &stream.verdict {
            let why = "the role cannot be assumed";
            return vec![stream, Proof::not_tried(PUT, why), Proof::not_tried(FILTERS, why)];
        }
        let mut proofs = vec![stream, self.prove_put().await];
        self.prove_filters(lines, &mut proofs).await;
        proofs
    }

    async fn prove_stream(&self) -> Proof {
        let request = self
            .client
            .create_log_stream()
            .log_group_name(&self.settings.log_group)
            .log_stream_name(&self.settings.log_stream);
        match self.in_time("CreateLogStream", request.send()).await {
            Ok(_) => Proof::ok(STREAM, format!("`{}` was created", self.settings.log_stream)),
            Err(failure) if failure.code.as_deref() == Some("ResourceAlreadyExistsException") => {
                Proof::ok(STREAM, format!("`{}` exists", self.settings.log_stream))
            }
            Err(failure) => Proof::failed(STREAM, self.refusal("logs:CreateLogStream", failure)),
        }
    }

    async fn prove_put(&self) -> Proof {
        let at = self.clock.now() - TOO_OLD;
        let event = InputLogEvent::builder().timestamp(at.millis()).message(OLD_EVENT).build();
        let Ok(event) = event else { return Proof::not_tried(PUT, "the event cannot be built") };
        let request = self
            .client
            .put_log_events()
            .log_group_name(&self.settings.log_group)
            .log_stream_name(&self.settings.log_stream)
            .log_events(event);
        match self.in_time("PutLogEvents", request.send()).await {
            Ok(output) => {
                let rejected = answer::Rejected::from(output.rejected_log_events_info);
                Proof::ok(
                    PUT,
                    match rejected.reason(0) {
                        Some(_) => "proven: an event of 15 days ago was taken and, being too old, not stored",
                        None => {
                            "accepted, not proven to be rejected for its age: an event of 15 days ago may be stored"
                        }
                    },
                )
            }
            Err(failure) if failure.kind == FailureKind::NotFound => Proof::not_tried(
                PUT,
                format!("the log group or its log stream does not exist: {}", failure.text),
            ),
            Err(failure) => Proof::failed(PUT, self.refusal("logs:PutLogEvents", failure)),
        }
    }

    async fn prove_filters(&self, lines: &[String], proofs: &mut Vec<Proof>) {
        let filters = match self.forwarding().await {
            Err(failure) => {
                let why = format!("what forwards its events is unknown: {}", failure.text);
                proofs.push(not_tried(FILTERS, DESCRIBE_FILTERS, why, &failure));
                return;
            }
            Ok(Forwarding::Unknown(failure)) => {
                let why = format!(
                    "the log group has no subscription filter, and whether the account has one is unknown: {}",
                    failure.text
                );
                proofs.push(not_tried(FILTERS, DESCRIBE_POLICIES, why, &failure));
                return;
            }
            Ok(Forwarding::Account(count)) => {
                proofs.push(Proof::ok(
                    FILTERS,
                    format!(
                        "none of the log group, but {count} of the account, whose selection is not tried"
                    ),
                ));
                return;
            }
            Ok(Forwarding::None) => {
                let text =
                    "neither the log group nor the account has a subscription filter, so nothing leaves it";
                proofs.push(Proof::failed(FILTERS, self.misconfigured(text)));
                return;
            }
            Ok(Forwarding::Filters(filters)) => filters,
        };
        let described: Vec<_> = filters.iter().map(describe).collect();
        proofs.push(Proof::ok(FILTERS, described.join("; ")));
        proofs.push(self.prove_patterns(&filters, lines).await);
    }

    /// Whether at least one filter lets every canary through.
    async fn prove_patterns(&self, filters: &[SubscriptionFilter], lines: &[String]) -> Proof {
        if filters.iter().any(|filter| pattern(filter).is_empty()) {
            return Proof::ok(PATTERN, "an empty pattern lets every event through");
        }
        let tested = &lines[..lines.len().min(MAX_TESTED)];
        for filter in filters {
            let request = self
                .client
                .test_metric_filter()
                .filter_pattern(pattern(filter))
                .set_log_event_messages(Some(tested.to_vec()));
            match self.in_time("TestMetricFilter", request.send()).await {
                Ok(output) if output.matches().len() >= tested.len() => {
                    return Proof::ok(PATTERN, format!("{} lets canaries through", describe(filter)));
                }
                Ok(_) => {}
                Err(failure) => {
                    let why = format!("{}: {}", describe(filter), failure.text);
                    return not_tried(PATTERN, TEST_FILTER, why, &failure);
                }
            }
        }
        let described: Vec<_> = filters.iter().map(describe).collect();
        let text = format!("no filter lets the canary through: {}", described.join("; "));
        Proof::failed(PATTERN, Refusal { key: Some("template"), ..self.misconfigured(&text) })
    }

    async fn forwarding(&self) -> Result<Forwarding, Failure> {
        let request = self.client.describe_subscription_filters().log_group_name(&self.settings.log_group);
        let answer = self.in_time("DescribeSubscriptionFilters", request.send()).await?;
        let filters = answer.subscription_filters.unwrap_or_default();
        if !filters.is_empty() {
            return Ok(Forwarding::Filters(filters));
        }
        let request =
            self.client.describe_account_policies().policy_type(PolicyType::SubscriptionFilterPolicy);
        Ok(match self.in_time("DescribeAccountPolicies", request.send()).await {
            Ok(answer) if answer.account_policies().is_empty() => Forwarding::None,
            Ok(answer) => Forwarding::Account(answer.account_policies().len()),
            Err(failure) => Forwarding::Unknown(failure),
        })
    }

    async fn in_time<T, E>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match within(self.settings.attempt_timeout, call).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(Failure::of_aws(&error).calling(&self.call(operation))),
            Err(unanswered) => {
                Err(Failure::new(FailureKind::Timeout, Effect::Unknown, unanswered.to_string())
                    .calling(&self.call(operation)))
            }
        }
    }

    fn call(&self, operation: &str) -> String {
        format!("{operation} on `{}`", self.settings.log_group)
    }

    fn refusal(&self, permission: &'static str, failure: Failure) -> Refusal {
        let is_role = failure.text.contains(": AssumeRole: ");
        let (text, key) = match failure.kind {
            FailureKind::NotFound => {
                let text = format!("the log group `{}` does not exist", self.settings.log_group);
                (failure.text.after(&text), Some("log_group"))
            }
            _ => (failure.text, None),
        };
        Refusal {
            kind: failure.kind,
            permission: Some(if is_role { "sts:AssumeRole" } else { permission }),
            resource: format!("{}:{}", self.settings.log_group, self.settings.log_stream),
            text,
            key,
        }
    }

    fn misconfigured(&self, text: &str) -> Refusal {
        Refusal {
            kind: FailureKind::Error,
            permission: None,
            resource: self.settings.log_group.clone(),
            text: text.into(),
            key: None,
        }
    }
}

/// What could not be tried. Only a denial is for lack of a permission.
fn not_tried(what: &'static str, permission: &'static str, why: String, failure: &Failure) -> Proof {
    if failure.kind == FailureKind::Denied {
        Proof::without(what, permission, why)
    } else {
        Proof::not_tried(what, why)
    }
}

fn pattern(filter: &SubscriptionFilter) -> &str {
    filter.filter_pattern().unwrap_or_default().trim()
}

fn describe(filter: &SubscriptionFilter) -> String {
    let label = |text: Option<&str>| ForeignText::label(text.unwrap_or_default());
    let (name, to) = (label(filter.filter_name()), label(filter.destination_arn()));
    match pattern(filter) {
        "" => format!("`{name}` to {to}"),
        pattern => format!("`{name}` with pattern `{}` to {to}", ForeignText::label(pattern)),
    }
}
