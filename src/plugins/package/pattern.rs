//! Patterns of paths: which files a provider is given to read, and which sockets it may have written to.
//!
//! A pattern begins at the root, or with one of `{home}`, `{cwd}`, `{session-dir}` and `{NAME}`, a variable of the
//! session's program. In a component, `{pid}`, `{conversation}` and `{cwd-dashed}` stand for what they say, and `*` for
//! any text. What fills a placeholder is only ever text: no star in it counts, and it adds no component.

use std::path::{Component, Path, PathBuf};

use crate::domain::control::observation::RunningSession;

use super::names::check_env_name;

/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 256;
/// What a pattern may begin with beside the root and a variable.
const PLACES: [&str; 3] = ["home", "cwd", "session-dir"];

/// Where a pattern begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Start<'a> {
    Root,
    Place(&'a str),
    Variable(&'a str),
}

/// A part of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Any,
    Pid,
    Conversation,
    CwdDashed,
}

/// A pattern for one session: nothing is left to be filled in. The directory that it begins with is as trustworthy as
/// the session; what is below that is looked up without following a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    base: PathBuf,
    /// Each component as the texts around its stars.
    components: Vec<Vec<String>>,
}

impl Glob {
    /// The directory that it begins with.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// How many components follow.
    pub fn depth(&self) -> usize {
        self.components.len()
    }

    /// The name that the component at this depth stands for, where it is only one.
    pub fn name_at(&self, depth: usize) -> Option<&str> {
        match self.components.get(depth).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    /// Whether the component at this depth stands for this name.
    pub fn has_name_at(&self, depth: usize, name: &str) -> bool {
        self.components.get(depth).is_some_and(|texts| !matches!(name, "" | "." | "..") && fits(texts, name))
    }

    /// The components of a path below the base, where the whole path fits.
    pub fn below<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let rest = path.strip_prefix(self.base.to_str()?)?;
        let rest = if self.base == Path::new("/") { rest } else { rest.strip_prefix('/')? };
        let names: Vec<&str> = rest.split('/').collect();
        let fit = names.len() == self.depth() && names.iter().enumerate().all(|(at, name)| self.has_name_at(at, name));
        fit.then_some(names)
    }
}

/// Whether a name is these texts with anything between them.
fn fits(texts: &[String], name: &str) -> bool {
    let [first, middle @ .., last] = texts else { return texts.first().is_some_and(|only| only == name) };
    let Some(mut rest) = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
        return false;
    };
    middle.iter().all(|text| match rest.find(text.as_str()) {
        Some(at) => {
            rest = &rest[at + text.len()..];
            true
        }
        None => false,
    })
}

/// Checks a pattern.
pub(crate) fn check_path_pattern(pattern: &str) -> Result<(), String> {
    parse(pattern).map(drop)
}

/// The variable that a pattern begins with.
pub(crate) fn variable_of(pattern: &str) -> Option<&str> {
    match parse(pattern) {
        Ok((Start::Variable(name), _)) => Some(name),
        _ => None,
    }
}

/// What a pattern stands for in this session: nothing where a placeholder cannot be filled in, one for each process
/// where it names one.
pub(crate) fn globs(pattern: &str, session: &RunningSession) -> Vec<Glob> {
    let Ok((start, components)) = parse(pattern) else { return Vec::new() };
    let base = match start {
        Start::Root => Some("/"),
        Start::Place("home") => Some(session.home.as_str()),
        Start::Place("cwd") => Some(session.cwd.as_str()),
        Start::Place(_) => Some(session.session_dir.as_str()),
        Start::Variable(name) => session.variables.get(name).map(String::as_str),
    };
    let Some(base) = base.and_then(straight) else { return Vec::new() };
    let names_process = components.iter().flatten().any(|piece| *piece == Piece::Pid);
    let pids = if names_process { session.pids.iter().copied().map(Some).collect() } else { vec![None] };
    let filled = pids.into_iter().filter_map(|pid: Option<u32>| {
        let components = components.iter().map(|pieces| filled(pieces, session, pid)).collect::<Option<Vec<_>>>()?;
        Some(Glob { base: base.clone(), components })
    });
    filled.collect()
}

/// An absolute path without detours, and without a slash at its end.
fn straight(path: &str) -> Option<PathBuf> {
    let mut components = Path::new(path).components();
    let absolute = components.next() == Some(Component::RootDir);
    let plain = absolute && components.all(|component| matches!(component, Component::Normal(_)));
    (plain && !path.contains('\0')).then(|| Path::new(path).components().collect())
}

/// A component as the texts around its stars; none where a placeholder cannot be filled in.
fn filled(pieces: &[Piece], session: &RunningSession, pid: Option<u32>) -> Option<Vec<String>> {
    let mut texts = vec![String::new()];
    for piece in pieces {
        let text = match piece {
            Piece::Any => {
                texts.push(String::new());
                continue;
            }
            Piece::Text(text) => text.clone(),
            Piece::Pid => pid?.to_string(),
            Piece::Conversation => session.conversation.clone()?,
            Piece::CwdDashed => dashed(&session.cwd),
        };
        if text.is_empty() || text.contains(['/', '\0']) {
            return None;
        }
        texts.last_mut()?.push_str(&text);
    }
    match texts.as_slice() {
        [only] if matches!(only.as_str(), "." | "..") => None,
        _ => Some(texts),
    }
}

/// A path as some programs make a name of it: everything but letters and digits is a dash.
fn dashed(path: &str) -> String {
    path.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

fn parse(pattern: &str) -> Result<(Start<'_>, Vec<Vec<Piece>>), String> {
    if pattern.len() > PATTERN_BYTES_MAX || pattern.chars().any(char::is_control) {
        return Err(format!("must be at most {PATTERN_BYTES_MAX} bytes without control characters"));
    }
    let begins = || {
        let places = PLACES.map(|place| format!("`{{{place}}}`")).join(", ");
        Err(format!("must begin with `/`, {places} or the name of a variable such as `{{CODEX_HOME}}`"))
    };
    let (start, rest) = match (pattern.strip_prefix('/'), pattern.strip_prefix('{').and_then(|it| it.split_once("}/")))
    {
        (Some(rest), _) => (Start::Root, rest),
        (_, Some((place, rest))) if PLACES.contains(&place) => (Start::Place(place), rest),
        (_, Some((name, rest))) => {
            let is_upper = !name.bytes().any(|byte| byte.is_ascii_lowercase());
            if !is_upper || check_env_name(name).is_err() {
                return begins();
            }
            (Start::Variable(name), rest)
        }
        _ => return begins(),
    };
    let components = rest.split('/').map(component).collect::<Result<_, _>>()?;
    Ok((start, components))
}

fn component(text: &str) -> Result<Vec<Piece>, String> {
    if matches!(text, "" | "." | "..") || text.contains("**") {
        return Err("must be of components that are not empty, `.` or `..`, and without `**`".into());
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['*', '{', '}']) {
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].to_owned()));
        }
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('*') {
            pieces.push(Piece::Any);
            rest = after;
            continue;
        }
        let (name, after) = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .ok_or("has a brace that belongs to no placeholder")?;
        pieces.push(match name {
            "pid" => Piece::Pid,
            "conversation" => Piece::Conversation,
            "cwd-dashed" => Piece::CwdDashed,
            _ => {
                return Err(format!(
                    "has `{{{name}}}` in a component, where `{{pid}}`, `{{conversation}}` and `{{cwd-dashed}}` may be"
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
