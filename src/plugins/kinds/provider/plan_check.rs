//! The host's own check of every plan, after the provider has been heard and before anybody else
//! sees it. A provider can be wrong or hostile; what passes here is within what it was granted.

use crate::domain::control::plan::{EnvValue, LaunchSite, Plan, PromptDelivery, SETTLE_MS_MAX};

use super::super::super::package::{
    Grants, check_env_name, check_executable, check_file_name, file_name_of_absolute, sha256_hex,
};

/// Arguments of a plan.
const ARGS_MAX: usize = 256;
/// Environment variables of a plan.
const ENV_MAX: usize = 64;
/// Files of a plan.
const FILES_MAX: usize = 32;
/// Texts on the screen that mean a program is up.
const SCREEN_TEXTS_MAX: usize = 16;
/// Bytes of each string: far below what one argument may have on Linux.
const STRING_BYTES_MAX: usize = 32 * 1024;
/// Bytes of all strings together.
const TOTAL_BYTES_MAX: usize = 256 * 1024;

/// A plan that passed the check. There is no other way to come by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPlan {
    plan: Plan,
    provider: String,
    version: String,
    digest: String,
    generation: u64,
    sha256: String,
}

impl CheckedPlan {
    /// What would be run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan by itself.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// The id of the provider that made it.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The version of that provider.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of that provider's component, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Which load of that provider it was.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// SHA-256 of the plan as JSON, in hexadecimal: recorded with the command, so that what was
    /// approved can be compared with what was run.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Who made a plan.
pub(crate) struct Author<'a> {
    pub(crate) provider: &'a str,
    pub(crate) version: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) generation: u64,
    /// The programs it described.
    pub(crate) executables: &'a [String],
    pub(crate) grants: &'a Grants,
}

/// Checks a plan. The error says which field is not acceptable and why.
pub(crate) fn check(plan: Plan, site: &LaunchSite, author: &Author<'_>) -> Result<CheckedPlan, String> {
    sizes(&plan)?;
    check_program(&plan.program, author.executables, author.grants)?;
    if plan.cwd != site.cwd {
        return Err(format!("cwd: {:?} is not the approved {:?}", plan.cwd, site.cwd));
    }
    environment(&plan, site, author.grants)?;
    files(&plan, author.grants)?;
    if plan.ready.settle_ms > SETTLE_MS_MAX {
        return Err(format!("ready.settle-ms: {} is more than {SETTLE_MS_MAX}", plan.ready.settle_ms));
    }
    Ok(CheckedPlan {
        sha256: hash(&plan),
        plan,
        provider: author.provider.to_owned(),
        version: author.version.to_owned(),
        digest: author.digest.to_owned(),
        generation: author.generation,
    })
}

fn sizes(plan: &Plan) -> Result<(), String> {
    let lists = [
        ("args", plan.args.len(), ARGS_MAX),
        ("env", plan.env.len(), ENV_MAX),
        ("files", plan.files.len(), FILES_MAX),
        ("ready.screen-texts", plan.ready.screen_texts.len(), SCREEN_TEXTS_MAX),
    ];
    for (field, length, max) in lists {
        if length > max {
            return Err(format!("{field}: {length} entries are more than {max}"));
        }
    }
    let mut total = 0;
    for (field, text) in strings(plan) {
        if text.contains('\0') {
            return Err(format!("{field}: contains a NUL character"));
        }
        // The contents of a file go through no system call as a whole: only the total counts.
        if text.len() > STRING_BYTES_MAX && !field.ends_with("contents") {
            return Err(format!("{field}: {} bytes are more than {STRING_BYTES_MAX}", text.len()));
        }
        total += text.len();
    }
    if total > TOTAL_BYTES_MAX {
        return Err(format!("the plan has {total} bytes of text, more than {TOTAL_BYTES_MAX}"));
    }
    Ok(())
}

/// Every string of a plan, with the name of its field.
fn strings(plan: &Plan) -> Vec<(String, &str)> {
    let mut strings = vec![("program".to_owned(), plan.program.as_str()), ("cwd".to_owned(), plan.cwd.as_str())];
    let numbered = |name: &'static str| move |(index, text)| (format!("{name}[{index}]"), text);
    strings.extend(plan.args.iter().map(String::as_str).enumerate().map(numbered("args")));
    strings.extend(plan.ready.screen_texts.iter().map(String::as_str).enumerate().map(numbered("ready.screen-texts")));
    for (index, variable) in plan.env.iter().enumerate() {
        let (EnvValue::Literal(value) | EnvValue::FromHost(value)) = &variable.value;
        strings.push((format!("env[{index}].name"), &variable.name));
        strings.push((format!("env[{index}].value"), value));
    }
    for (index, file) in plan.files.iter().enumerate() {
        strings.push((format!("files[{index}].name"), &file.name));
        strings.push((format!("files[{index}].contents"), &file.contents));
    }
    if let PromptDelivery::InFile(name) = &plan.prompt {
        strings.push(("prompt.in-file".to_owned(), name));
    }
    strings
}

/// Checks that a program is among those described and those granted.
pub(super) fn check_program(program: &str, described: &[String], grants: &Grants) -> Result<(), String> {
    check_executable(program).map_err(|problem| format!("program: {program:?} {problem}"))?;
    // A bare name never stands for an absolute path: the plugin would choose which of all files
    // of that name is run, one it had written itself among them.
    if !grants.executables.iter().any(|granted| granted == program) {
        return Err(format!("program: {program:?} is not granted; granted are {:?}", grants.executables));
    }
    let is_described = described
        .iter()
        .any(|described| described == program || file_name_of_absolute(program) == Some(described.as_str()));
    if is_described { Ok(()) } else { Err(format!("program: {program:?} is not among the executables described")) }
}

fn environment(plan: &Plan, site: &LaunchSite, grants: &Grants) -> Result<(), String> {
    for (index, variable) in plan.env.iter().enumerate() {
        let refuse = |problem: &str| Err(format!("env[{index}]: {:?} {problem}", variable.name));
        if let Err(problem) = check_env_name(&variable.name) {
            return refuse(&problem);
        }
        if variable.name == site.token_variable {
            return refuse("is set by the host alone");
        }
        if !grants.env.contains(&variable.name) {
            return refuse("is not granted");
        }
        if plan.env[..index].iter().any(|earlier| earlier.name == variable.name) {
            return refuse("is there twice");
        }
        if let EnvValue::FromHost(name) = &variable.value
            && !grants.env.contains(name)
        {
            // One that is granted and that the host does not have is left out.
            return refuse(&format!("takes the host's {name:?}, which is not granted"));
        }
    }
    Ok(())
}

fn files(plan: &Plan, grants: &Grants) -> Result<(), String> {
    for (index, file) in plan.files.iter().enumerate() {
        let refuse = |problem: &str| Err(format!("files[{index}]: {:?} {problem}", file.name));
        if let Err(problem) = check_file_name(&file.name) {
            return refuse(&problem);
        }
        if !grants.files.contains(&file.name) {
            return refuse("is not granted");
        }
        if plan.files[..index].iter().any(|earlier| earlier.name == file.name) {
            return refuse("is there twice");
        }
    }
    if let PromptDelivery::InFile(name) = &plan.prompt
        && !plan.files.iter().any(|file| file.name == *name)
    {
        return Err(format!("prompt.in-file: {name:?} is not among the files"));
    }
    Ok(())
}

fn hash(plan: &Plan) -> String {
    let json = serde_json::to_vec(plan).expect("a plan has only strings, lists and numbers");
    sha256_hex(&json)
}

#[cfg(test)]
mod tests;
