//! The HTTP client of the token library, which knows no proxy of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use gcp_bigquery_client::yup_oauth2::CustomHyperClientBuilder;
use gcp_bigquery_client::yup_oauth2::authenticator::Authenticator;
use gcp_bigquery_client::yup_oauth2::hyper_rustls::{
    HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::cloud::proxy::Proxy;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Connects directly, or through a tunnel of the proxy. TLS with the token server is made on top.
#[derive(Clone)]
pub(super) struct Connector {
    matcher: Arc<Matcher>,
    direct: HttpConnector,
    /// The proxy itself may be reached over http or https.
    to_proxy: HttpsConnector<HttpConnector>,
}

/// Fetches tokens with such a client.
pub(super) type TokenAuthenticator = Authenticator<HttpsConnector<Connector>>;

/// Returns a client that reaches token servers as the proxy's settings say.
pub(super) fn token_client(
    proxy: &Proxy,
) -> std::io::Result<CustomHyperClientBuilder<HttpsConnector<Connector>>> {
    let tls = || {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Ok::<_, std::io::Error>(
            HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?.https_or_http(),
        )
    };
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    let connector =
        Connector { matcher: Arc::new(proxy.matcher()), direct, to_proxy: tls()?.enable_http1().build() };
    let connector = tls()?.enable_http1().enable_http2().wrap_connector(connector);
    // A token is fetched once an hour, so no connection is kept.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    Ok(CustomHyperClientBuilder::from(client))
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Its parts are always ready, too.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Some(intercepted) = self.matcher.intercept(&destination) else {
            let connecting = self.direct.call(destination);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        let tunnel = Tunnel::new(intercepted.uri().clone(), self.to_proxy.clone());
        let mut tunnel = match intercepted.basic_auth() {
            Some(password) => tunnel.with_auth(password.clone()),
            None => tunnel,
        };
        let connecting = tunnel.call(destination);
        Box::pin(async move { Ok(connecting.await?) })
    }
}
