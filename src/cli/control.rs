//! Starting, restarting and stopping agents, each followed to its end: what is said to be done is done.

mod act;
mod command;
mod follow;
mod orchestrators;
mod sessions;
mod spawn;

pub(super) use self::act::{Act, act};
pub(super) use self::command::{CommandArgs, show_command};
pub(super) use self::orchestrators::{Orchestrators, list};
pub(super) use self::sessions::{SessionsArgs, see_sessions};
pub(super) use self::spawn::{Spawn, spawn};
