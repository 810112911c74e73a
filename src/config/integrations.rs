//! Integrations: how the events of each are signed, and with which secrets.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::File;
use super::secret::Secrets;
use super::{ConfigError, Secret};
use crate::domain::integration::signature::{Algorithm, Encoding, Form, HEADER_MAX, PREFIX_MAX, Scheme, SchemeKind};
use crate::domain::integration::{CONFIGURED_MAX, ID_HEADERS, IntegrationName, Integrations};
use crate::domain::text::word::Word;

/// Headers that say something else already, beside those of delivery ids.
const TAKEN_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "webhook-timestamp",
    "x-agent-relay-token",
];

/// The sections `[integrations.NAME]`.
pub(super) type Sections = BTreeMap<String, Section>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    scheme: Option<String>,
    secret: Option<Secrets>,
    github_secret: Option<Secrets>,
    header: Option<String>,
    algorithm: Option<String>,
    encoding: Option<String>,
    prefix: Option<String>,
}

/// The integrations that the file has secrets for.
pub(super) fn resolve(file: &File, sections: &Sections) -> Result<Integrations, ConfigError> {
    if sections.len() > CONFIGURED_MAX {
        let problem = format!("names {} integrations; at most {CONFIGURED_MAX} are allowed", sections.len());
        return Err(file.error("integrations", problem));
    }
    let mut schemes = Vec::with_capacity(sections.len());
    for (name, section) in sections {
        let place = Place { file, section: format!("integrations.{name}") };
        let parsed = IntegrationName::parse(name)
            .map_err(|refusal| file.error(&place.section, format!("`{name}`: {refusal}")))?;
        schemes.push((parsed, section.scheme(&place)?));
    }
    Ok(Integrations::new(schemes))
}

/// Where an error is.
struct Place<'f> {
    file: &'f File,
    section: String,
}

impl Place<'_> {
    fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.file.error(&format!("{}.{key}", self.section), problem)
    }

    /// The word in this key, or its default.
    fn word<W: Word + Default>(&self, key: &str, typed: Option<&String>) -> Result<W, ConfigError> {
        let Some(text) = typed else { return Ok(W::default()) };
        W::parse(text).ok_or_else(|| {
            let allowed: Vec<_> = W::ALL.iter().map(|word| word.as_str()).collect();
            self.error(key, format!("`{text}` is not one of: {}", allowed.join(", ")))
        })
    }
}

impl Section {
    fn scheme(&self, place: &Place<'_>) -> Result<Scheme, ConfigError> {
        let kind = self.kind(place)?;
        if kind != SchemeKind::Hmac {
            let keys = [
                ("header", &self.header),
                ("algorithm", &self.algorithm),
                ("encoding", &self.encoding),
                ("prefix", &self.prefix),
            ];
            if let Some((key, _)) = keys.into_iter().find(|(_, typed)| typed.is_some()) {
                return Err(place.error(key, "is for scheme = \"hmac\" alone; leave it out"));
            }
        }
        let (key, secrets) = match (&self.secret, &self.github_secret) {
            (Some(_), Some(_)) => return Err(place.error("github_secret", "stands beside secret; keep one of the two")),
            (Some(secrets), None) => ("secret", secrets),
            (None, Some(secrets)) => ("github_secret", secrets),
            (None, None) => {
                return Err(place.error(
                    "secret",
                    "is missing: events of an integration without one need a token, and no section here",
                ));
            }
        };
        let secrets: Vec<&str> = secrets.0.iter().map(Secret::expose).collect();
        let scheme = match kind {
            SchemeKind::StandardWebhooks => Scheme::standard_webhooks(&secrets),
            SchemeKind::Github => Scheme::github(&secrets),
            SchemeKind::Hmac => Scheme::hmac(self.form(place)?, &secrets),
        };
        scheme.map_err(|problem| place.error(key, problem))
    }

    fn kind(&self, place: &Place<'_>) -> Result<SchemeKind, ConfigError> {
        let default = if self.github_secret.is_some() { SchemeKind::Github } else { SchemeKind::StandardWebhooks };
        let Some(text) = &self.scheme else { return Ok(default) };
        let kind = SchemeKind::parse(text).ok_or_else(|| {
            let allowed = SchemeKind::ALL.map(SchemeKind::as_str).join(", ");
            place.error("scheme", format!("`{text}` is not one of: {allowed}"))
        })?;
        if self.github_secret.is_some() && kind != SchemeKind::Github {
            return Err(place.error("github_secret", format!("is not for scheme = \"{kind}\"; use secret")));
        }
        Ok(kind)
    }

    fn form(&self, place: &Place<'_>) -> Result<Form, ConfigError> {
        let missing = || place.error("header", "is missing: name the header in which the signature stands");
        let header = self.header.as_deref().ok_or_else(missing)?.to_ascii_lowercase();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if header.is_empty() || header.len() > HEADER_MAX || !header.bytes().all(is_token) {
            let problem =
                format!("`{header}` is not the name of a header: 1 to {HEADER_MAX} letters, digits and hyphens");
            return Err(place.error("header", problem));
        }
        if TAKEN_HEADERS.contains(&&*header) || ID_HEADERS.contains(&&*header) {
            return Err(place.error("header", format!("`{header}` has another meaning; name the signature's own")));
        }
        let prefix = self.prefix.clone().unwrap_or_default();
        if prefix.len() > PREFIX_MAX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = format!("`{prefix}` is not 0 to {PREFIX_MAX} visible ASCII characters");
            return Err(place.error("prefix", problem));
        }
        Ok(Form {
            header,
            algorithm: place.word::<Algorithm>("algorithm", self.algorithm.as_ref())?,
            encoding: place.word::<Encoding>("encoding", self.encoding.as_ref())?,
            prefix,
        })
    }
}
