//! STS, AWS query protocol: AssumeRole and GetCallerIdentity.
//!
//! The access key that it issues contains the account of the role, by which the other services identify the
//! caller. Signatures are not checked: any real endpoint would refuse a wrong one.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::super::clock;
use super::super::names::Service;
use super::super::world::{Shared, World};
use super::{Call, CallTarget, Failure, long_message, pairs, plain, request_id, server_status, xml};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// Session durations that AssumeRole accepts (AWS STS API reference).
const DURATION_SECONDS: std::ops::RangeInclusive<u64> = 900..=43_200;

fn parameters(call: &Call) -> HashMap<String, String> {
    let form = String::from_utf8_lossy(&call.body);
    let uri = format!("/?{form}").parse::<Uri>().unwrap_or_default();
    pairs(&uri).into_iter().chain(pairs(&call.uri)).collect()
}

pub(super) fn identify(world: &World, call: &Call) -> CallTarget {
    let parameters = parameters(call);
    let resource = parameters.get("RoleArn").cloned().unwrap_or_default();
    let tenant = world.tenants.iter().find(|tenant| tenant.spec.role_arn == resource);
    CallTarget {
        operation: parameters.get("Action").cloned().unwrap_or_default(),
        tenant: tenant.map(|tenant| tenant.spec.name.clone()),
        resource,
    }
}

pub(super) fn failure_response(failure: Failure) -> Response {
    match failure {
        Failure::Throttled => error(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
        Failure::Denied => error(StatusCode::FORBIDDEN, "AccessDenied", "Access denied"),
        Failure::Long(bytes) => error(StatusCode::BAD_REQUEST, "ValidationError", &long_message(bytes)),
        Failure::Server(status) => error(
            server_status(status),
            "InternalFailure",
            "The request processing has failed because of an unknown error",
        ),
    }
}

pub(super) fn handle(shared: &Shared, operation: &str, call: &Call) -> Response {
    match operation {
        "AssumeRole" => assume_role(shared, call),
        "GetCallerIdentity" => {
            let account = &call.account;
            success(
                operation,
                &format!(
                    "<Arn>arn:aws:sts::{account}:assumed-role/sandbox/session</Arn><UserId>AROASANDBOX:session</UserId><Account>{account}</Account>"
                ),
            )
        }
        other => error(
            StatusCode::BAD_REQUEST,
            "InvalidAction",
            &format!("Could not find operation {other} for version 2011-06-15"),
        ),
    }
}

fn assume_role(shared: &Shared, call: &Call) -> Response {
    let parameters = parameters(call);
    let get = |name: &str| parameters.get(name).map(String::as_str);
    let (Some(role), Some(session)) = (get("RoleArn"), get("RoleSessionName")) else {
        return error(StatusCode::BAD_REQUEST, "ValidationError", "RoleArn and RoleSessionName are required");
    };
    let seconds = get("DurationSeconds").map_or(Some(3_600), |text| text.parse().ok());
    let Some(seconds) = seconds.filter(|seconds| DURATION_SECONDS.contains(seconds)) else {
        return error(
            StatusCode::BAD_REQUEST,
            "ValidationError",
            "durationSeconds must be between 900 and 43200",
        );
    };
    let mut world = shared.lock();
    let stamp = world.stamp(Service::Sts, clock::now());
    let trusted = world.tenants.iter_mut().find(|tenant| {
        tenant.spec.role_arn == role && get("ExternalId") == Some(tenant.spec.external_id.as_str())
    });
    let Some(tenant) = trusted.filter(|_| World::is_sre(&call.account)) else {
        let message = format!(
            "User: arn:aws:sts::{}:assumed-role/sandbox/session is not authorized to perform: sts:AssumeRole on resource: {role}",
            call.account
        );
        return error(StatusCode::FORBIDDEN, "AccessDenied", &message);
    };
    let account = &tenant.spec.account;
    let key = tenant.sessions.issue(account);
    let expires = stamp.after(Duration::from_secs(seconds)).format("%Y-%m-%dT%H:%M:%SZ");
    let role_name = role.rsplit('/').next().unwrap_or_default();
    success(
        "AssumeRole",
        &format!(
            "<AssumedRoleUser><AssumedRoleId>AROASANDBOX:{0}</AssumedRoleId><Arn>arn:aws:sts::{account}:assumed-role/{1}/{0}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>sandbox-secret</SecretAccessKey>\
             <SessionToken>sandbox-session-{account}</SessionToken><Expiration>{expires}</Expiration></Credentials>",
            xml(session),
            xml(role_name),
        ),
    )
}

fn success(operation: &str, result: &str) -> Response {
    let body = format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{operation}Response>",
        request_id()
    );
    plain(StatusCode::OK, "text/xml", body)
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let side = if status.is_server_error() { "Receiver" } else { "Sender" };
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{side}</Type><Code>{code}</Code><Message>{}</Message></Error>\
         <RequestId>{}</RequestId></ErrorResponse>",
        xml(message),
        request_id()
    );
    plain(status, "text/xml", body)
}
