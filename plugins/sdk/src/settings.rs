//! What the operator wrote below `[settings]`.
//!
//! The relay hands it over as a JSON object, asks the plugin whether it takes it before the plugin goes
//! live, and gives the very same text to every call.
//!
//! The checks of single values keep an operator from contradicting the plugin by accident. They are no
//! wall against one who means to: the manifest is the operator's.

/// The most entries of a list, and the most characters of one text.
const ENTRIES_MAX: usize = 32;
const TEXT_MAX: usize = 1_000;

/// An operator's settings, read from JSON. With serde it takes one line:
///
/// ```
/// use agent_relay_plugin::settings::{Settings, from_json};
///
/// #[derive(Default, serde::Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Hours {
///     from: u8,
///     to: u8,
/// }
///
/// impl Settings for Hours {
///     fn read(json: &str) -> Result<Self, String> {
///         from_json(json)
///     }
/// }
///
/// assert_eq!(Hours::read(r#"{"from": 9}"#).map(|hours| hours.from), Ok(9));
/// assert!(Hours::read(r#"{"form": 9}"#).is_err_and(|error| error.starts_with("settings.form: unknown field")));
/// ```
pub trait Settings: Default {
    /// Reads and checks them. `{}` stands for nothing set.
    ///
    /// # Errors
    /// What is wrong, for the operator: it names the setting and what is allowed.
    fn read(json: &str) -> Result<Self, String>;
}

/// For a plugin in which nothing can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoSettings;

impl Settings for NoSettings {
    fn read(json: &str) -> Result<Self, String> {
        let bare: String = json.split_whitespace().collect();
        if bare == "{}" {
            Ok(Self)
        } else {
            Err("there are no settings: remove everything below [settings]".to_owned())
        }
    }
}

/// Reads settings with serde, naming the key that does not fit. Whether an unknown key is refused is for
/// the type to say, with `deny_unknown_fields`.
///
/// # Errors
/// The key, and what serde expected there.
#[cfg(feature = "settings")]
pub fn from_json<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
    // By way of a value, because the operator wrote TOML: lines and columns of the JSON that it
    // became would only mislead.
    let value: serde_json::Value = serde_json::from_str(json).map_err(|error| format!("settings: {error}"))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        if path == "." { format!("settings: {}", error.inner()) } else { format!("settings.{path}: {}", error.inner()) }
    })
}

/// Checks one text: not empty, at most 1,000 characters, no NUL.
pub fn check_text(key: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains('\0') || text.chars().count() > TEXT_MAX {
        return Err(format!("settings.{key}: must hold 1 to {TEXT_MAX} characters and no NUL"));
    }
    Ok(())
}

/// Checks a program: a name to be found on the path, or an absolute path.
pub fn check_executable(key: &str, program: &str) -> Result<(), String> {
    check_text(key, program)?;
    if program.contains('/') && !program.starts_with('/') {
        return Err(format!("settings.{key}: {program:?} is a relative path; give a plain name or an absolute path"));
    }
    Ok(())
}

/// Checks names of environment variables: at most 32, letters, digits and `_`.
pub fn check_names(key: &str, names: &[String]) -> Result<(), String> {
    check_count(key, names)?;
    for name in names {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
            return Err(format!(
                "settings.{key}: {name:?} is no name of an environment variable; use letters, digits and _"
            ));
        }
    }
    Ok(())
}

/// Checks extra arguments: at most 32, none of which begins with one of `owned`, what the plugin
/// decides itself from the approval mode and the site. A bare `--` would turn what follows into a
/// prompt and is always refused.
pub fn check_arguments(key: &str, arguments: &[String], owned: &[&str]) -> Result<(), String> {
    check_count(key, arguments)?;
    for argument in arguments {
        check_text(key, argument)?;
        if argument == "--" || owned.iter().any(|owned| argument.starts_with(owned)) {
            return Err(format!(
                "settings.{key}: {argument:?} is decided by the plugin from the approval mode and the site; remove it"
            ));
        }
    }
    Ok(())
}

fn check_count(key: &str, list: &[String]) -> Result<(), String> {
    if list.len() > ENTRIES_MAX {
        return Err(format!("settings.{key}: has {} entries; at most {ENTRIES_MAX} are allowed", list.len()));
    }
    Ok(())
}

#[cfg(all(test, feature = "settings"))]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        model: Option<String>,
        extra_args: Vec<String>,
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(from_json::<Sample>("{}"), Ok(Sample::default()));
        assert_eq!(NoSettings::read(" { } "), Ok(NoSettings));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |json| from_json::<Sample>(json).expect_err("it does not fit");
        assert_eq!(
            error(r#"{"modle": "x"}"#),
            "settings.modle: unknown field `modle`, expected `model` or `extra_args`"
        );
        assert_eq!(error(r#"{"model": 3}"#), "settings.model: invalid type: integer `3`, expected a string");
        assert_eq!(
            error(r#"{"extra_args": ["a", true]}"#),
            "settings.extra_args[1]: invalid type: boolean `true`, expected a string"
        );
        assert!(error("{").starts_with("settings: "));
        for settings in [r#"{"base":"/x"}"#, "[]", "null", ""] {
            assert!(NoSettings::read(settings).is_err(), "{settings}");
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_program_is_a_name_or_an_absolute_path() {
        for program in ["claude", "/opt/claude/bin/claude"] {
            assert_eq!(check_executable("executable", program), Ok(()));
        }
        for program in ["", "bin/claude", "../claude", "a\0b"] {
            assert!(check_executable("executable", program).is_err(), "{program:?}");
        }
    }

    #[test]
    fn names_of_variables_are_plain() {
        assert_eq!(check_names("pass_env", &words(&["A", "_b", "C9"])), Ok(()));
        for name in ["", "9A", "A-B", "A=B", "Ä"] {
            assert!(check_names("pass_env", &words(&[name])).is_err(), "{name:?}");
        }
        assert!(check_names("pass_env", &vec!["A".to_owned(); 33]).is_err());
    }

    #[test]
    fn an_argument_that_the_plugin_decides_is_refused() {
        let check = |arguments: &[&str]| check_arguments("extra_args", &words(arguments), &["--sandbox", "-s"]);
        assert_eq!(check(&["--verbose", "--search", "a b"]), Ok(()));
        for argument in ["--", "--sandbox", "--sandbox=read-only", "-s", "-sread-only", "", "a\0"] {
            assert!(check(&["--verbose", argument]).is_err(), "{argument:?}");
        }
    }
}
