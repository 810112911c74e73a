//! What a provider may use: what a manifest wants, and what the operator allows of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::control::observation::RunningSession;

use super::names::{check_env_name, check_executable, check_file_name, file_name_of_absolute};
use super::pattern::{Glob, check_path_pattern, globs, variable_of};

/// Names in each list of grants.
const GRANTS_MAX: usize = 64;

/// What a provider may use: its plans, and what it sees and does in running sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Programs: plain names, looked up on the host's PATH, or absolute paths.
    pub executables: Vec<String>,
    /// Environment variables a plan may set or pass on.
    pub env: Vec<String>,
    /// Files a plan may write into the session directory, by plain name.
    pub files: Vec<String>,
    /// Files of a running session's program that are read for it, as patterns of absolute paths.
    pub reads: Vec<String>,
    /// Unix sockets that a notice may be written to, as patterns of absolute paths.
    pub sockets: Vec<String>,
}

/// What the operator allows of what a manifest wants. A list that is left out allows all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedGrants {
    /// Programs. An absolute path allows that path to a manifest which wants its file name.
    pub executables: Option<Vec<String>>,
    /// Environment variables.
    pub env: Option<Vec<String>>,
    /// Session files.
    pub files: Option<Vec<String>>,
    /// Files that are read, by the same patterns.
    pub reads: Option<Vec<String>>,
    /// Sockets, by the same patterns.
    pub sockets: Option<Vec<String>>,
}

impl Grants {
    /// Checks each name. Errors name the list and the name.
    pub(crate) fn check(&self) -> Result<(), String> {
        let check = |key: &str, names: &[String], allowed: fn(&str) -> Result<(), String>| {
            if names.len() > GRANTS_MAX {
                return Err(format!("`{key}` may have at most {GRANTS_MAX} entries"));
            }
            names.iter().try_for_each(|name| allowed(name).map_err(|problem| format!("`{key}`: {name:?} {problem}")))
        };
        check("executables", &self.executables, check_executable)?;
        check("env", &self.env, check_env_name)?;
        check("files", &self.files, check_file_name)?;
        check("reads", &self.reads, check_path_pattern)?;
        check("sockets", &self.sockets, check_path_pattern)
    }

    /// Checks that each variable that a pattern begins with is one of its own.
    pub(super) fn check_variables(&self) -> Result<(), String> {
        let unknown = self.patterns().find_map(|pattern| {
            variable_of(pattern).filter(|name| !self.env.iter().any(|own| own == name)).map(|name| (pattern, name))
        });
        match unknown {
            Some((pattern, name)) => Err(format!("{pattern:?} begins with {name}, which is not among `env`")),
            None => Ok(()),
        }
    }

    /// Which files of this session are read for it.
    pub fn readable(&self, session: &RunningSession) -> Vec<Glob> {
        self.reads.iter().flat_map(|pattern| globs(pattern, session)).collect()
    }

    /// Which sockets of this session may be written to.
    pub fn writable(&self, session: &RunningSession) -> Vec<Glob> {
        self.sockets.iter().flat_map(|pattern| globs(pattern, session)).collect()
    }

    /// The granted variables that a pattern begins with.
    pub fn variables(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.patterns().filter_map(variable_of).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.env.iter().any(|own| own == name));
        names
    }

    fn patterns(&self) -> impl Iterator<Item = &str> {
        self.reads.iter().chain(&self.sockets).map(String::as_str)
    }

    /// Those of them that are allowed. An absolute path is granted where it is allowed and its file name
    /// is wanted.
    pub(crate) fn allowed_by(&self, allowed: &AllowedGrants) -> Self {
        let both = |wanted: &[String], allowed: &Option<Vec<String>>| match allowed {
            None => wanted.to_vec(),
            Some(allowed) => wanted.iter().filter(|name| allowed.contains(name)).cloned().collect(),
        };
        let mut executables: Vec<String> = both(&self.executables, &allowed.executables);
        for path in allowed.executables.iter().flatten() {
            let wants_its_name =
                file_name_of_absolute(path).is_some_and(|name| self.executables.iter().any(|wanted| wanted == name));
            if wants_its_name && !executables.contains(path) {
                executables.push(path.clone());
            }
        }
        Self {
            executables,
            env: both(&self.env, &allowed.env),
            files: both(&self.files, &allowed.files),
            reads: both(&self.reads, &allowed.reads),
            sockets: both(&self.sockets, &allowed.sockets),
        }
    }
}
