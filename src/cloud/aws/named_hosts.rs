//! Names the host in the error of a call that did not reach it, which the SDK does not.

use std::sync::Arc;

use aws_sdk_sts::config::http::HttpRequest;
use aws_sdk_sts::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_sts::error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_types::config_bag::ConfigBag;

use crate::cloud::failure::unreached::{Directory, Unreached, authority};

/// A client of HTTP whose errors name the host.
#[derive(Debug)]
pub(super) struct NamedHosts {
    pub(super) inner: SharedHttpClient,
    pub(super) directory: Arc<Directory>,
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    directory: Arc<Directory>,
}

impl HttpClient for NamedHosts {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, directory: self.directory.clone() })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        HttpClient::validate_base_client_config(&self.inner, components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        HttpClient::validate_final_config(&self.inner, components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let host = authority(request.uri()).unwrap_or_default();
        let (directory, calling) = (self.directory.clone(), self.inner.call(request));
        HttpConnectorFuture::new(async move {
            calling
                .await
                .map_err(|error| if error.is_user() { error } else { named(error, &host, &directory) })
        })
    }
}

/// The same error, with the host. What it says of retries and of the connection stays.
fn named(error: ConnectorError, host: &str, directory: &Directory) -> ConnectorError {
    let (is_timeout, is_io, kind) = (error.is_timeout(), error.is_io(), error.as_other());
    let connection = error.connection_metadata().cloned();
    let source = Box::new(Unreached::new(host, directory, error.into_source()));
    let named = if is_timeout {
        ConnectorError::timeout(source)
    } else if is_io {
        ConnectorError::io(source)
    } else {
        ConnectorError::other(source, kind)
    };
    match connection {
        Some(connection) => named.with_connection(connection),
        None => named,
    }
}
