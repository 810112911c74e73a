//! Server-sent events, taken apart as their bytes come, as the HTML standard says.

use std::time::Duration;

/// The largest event, in bytes. The relay's largest is a message of 256 KiB, of which every byte may need
/// six in JSON, with 16 KiB of `meta`.
pub const EVENT_BYTES_MAX: usize = 4 << 20;

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An event.
    Frame(Frame),
    /// A position without an event.
    Id(String),
    /// How long to wait before coming back.
    Retry(Duration),
    /// A sign of life.
    Comment,
}

/// One event as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The position after it; `None` when it is not part of the history.
    pub id: Option<String>,
    /// Its name; `message` when it has none.
    pub event: String,
    /// Its data; several lines are separated by line feeds.
    pub data: String,
}

/// An event, or what looks like one, is larger than [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
pub struct TooLarge;

/// Takes a stream apart, however its bytes are split.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line that has begun.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    /// A line has ended: a byte order mark can stand before the first only.
    begun: bool,
    id: Option<String>,
    event: String,
    /// `None` before the first line of data.
    data: Option<String>,
}

impl Parser {
    /// Takes the next bytes, and hands on each part that they complete.
    ///
    /// # Errors
    ///
    /// When an event is too large. The parser is of no use after that.
    pub fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Part)) -> Result<(), TooLarge> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&bytes[..end])?;
            let line = std::mem::take(&mut self.line);
            let whole = if self.begun { &line[..] } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) };
            self.begun = true;
            self.take_line(&String::from_utf8_lossy(whole), &mut take);
            let ended_by = bytes[end];
            bytes = &bytes[end + 1..];
            if ended_by == b'\r' {
                match bytes {
                    [] => self.after_return = true,
                    [b'\n', rest @ ..] => bytes = rest,
                    _ => {}
                }
            }
        }
        self.extend(bytes)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let kept = self.line.len() + self.event.len() + self.data.as_ref().map_or(0, String::len);
        if kept + bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &str, take: &mut impl FnMut(Part)) {
        if line.is_empty() {
            let (id, event) = (self.id.take(), std::mem::take(&mut self.event));
            match (self.data.take(), id) {
                (Some(data), id) => {
                    let event = if event.is_empty() { "message".to_owned() } else { event };
                    take(Part::Frame(Frame { id, event, data }));
                }
                (None, Some(id)) => take(Part::Id(id)),
                (None, None) => {}
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => take(Part::Comment),
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                if let Ok(millis) = value.parse() {
                    take(Part::Retry(Duration::from_millis(millis)));
                }
            }
            // Fields that nobody knows are passed over, as the standard says.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Part> {
        let (mut parser, mut parts) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.feed(piece, |part| parts.push(part)).expect("small events");
        }
        parts
    }

    fn frame(id: Option<&str>, event: &str, data: &str) -> Part {
        Part::Frame(Frame { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() })
    }

    #[test]
    fn a_stream_is_read_as_the_standard_says() {
        let text = "\u{feff}retry: 1500\n\n:\n\nevent: relay.ready\ndata: {}\n\nid: e-1\nevent:a\ndata:  x\ndata\ndata:y\n\n\
            data: none\nid: with\0nul\n\nid: e-2\n\nunknown: 1\nevent: lost\n\nretry: 1s\nretry\ndata:\n\ndata: cut off\n";
        let expected = [
            Part::Retry(Duration::from_millis(1_500)),
            Part::Comment,
            frame(None, "relay.ready", "{}"),
            frame(Some("e-1"), "a", " x\n\ny"),
            frame(None, "message", "none"),
            Part::Id("e-2".to_owned()),
            frame(None, "message", ""),
        ];
        for text in [text.to_owned(), text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
            assert_eq!(parts([text.as_bytes()]), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_at_all_may_come_between_the_two_halves_of_a_line_end() {
        let pieces: [&[u8]; 4] = [b"data: a\r", b"", b"\n\r", b"\ndata: b\r\n\r\n"];
        assert_eq!(parts(pieces), [frame(None, "message", "a"), frame(None, "message", "b")]);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let piece = vec![b'x'; 1 << 20];
        let feed = |between: &[u8]| {
            let mut parser = Parser::default();
            (0..6).try_for_each(|_| {
                parser.feed(b"data: ", drop)?;
                parser.feed(&piece, drop)?;
                parser.feed(between, drop)
            })
        };
        assert_eq!(feed(b""), Err(TooLarge), "one line");
        assert_eq!(feed(b"\n"), Err(TooLarge), "many lines of one event");
        assert_eq!(feed(b"\n\n"), Ok(()), "many events");
    }

    fn any_stream() -> impl Strategy<Value = Vec<u8>> {
        let lines = prop::sample::select(vec![
            "",
            "",
            "data: a",
            "data:b",
            "data",
            "id: e-1",
            "id: e-2",
            "id",
            "event: message.new",
            "retry: 5",
            "retry: x",
            ": hello",
            ":",
            "other: 1",
            "\u{feff}data: \u{e9}",
            "data: \u{1f600}",
            "dat",
        ]);
        let line = (lines, prop::sample::select(vec!["\n", "\r", "\r\n"]));
        prop::collection::vec(line, 0..40)
            .prop_map(|lines| lines.iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect())
    }

    proptest! {
        /// However the network splits the bytes, the same is read.
        #[test]
        fn any_split_gives_the_same(stream in any_stream(), cuts in prop::collection::vec(0_usize..400, 0..20)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
            prop_assert_eq!(parts(pieces), parts([&stream[..]]));
            prop_assert_eq!(parts(stream.chunks(1)), parts([&stream[..]]));
        }

        /// Whatever comes, it is read or refused.
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            parts([&bytes[..]]);
        }
    }
}
