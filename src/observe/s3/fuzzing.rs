//! What the fuzz targets reach of the reader of listings.

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use super::store::S3;
use crate::observe::ObserveError;
use crate::observe::object_store::{ObjectStore as _, Page, Position};

/// Gives every call the same answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl HttpConnector for Answer {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let body = SdkBody::from(self.body.clone());
        HttpConnectorFuture::ready(Ok(HttpResponse::new(self.status, body)))
    }
}

/// Lists a bucket whose service answers every call with `body`.
///
/// # Errors
///
/// What a poll would report.
pub async fn list(status: u16, body: &[u8]) -> Result<Page, ObserveError> {
    let status = StatusCode::try_from(status).expect("a status code");
    let connector = SharedHttpConnector::new(Answer { status, body: body.to_vec() });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "fuzzing"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    S3::new(aws_sdk_s3::Client::from_conf(config), "archive").list("in/", Position::First).await
}
