//! The listeners: what all services have in common, before each speaks its own protocol.
//!
//! Every service has its own socket, so that one can hang, be cut off or have a wrong clock while the others
//! work. A call is identified, counted, subjected to the faults of its service, and only then answered.

pub(crate) mod admin;
mod bigquery;
mod connection;
mod fields;
mod gcs;
mod kinesis;
mod logs;
mod pattern;
mod s3;
mod sql;
mod sts;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::connection::{Cutter, Listener};
use super::clock::now;
use super::fault::ServiceEffect;
use super::names::Service;
use super::settings::SRE_ACCOUNT;
use super::tasks::Tasks;
use super::world::Shared;

/// The largest request is a PutLogEvents of 1 MiB, whose JSON can be several times larger.
const REQUEST_BYTES: usize = 16 << 20;
const JSON_1_1: &str = "application/x-amz-json-1.1";

/// One request with its whole body.
pub(crate) struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// The id of the access key that signed it; empty if none did.
    key: String,
    /// The AWS account of that key.
    account: String,
}

/// The operation that a request calls, the resource that it names, and the tenant to whom that belongs, if it
/// is one tenant's alone.
struct CallTarget {
    operation: String,
    resource: String,
    tenant: Option<String>,
}

#[derive(Clone)]
struct Context {
    shared: Arc<Shared>,
    service: Service,
    stop: CancellationToken,
}

/// Binds a loopback socket; `port` 0 lets the system choose.
pub(crate) async fn bind(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves a service on a bound socket until the sandbox stops.
pub(crate) fn serve(tasks: &mut Tasks, service: Service, listener: TcpListener, shared: &Arc<Shared>) {
    let stop = tasks.stop_token();
    let context = Context { shared: Arc::clone(shared), service, stop: stop.clone() };
    let app = Router::new().fallback(handle).with_state(context);
    tasks.start(service.name(), async move {
        let served =
            axum::serve(Listener::new(listener), app.into_make_service_with_connect_info::<Cutter>())
                .with_graceful_shutdown(stop.cancelled_owned())
                .await;
        if let Err(error) = served {
            tracing::warn!(service = %service, %error, "sandbox: the listener of {service} ended");
        }
    });
}

async fn handle(
    State(context): State<Context>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "request too large");
    };
    let key = signer(&parts.headers);
    let account = account_of(&key);
    let call = Call { method: parts.method, uri: parts.uri, headers: parts.headers, body, key, account };
    let service = context.service;
    let target = {
        let mut world = context.shared.lock();
        let target = match service {
            Service::Logs => logs::identify(&world, &call),
            Service::Kinesis => kinesis::identify(&world, &call),
            Service::S3 => s3::identify(&world, &call),
            Service::Sts => sts::identify(&world, &call),
            Service::Bigquery => bigquery::identify(&call),
            Service::Gcs => gcs::identify(&world, &call),
        };
        world.count_call(service, &target.operation, &target.resource);
        target
    };
    let effects = context.effects(&target).await;
    for effect in &effects {
        let failure = match effect {
            ServiceEffect::Throttle => Failure::Throttled,
            ServiceEffect::ServerError { status } => Failure::Server(*status),
            ServiceEffect::Deny => Failure::Denied,
            ServiceEffect::LongError { bytes } => Failure::Long(*bytes),
            ServiceEffect::CutBefore => {
                cutter.cut();
                Failure::Server(500)
            }
            ServiceEffect::Hang | ServiceEffect::Slow { .. } | ServiceEffect::CutAfter => continue,
        };
        return match service {
            Service::Logs => logs::failure_response(failure),
            Service::Kinesis => kinesis::failure_response(failure),
            Service::S3 => s3::failure_response(failure),
            Service::Sts => sts::failure_response(failure),
            Service::Bigquery => bigquery::failure_response(failure),
            Service::Gcs => gcs::failure_response(failure, &call),
        };
    }
    let mut response = match service {
        Service::Logs => logs::handle(&context.shared, &target.operation, &call),
        Service::Kinesis => kinesis::handle(&context.shared, &target.operation, &call),
        Service::S3 => s3::handle(&context.shared, &target.operation, &call),
        Service::Sts => sts::handle(&context.shared, &target.operation, &call),
        Service::Bigquery => bigquery::handle(&context.shared, &target.operation, &call).await,
        Service::Gcs => gcs::handle(&context.shared, &target.operation, &call),
    };
    let date = context.shared.lock().stamp(service, now()).format("%a, %d %b %Y %H:%M:%S GMT");
    response.headers_mut().extend(HeaderValue::try_from(date).map(|date| (header::DATE, date)));
    if effects.contains(&ServiceEffect::CutAfter) {
        cutter.cut();
    }
    response
}

