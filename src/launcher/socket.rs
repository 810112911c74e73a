//! Writing lines to a Unix socket of a session's program.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::granted::open_socket;
use super::off_the_reactor;
use crate::plugins::Glob;

/// How long connecting and writing may take together.
const DEADLINE: Duration = Duration::from_secs(5);

/// Writes all of these lines to a granted socket of our own user, at whose other end is a process of ours. The error says
/// why not, and nothing of the lines, which may hold a secret.
pub(super) async fn write(granted: Vec<Glob>, path: &str, lines: &[String]) -> Result<(), String> {
    let wanted = path.to_owned();
    let socket = off_the_reactor(move || open_socket(&granted, &wanted)).await;
    let socket = socket.ok_or_else(|| format!("there is no socket of ours at {path}"))?;
    let mut text = lines.join("\n");
    text.push('\n');
    let writing = async {
        let mut stream = UnixStream::connect(&socket.path).await?;
        if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(std::io::Error::other("a process of another user listens there"));
        }
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    match timeout(DEADLINE, writing).await {
        Ok(written) => written.map_err(|error| format!("{path}: {error}")),
        Err(_) => Err(format!("{path} took nothing for {} s", DEADLINE.as_secs())),
    }
}
