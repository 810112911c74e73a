//! The relay's client: how the command line, the tests and daemons on other hosts ask a relay.
//!
//! A [`Client`] is an address with a credential. There is a file for each noun, and a method for each
//! route: `client.messages().send(&draft)` makes a [`Request`], which is sent for its typed answer
//! ([`Request::send`]) or for the answer as it came ([`Request::answer`]). Lists are walked page by page
//! ([`Pages`]); events come as a stream that goes on where it was when a connection ends
//! ([`stream::EventStream`]).
//!
//! It knows the domain's nouns and nothing else of the relay, which may run elsewhere and be of another
//! version: members that are not known here are passed over, and states and codes that another version
//! may add are texts.

pub mod activity;
pub mod agents;
mod answer;
pub mod attention;
pub mod control;
mod error;
pub mod events;
pub mod messages;
pub mod notices;
pub mod orchestrators;
pub mod plugins;
mod request;
pub mod stream;
pub mod system;
pub mod tasks;
pub mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect;
use serde::Deserialize;

use crate::domain::text::causes;

pub use answer::{Answer, Page, Pages};
pub use error::{Error, Problem};
pub use request::{Incoming, Request};
pub use reqwest::Method;

/// Beyond this nobody listens there: a connection within one network takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Far beyond what a relay under load takes for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The relay hangs up on a connection that is idle for 30 s. One that is given up before that cannot be
/// taken for a request just as it closes.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// Which relay is asked, as whom, and how long that may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://HOST:PORT`, with a path before `/api` where a proxy adds one.
    pub address: String,
    /// What the relay knows the caller by, where it wants to know.
    pub credential: Option<Credential>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take, from the connection to its last byte. A request that asks the relay
    /// to wait has that time as well, and a stream only has to begin within it.
    pub timeout: Duration,
    /// Which program asks, as the `User-Agent`. An administrator's request from the program's own command line is
    /// recorded as by `cli`.
    pub user_agent: &'static str,
}

/// What the program's own command line calls itself.
pub const COMMAND_LINE: &str = concat!("agent-relay-cli/", env!("CARGO_PKG_VERSION"));

impl Options {
    /// The relay at this address, without a credential, with 3 s for a connection and 15 s for an answer.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            credential: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: ANSWER_TIMEOUT,
            user_agent: concat!("agent-relay/", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// A token as it travels: in the `Authorization` header and nowhere else. It does not print.
#[derive(Clone)]
pub struct Credential(HeaderValue);

impl Credential {
    /// Takes a token: 1 to 1,024 visible ASCII characters.
    ///
    /// # Errors
    ///
    /// [`Error::Unsendable`] for anything else; the text is not in it.
    pub fn parse(token: &str) -> Result<Self, Error> {
        let fits = (1..=1_024).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = if fits { HeaderValue::try_from(format!("Bearer {token}")).ok() } else { None };
        let mut value = value.ok_or_else(|| {
            Error::Unsendable("a token is 1 to 1024 visible ASCII characters without spaces".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Asks one relay. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Arc<str>,
    credential: Option<Credential>,
    timeout: Duration,
}

impl Client {
    /// A client of the relay that `options` name. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Unsendable`] when the address is none, or carries a name, a password or a query.
    pub fn new(options: Options) -> Result<Self, Error> {
        let address = parse_address(&options.address)?;
        // Whoever was first has the same one, or has chosen another for the whole process.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = reqwest::Client::builder();
        if address.starts_with("http:") {
            // No certificate is looked at, so those of the system are neither read nor needed.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            // A redirect would carry the token to an address that nobody named.
            .redirect(redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .user_agent(options.user_agent)
            .build()
            .map_err(|error| Error::Unsendable(causes(&error)))?;
        Ok(Self { http, address: address.into(), credential: options.credential, timeout: options.timeout })
    }

    /// The same relay, asked as somebody else.
    #[must_use]
    pub fn with_credential(&self, credential: Option<Credential>) -> Self {
        Self { credential, ..self.clone() }
    }

    /// `http://HOST:PORT`, without a slash at its end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A request for which there is no method: `target` is a path with its query, as it is sent.
    pub fn request<T>(&self, method: Method, target: &str) -> Request<T> {
        Request::new(self.clone(), method, target)
    }

    /// Agents.
    pub fn agents(&self) -> agents::Agents<'_> {
        agents::Agents(self)
    }

    /// Messages.
    pub fn messages(&self) -> messages::Messages<'_> {
        messages::Messages(self)
    }

    /// Pairs.
    pub fn pairs(&self) -> messages::pairs::Pairs<'_> {
        messages::pairs::Pairs(self)
    }

    /// Channels.
    pub fn channels(&self) -> messages::channels::Channels<'_> {
        messages::channels::Channels(self)
    }

    /// Tasks.
    pub fn tasks(&self) -> tasks::Tasks<'_> {
        tasks::Tasks(self)
    }

    /// Events from outside, and how those who send them are doing.
    pub fn integrations(&self) -> tasks::integrations::Integrations<'_> {
        tasks::integrations::Integrations(self)
    }

    /// What is told to others about tasks.
    pub fn callbacks(&self) -> tasks::callbacks::Callbacks<'_> {
        tasks::callbacks::Callbacks(self)
    }

    /// What waits for a person.
    pub fn attention(&self) -> attention::AttentionList<'_> {
        attention::AttentionList(self)
    }

