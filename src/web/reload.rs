//! Reads the configuration again.

use axum::extract::State;
use axum::http::StatusCode;

use super::app::App;

/// As in Prometheus and its exporters.
pub(crate) const PATH: &str = "/-/reload";

/// Answers once the new configuration is in force, or with every reason why it is refused.
pub(crate) async fn reload(State(app): State<App>) -> (StatusCode, String) {
    let Some(reload) = &app.reload else {
        let text = "reloading over HTTP is not enabled: set web.reload to true, or send SIGHUP\n";
        return (StatusCode::NOT_FOUND, text.to_owned());
    };
    match reload().await {
        Ok(what) => (StatusCode::OK, format!("{what}\n")),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}
