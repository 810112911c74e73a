//! A Redis that syncs every write, for the same work: what another server makes durable on this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::task::JoinSet;

use crate::http::now;
use crate::post::Run;
use crate::{Load, Outcome};

/// A Redis with `appendfsync always`. Dropping it ends it.
pub(crate) struct Redis {
    address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Redis {
    /// Starts it on a free port and waits until it takes connections.
    pub(crate) fn start(load: &Load) -> Outcome<Self> {
        let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(["--port", &address.port().to_string(), "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start redis-server: {error}; leave --baseline away, or install it"))?;
        let redis = Self { address, child, _dir: dir };
        let patience = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > patience {
                return Err("redis-server did not take a connection within 5 seconds".into());
            }
            std::thread::yield_now();
        }
        Ok(redis)
    }

    /// Has this many connections do a round of commands again and again, each command answered before
    /// the next. The times are those of whole rounds.
    pub(crate) async fn hammer(&self, connections: u64, duration: Duration, round: &[Vec<u8>]) -> Outcome<Run> {
        let started = tokio::time::Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            let (address, round) = (self.address, round.to_vec());
            clients.spawn(async move {
                let socket = tokio::net::TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                let mut stream = BufStream::new(socket);
                let (mut times, mut line) = (Vec::new(), String::new());
                while started.elapsed() < duration {
                    let sent = now();
                    for command in &round {
                        stream.write_all(command).await?;
                        stream.flush().await?;
                        line.clear();
                        stream.read_line(&mut line).await?;
                        if line.starts_with('$') && line.trim() != "$-1" {
                            line.clear();
                            stream.read_line(&mut line).await?;
                        } else if !line.starts_with(':') {
                            return Err(format!("redis answered {line:?}").into());
                        }
                    }
                    times.push(now() - sent);
                }
                Outcome::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(of_one) = clients.join_next().await {
            times.extend(of_one??);
        }
        Ok(Run { times, seconds: started.elapsed().as_secs_f64() })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command as the protocol writes it.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}