    /// What whoever runs sessions shows to them, and how far messages have come.
    pub fn notices(&self) -> notices::Notices<'_> {
        notices::Notices(self)
    }

    /// What happens, live and page by page.
    pub fn events(&self) -> events::Events<'_> {
        events::Events(self)
    }

    /// Orchestrators.
    pub fn orchestrators(&self) -> orchestrators::Orchestrators<'_> {
        orchestrators::Orchestrators(self)
    }

    /// Starting, restarting and stopping agents, and the commands that record it.
    pub fn control(&self) -> control::Controls<'_> {
        control::Controls(self)
    }

    /// Plugins.
    pub fn plugins(&self) -> plugins::Plugins<'_> {
        plugins::Plugins(self)
    }

    /// The activity log.
    pub fn activity(&self) -> activity::ActivityLog<'_> {
        activity::ActivityLog(self)
    }

    /// Named credentials.
    pub fn tokens(&self) -> tokens::Tokens<'_> {
        tokens::Tokens(self)
    }

    /// The relay itself.
    pub fn system(&self) -> system::System<'_> {
        system::System(self)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What is answered where there is nothing to tell: `{"ok": true}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

fn parse_address(text: &str) -> Result<String, Error> {
    let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        return Err(Error::Unsendable(format!("`{text}` is not an address such as http://127.0.0.1:4850")));
    };
    // Addresses end up in logs and process lists, so nothing secret may be in one.
    let bare = url.username().is_empty() && url.password().is_none();
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return Err(Error::Unsendable("the relay's address holds more than scheme, host, port and path".to_owned()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_no_secret() {
        let address = |text: &str| Client::new(Options::new(text)).map(|client| client.address().to_owned());
        assert_eq!(address("http://127.0.0.1:4850/").expect("an address"), "http://127.0.0.1:4850");
        assert_eq!(address("http://host/relay/").expect("an address"), "http://host/relay");
        for wrong in ["", "127.0.0.1:4850", "ftp://host", "http://", "http://a:hush@host", "http://host/?token=hush"] {
            let error = address(wrong).expect_err(wrong);
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_token_does_not_print() {
        let credential = Credential::parse("hush").expect("a token");
        let options = Options { credential: Some(credential), ..Options::new("http://127.0.0.1:1") };
        let client = Client::new(options.clone()).expect("a client");
        let request = client.agents().get("a");
        let printed = format!("{options:?} {client:?} {request:?}");
        assert!(!printed.contains("hush"), "{printed}");
        for wrong in ["", "hush hush", "hush\n", &"hush".repeat(300)] {
            let error = Credential::parse(wrong).expect_err("no token");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
