//! agent-relay: coding agents find each other, exchange durable messages, claim work once, and are
//! started under policies that can be swapped while it runs.

pub mod config;
pub mod domain;
pub mod telemetry;

// STAND-IN, for the front's own tests only: replaced by the real server when branches meet.
pub mod http {
    //! Stand-in.
    /// Stand-in.
    pub fn openapi() -> String {
        "{\"openapi\": \"3.1.0\"}".into()
    }
}
/// Stand-in.
pub mod sessions {
    /// Stand-in.
    pub mod host {
        /// Stand-in.
        pub fn host_main(_: &std::path::Path) -> std::process::ExitCode {
            std::process::ExitCode::FAILURE
        }
    }
}
/// Stand-in.
#[derive(Debug, thiserror::Error)]
#[error("stand-in")]
pub struct ServeError;
/// Stand-in.
///
/// # Errors
/// Never.
pub async fn serve(
    _config: config::Config,
    _listener: tokio::net::TcpListener,
    shutdown: tokio_util::sync::CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    ready();
    shutdown.cancelled().await;
    Ok(())
}
