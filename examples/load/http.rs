//! A client that costs next to nothing: a connection, one request at a time, HTTP/1.1 by hand.

use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::server::Target;

/// A kept-alive connection.
pub(crate) struct Connection {
    socket: TcpStream,
    target: Target,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// A response. It is only as much of one as the measurements need.
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// The longest answer that is read: a page of plugins is long, anything beyond this is a mistake.
const ANSWER_MAX: usize = 8 << 20;

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: &Target) -> Outcome<Self> {
        let socket = TcpStream::connect(target.address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, target: target.clone(), request: Vec::with_capacity(1024), answer: vec![0; 16 * 1024] })
    }

    /// Sends a body of JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Outcome<Answer<'_>> {
        self.call("POST", path, body).await
    }

    /// The same with these header lines.
    pub(crate) async fn post_with(&mut self, path: &str, headers: &str, body: &str) -> Outcome<Answer<'_>> {
        self.send("POST", path, headers, body).await
    }

    /// The same by another method.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> Outcome<Answer<'_>> {
        self.send(method, path, "", body).await
    }

    async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Outcome<Answer<'_>> {
        let Target { address, authorization } = &self.target;
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}{headers}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.exchange().await
    }

    /// Asks.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<Answer<'_>> {
        self.request = get_request(&self.target, path).into_bytes();
        self.exchange().await
    }

    async fn exchange(&mut self) -> Outcome<Answer<'_>> {
        self.socket.write_all(&self.request).await?;
        let mut filled = 0;
        let (status, body, length) = loop {
            let read = self.socket.read(&mut self.answer[filled..]).await?;
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            filled += read;
            if let Some(head) = head(&self.answer[..filled])? {
                break head;
            }
            self.make_room(filled)?;
        };
        while filled < body + length {
            self.make_room(filled)?;
            let read = self.socket.read(&mut self.answer[filled..]).await?;
            if read == 0 {
                return Err("the server closed the connection in the middle of an answer".into());
            }
            filled += read;
        }
        Ok(Answer { status, body: &self.answer[body..body + length] })
    }

    fn make_room(&mut self, filled: usize) -> Outcome<()> {
        if filled == self.answer.len() {
            if filled >= ANSWER_MAX {
                return Err("the answer is too long".into());
            }
            self.answer.resize(filled * 2, 0);
        }
        Ok(())
    }
}

impl Answer<'_> {
    /// Refuses any other status than this one.
    pub(crate) fn expect(&self, status: u16) -> Outcome<()> {
        if self.status == status {
            return Ok(());
        }
        Err(format!("expected {status} and got {}: {}", self.status, String::from_utf8_lossy(self.body)).into())
    }

    /// The text after `"name":"`, as it stands there.
    pub(crate) fn text(&self, name: &str) -> Outcome<String> {
        let text = std::str::from_utf8(self.body)?;
        let key = format!("\"{name}\":\"");
        let value = text.find(&key).and_then(|at| text[at + key.len()..].split('"').next());
        value.map(str::to_owned).ok_or_else(|| format!("no text {name} in {text}").into())
    }

    /// The whole number after `"name":`, without taking the rest apart.
    pub(crate) fn number(&self, name: &str) -> Outcome<u64> {
        let text = std::str::from_utf8(self.body)?;
        let key = format!("\"{name}\":");
        let value = text.find(&key).map(|at| &text[at + key.len()..]);
        value
            .and_then(|value| value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .ok_or_else(|| format!("no number {name} in {text}").into())
    }
}

/// A request without a body.
pub(crate) fn get_request(Target { address, authorization }: &Target, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}\r\n")
}

/// The status, where the body begins, and its length; `None` while the head is not there yet.
fn head(bytes: &[u8]) -> Outcome<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    let status = text.get(9..12).ok_or("the answer is not HTTP")?.parse()?;
    let length = text.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    });
    Ok(Some((status, end + 4, length.ok_or("the answer has no Content-Length")??)))
}

/// Nanoseconds since this program began: small enough to travel in a message.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes in the body of a message, as agents write them.
const BODY: usize = 200;

/// A message whose body says which one it is and when it was sent, `~INDEX~NANOSECONDS~`, so that a
/// stream's reader finds both by looking for the mark.
pub(crate) fn message(to: &str, index: u64, more: &str) -> String {
    let mark = format!("~{index}~{}~", now());
    format!(r#"{{"from":"load","to":"{to}"{more},"body":"{mark:.<BODY$}"}}"#)
}
