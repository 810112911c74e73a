//! What plans may use: what a manifest wants, and what the operator allows of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::names::{check_env_name, check_executable, check_file_name, file_name_of_absolute};

/// Names in each list of grants.
const GRANTS_MAX: usize = 64;

/// What plans of a provider may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Programs: plain names, looked up on the host's PATH, or absolute paths.
    pub executables: Vec<String>,
    /// Environment variables a plan may set or pass on.
    pub env: Vec<String>,
    /// Files a plan may write into the session directory, by plain name.
    pub files: Vec<String>,
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
        check("files", &self.files, check_file_name)
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
        Self { executables, env: both(&self.env, &allowed.env), files: both(&self.files, &allowed.files) }
    }
}