impl Context {
    /// Waits while faults delay the call, and returns the effects that apply after that.
    async fn effects(&self, target: &CallTarget) -> Vec<ServiceEffect> {
        let current = || -> Vec<ServiceEffect> {
            let world = self.shared.lock();
            world.faults.of_call(self.service, &target.operation, target.tenant.as_deref()).collect()
        };
        let mut changes = self.shared.faults_changed.subscribe();
        let mut slept = false;
        loop {
            let effects = current();
            if effects.contains(&ServiceEffect::Hang) {
                tokio::select! {
                    () = self.stop.cancelled() => return effects,
                    _ = changes.changed() => continue,
                }
            }
            let slow = effects.iter().find_map(|effect| match effect {
                ServiceEffect::Slow { ms } => Some(Duration::from_millis(*ms)),
                _ => None,
            });
            match slow {
                Some(delay) if !slept => {
                    slept = true;
                    tokio::select! {
                        () = self.stop.cancelled() => return effects,
                        () = tokio::time::sleep(delay) => {}
                    }
                }
                _ => return effects,
            }
        }
    }
}

/// A failure for which each service has its own answer.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Throttled,
    Server(u16),
    Denied,
    /// With a message of this many bytes: see [`long_message`].
    Long(usize),
}

/// A message of about `bytes` bytes, but at most 16 MiB, with line breaks, an escape sequence and a bidirectional override.
fn long_message(bytes: usize) -> String {
    const LINE: &str = "\n2026-11-25T21:00:00.000000Z ERROR forged \u{1b}[31m\u{202e} <script>";
    let mut message = "The request is wrong.".to_owned();
    while message.len() < bytes.min(16 << 20) {
        message.push_str(LINE);
    }
    message
}

impl Call {
    /// The value of a query parameter.
    fn query(&self, name: &str) -> Option<String> {
        pairs(&self.uri).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The operation that an AWS JSON call names in its target header.
    fn target(&self) -> String {
        let target =
            self.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
        target.rsplit('.').next().unwrap_or_default().to_owned()
    }
}

/// The pairs of a query string.
fn pairs(uri: &Uri) -> Vec<(String, String)> {
    Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

/// The id of the access key that signed the request; empty if none did.
fn signer(headers: &HeaderMap) -> String {
    let authorization =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let credential = authorization.split("Credential=").nth(1);
    credential.and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned()
}

/// The account of a key. Keys issued by the sandbox's STS contain it; all others are the SRE account's.
fn account_of(key: &str) -> String {
    key.strip_prefix("ASIA")
        .and_then(|rest| rest.get(..12))
        .filter(|account| account.bytes().all(|byte| byte.is_ascii_digit()))
        .unwrap_or(SRE_ACCOUNT)
        .to_owned()
}

/// A new request id.
fn request_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    format!("00000000-0000-4000-8000-{:012x}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn plain(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header("x-amzn-requestid", request_id())
        .body(body.into())
        .unwrap_or_default()
}

fn aws_json(value: &Value) -> Response {
    plain(StatusCode::OK, JSON_1_1, value.to_string())
}

/// An error of an AWS JSON 1.1 service.
fn aws_error(status: StatusCode, code: &str, message: &str) -> Response {
    plain(status, JSON_1_1, json!({"__type": code, "message": message}).to_string())
}

/// The status of a fault, which JSON may have set to anything.
fn server_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(StatusCode::is_server_error)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer of a gateway in front of a service that does not respond.
fn gateway_page(status: StatusCode) -> Option<Response> {
    if status != StatusCode::BAD_GATEWAY && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let page = format!(
        "<html><head><title>{0} {reason}</title></head><body><h1>{0} {reason}</h1></body></html>\n",
        status.as_u16()
    );
    Some(plain(status, "text/html; charset=UTF-8", page))
}

/// Escapes text for XML.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
