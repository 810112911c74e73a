//! What a command needs to know of a relay on this host, from where the relay itself has it.

use std::path::PathBuf;

use super::file::File;
use super::{ConfigError, Environment, Flags, Secret, resolve};

/// The part of the settings by which a command finds the relay beside it.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Where the relay keeps everything. Absolute; it need not be there.
    pub data_dir: PathBuf,
    /// The administrator's token, where the environment or the file says it.
    pub token: Option<Secret>,
    /// The file, where one is named.
    pub file: Option<PathBuf>,
}

impl Beside {
    /// Reads the file, if one is named, and resolves these settings alone: nothing else that is in it can be wrong.
    ///
    /// # Errors
    ///
    /// As [`super::Config::load`].
    pub fn load(flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let path = resolve::config_path(flags, env)?;
        let file = match &path {
            Some((origin, path)) => File::read(origin, path, env)?,
            None => File::default(),
        };
        Ok(Self {
            data_dir: resolve::data_dir(flags, env, &file)?,
            token: resolve::token(env, &file)?,
            file: path.map(|(_, path)| path),
        })
    }
}
