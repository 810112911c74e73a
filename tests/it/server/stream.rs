//! A client of the event stream: frames as they come, each awaited with a bound.

use std::collections::VecDeque;

use agent_relay::client::Incoming;
use agent_relay::client::stream::sse;
use serde_json::Value;
use tokio::time::timeout;

use super::PATIENCE;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Absent on what is not part of the history.
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Frame {
    /// The number in the id: its place in commit order.
    pub(crate) fn seq(&self) -> i64 {
        let id = self.id.as_deref().unwrap_or_else(|| panic!("no id in {self:?}"));
        let (_, seq) = id.rsplit_once('-').expect("EPOCH-NUMBER");
        seq.parse().expect("a number")
    }

    /// A text of the data.
    pub(crate) fn text(&self, member: &str) -> &str {
        self.data[member].as_str().unwrap_or_else(|| panic!("no {member} in {self:?}"))
    }
}

/// Takes a stream of bytes apart. It accepts what the relay writes and nothing else, so that a field
/// in a form that other clients may not know is noticed. The library's own parser, which takes whatever
/// the standard allows, has to read the same.
#[derive(Default)]
pub(crate) struct Parser {
    standard: sse::Parser,
    /// What came and is not yet a whole block.
    partial: Vec<u8>,
    pub(crate) frames: VecDeque<Frame>,
    /// Every `retry` that was sent, in milliseconds.
    pub(crate) retries: Vec<u64>,
    /// How many comments were sent.
    pub(crate) comments: usize,
}

impl Parser {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let before = self.frames.len();
        self.feed_strictly(bytes);
        let mut read = Vec::new();
        let take = |part| {
            if let sse::Part::Frame(sse::Frame { id, event, data }) = part {
                read.push(Frame { id, event, data: serde_json::from_str(&data).expect("JSON") });
            }
        };
        self.standard.feed(bytes, take).expect("events of a size that the relay sends");
        assert!(self.frames.range(before..).eq(&read), "the library reads {read:?}, not {:?}", self.frames);
    }

    fn feed_strictly(&mut self, bytes: &[u8]) {
        // An end may lie across the border of two pieces, but not further back.
        let mut from = self.partial.len().saturating_sub(1);
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial[from..].windows(2).position(|pair| pair == b"\n\n") {
            let rest = self.partial.split_off(from + end + 2);
            let block = std::mem::replace(&mut self.partial, rest);
            self.take_block(std::str::from_utf8(&block).expect("UTF-8"));
            from = 0;
        }
    }

    fn take_block(&mut self, block: &str) {
        let mut frame = Frame { id: None, event: "message".to_owned(), data: Value::Null };
        let mut has_data = false;
        for line in block.lines().filter(|line| !line.is_empty()) {
            if line.starts_with(':') {
                self.comments += 1;
                continue;
            }
            let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("not a field: {line:?}"));
            match field {
                "id" => frame.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut frame.event),
                "retry" => self.retries.push(value.parse().expect("milliseconds")),
                "data" => {
                    assert!(!has_data, "the data of an event is one line: {block:?}");
                    has_data = true;
                    frame.data = serde_json::from_str(value).expect("JSON");
                }
                _ => panic!("no such field: {line:?}"),
            }
        }
        if has_data {
            self.frames.push_back(frame);
        }
    }
}

/// An open event stream. Dropping it hangs up.
pub(crate) struct Stream {
    incoming: Incoming,
    pub(crate) parser: Parser,
}

impl Stream {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self { incoming, parser: Parser::default() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.incoming.header(name)
    }

    /// Takes what comes next from the connection; false when it ended.
    pub(crate) async fn read(&mut self) -> bool {
        // A connection that was cut off is an end like any other.
        let Ok(Some(chunk)) = timeout(PATIENCE, self.incoming.chunk()).await.expect("something in time") else {
            return false;
        };
        self.parser.feed(&chunk);
        true
    }

    /// The next frame, or `None` when the stream ended.
    pub(crate) async fn next_or_end(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.parser.frames.pop_front() {
                return Some(frame);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next frame, whatever it is.
    pub(crate) async fn next(&mut self) -> Frame {
        self.next_or_end().await.expect("the stream to go on")
    }

    /// The first frame of a stream that begins where it was asked to.
    pub(crate) async fn ready(&mut self) -> Frame {
        let frame = self.next().await;
        assert_eq!(frame.event, "relay.ready", "{frame:?}");
        assert_eq!(frame.id, None, "it is not part of the history");
        frame
    }

    /// The next event of this name; others are passed over.
    pub(crate) async fn next_event(&mut self, name: &str) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.event == name {
                return frame;
            }
        }
    }

    /// The bodies of the messages that come until the one with this body, which comes last.
    pub(crate) async fn bodies_until(&mut self, last: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            bodies.push(self.next_event("message.new").await.text("body").to_owned());
            if bodies.last().is_some_and(|body| body == last) {
                return bodies;
            }
        }
    }
}
