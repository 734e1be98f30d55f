//! Who may see what: TLS, client certificates and users of the web port.
//!
//! They come from a web configuration file in the format of Prometheus' exporter-toolkit, so that one file serves the
//! exporters of a machine. Which paths need no login is not part of that format and comes from our own configuration.
//! Its files are read again when they change, because certificates are renewed more often than probes are restarted. A
//! faulty change is logged and leaves the former state in force.

mod file;
mod tls;
mod users;

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use tracing::{info, warn};

use self::file::{ClientAuth, WebFile};
use self::users::{Users, Verdict};
use crate::metrics::{Connections, Refused};

/// Whether the client of a connection has shown a certificate that was verified; in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certified(pub(crate) bool);

/// Whether a request came from somebody who has shown who it is; in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known(pub(crate) bool);

/// Decides who may see what.
#[derive(Default)]
pub struct Gate {
    /// The web configuration file; without one, everybody may see everything, over plain HTTP.
    path: Option<PathBuf>,
    /// Paths that need no login; one that ends in `*` stands for all that begin so.
    open: Vec<String>,
    // A lock, because requests read it on any thread; held to clone an `Arc`.
    rules: RwLock<Arc<Rules>>,
    /// The files as they were just before they were last read.
    seen: Mutex<Vec<Stamp>>,
}

/// What tells two states of a file apart.
type Stamp = (PathBuf, Option<(SystemTime, u64)>);

/// What the files say.
#[derive(Default)]
struct Rules {
    tls: Option<Arc<ServerConfig>>,
    needs_certificate: bool,
    users: Option<Users>,
    headers: Vec<(HeaderName, HeaderValue)>,
    without_http2: bool,
}

impl Gate {
    /// Reads a web configuration file and the files that it names.
    ///
    /// # Errors
    ///
    /// Every fault, each with its key.
    pub fn read(path: &Path, open: &[String]) -> Result<Self, Vec<String>> {
        let (rules, seen) = Rules::read(path, open);
        Ok(Self {
            path: Some(path.to_owned()),
            open: open.to_vec(),
            rules: RwLock::new(Arc::new(rules?)),
            seen: Mutex::new(seen),
        })
    }

    /// Whether the port speaks TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls().is_some()
    }

    /// Whether there are files to watch.
    pub(super) fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// The TLS of new connections; `None` for plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.rules().tls.clone()
    }

    /// Whether HTTP/2 is spoken.
    pub(super) fn has_http2(&self) -> bool {
        !self.rules().without_http2
    }

    /// Reads the files again if one of them has changed. Blocks on the disk.
    pub(super) fn refresh(&self) {
        let Some(path) = &self.path else { return };
        let files: Vec<_> = self.seen().iter().map(|(path, _)| path.clone()).collect();
        let now: Vec<_> = files.into_iter().map(stamp).collect();
        if *self.seen() == now {
            return;
        }
        let (rules, seen) = Rules::read(path, &self.open);
        *self.seen() = seen;
        match rules {
            Ok(rules) => {
                *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
                info!("the web configuration has changed and is in force");
            }
            Err(faults) => {
                let faults = faults.join("; ");
                warn!(
                    "the web configuration has changed and is faulty, so the former stays in force: {faults}"
                );
            }
        }
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Stamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self, path: &str) -> bool {
        self.open.iter().any(|open| match open.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == open,
        })
    }

    /// Lets only those requests through to `router` that may pass, and adds the configured headers to all answers.
    pub fn guard(self: Arc<Self>, router: Router, counters: &Connections) -> Router {
        if self.path.is_none() {
            return router;
        }
        let counters = counters.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let (gate, counters) = (self.clone(), counters.clone());
            async move {
                let rules = gate.rules();
                let mut response = gate.answer(&rules, request, next, &counters).await;
                for (name, value) in &rules.headers {
                    response.headers_mut().insert(name.clone(), value.clone());
                }
                response
            }
        }))
    }

    async fn answer(
        &self,
        rules: &Rules,
        mut request: Request,
        next: Next,
        counters: &Connections,
    ) -> Response {
        let is_certified = request.extensions().get::<Certified>().is_some_and(|certified| certified.0);
        let is_open = self.is_open(request.uri().path());
        if rules.needs_certificate && !is_certified && !is_open {
            counters.refused(Refused::Certificate);
            return (StatusCode::FORBIDDEN, "a client certificate is needed here\n").into_response();
        }
        let mut is_known = is_certified;
        if let (Some(users), false) = (&rules.users, is_open) {
            match login(users, request.headers()).await {
                Verdict::Right => is_known = true,
                Verdict::Wrong => {
                    counters.refused(Refused::Login);
                    let challenge =
                        [(header::WWW_AUTHENTICATE, "Basic realm=\"traceprobe\", charset=\"UTF-8\"")];
                    return (StatusCode::UNAUTHORIZED, challenge, "a user and a password are needed here\n")
                        .into_response();
                }
                Verdict::Unchecked => {
                    counters.refused(Refused::Login);
                    let text = "too many passwords wait to be checked\n";
                    return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
                }
            }
        }
        request.extensions_mut().insert(Known(is_known));
        next.run(request).await
    }
}

/// Checks the user and password of a request (RFC 7617).
async fn login(users: &Users, headers: &HeaderMap) -> Verdict {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = given.and_then(|given| {
        let (scheme, encoded) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then_some(encoded.trim())
    });
    let decoded = encoded.and_then(|encoded| String::from_utf8(STANDARD.decode(encoded).ok()?).ok());
    match decoded.as_deref().and_then(|decoded| decoded.split_once(':')) {
        Some((user, password)) => users.check(user, password).await,
        None => Verdict::Wrong,
    }
}

impl Rules {
    /// Returns the rules, and every file that they come from as it was before it was read: one that changes meanwhile
    /// differs from that, and is read again.
    fn read(path: &Path, open: &[String]) -> (Result<Self, Vec<String>>, Vec<Stamp>) {
        let mut seen = vec![stamp(path.to_owned())];
        let file = match WebFile::read(path) {
            Ok(file) => file,
            Err(faults) => return (Err(faults), seen),
        };
        let WebFile { tls, users, headers, http2 } = file;
        seen.extend(tls.iter().flat_map(|tls| tls.files()).cloned().map(stamp));
        let needs_certificate = tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
        // If a path is open, connections without a certificate must be possible, and each request is checked instead.
        let at_request = needs_certificate && !open.is_empty();
        let tls = match tls.map(|tls| tls::server_config(&tls, http2, at_request)).transpose() {
            Ok(tls) => tls.map(Arc::new),
            Err(fault) => return (Err(vec![fault]), seen),
        };
        let users = (!users.is_empty()).then(|| Users::new(users));
        let rules = Self { tls, needs_certificate, users, headers, without_http2: !http2 };
        (Ok(rules), seen)
    }
}

fn stamp(path: PathBuf) -> Stamp {
    let stamp = |metadata: Metadata| Some((metadata.modified().ok()?, metadata.len()));
    let found = std::fs::metadata(&path).ok().and_then(stamp);
    (path, found)
}

#[cfg(test)]
mod tests;
