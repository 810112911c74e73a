//! What is made sure of before an agent that runs is ended: that it can be started again.

use super::{LaunchError, Launcher, off_the_reactor};
use crate::domain::control::spawn::SpawnSpec;
use crate::plugins::PluginSet;
use crate::sessions::{Place, Reservation};

/// A start that is known to be possible: its directory, open, and a name. Dropped unused, nothing of it is left.
#[derive(Debug)]
pub struct Prepared {
    /// The directory, in which it starts whatever the name leads to later.
    pub place: Place,
    /// The session to come.
    pub reservation: Reservation,
}

impl Launcher {
    /// Makes sure that an agent can be started for this caller: its directory is there, its provider makes a plan that
    /// may be carried out, and the program of that plan is installed. Starts nothing.
    ///
    /// # Errors
    ///
    /// Whatever would keep it from being started.
    pub async fn prepare(&self, plugins: &PluginSet, caller: &str, spec: &SpawnSpec) -> Result<Prepared, LaunchError> {
        let place = self.open(&spec.cwd).await.map_err(|_| LaunchError::Gone(spec.cwd.clone()))?;
        let reservation = self.reserve(&spec.provider, spec.label.as_deref()).await?;
        let plan = self.plan(plugins, caller, spec, &reservation).await?.into_plan();
        let sessions = self.sessions().clone();
        off_the_reactor(move || sessions.require_program(&plan)).await?;
        Ok(Prepared { place, reservation })
    }
}
