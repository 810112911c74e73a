//! Control: the commands, the daemons that carry them out, and the sessions of this host.

pub(super) mod commands;
pub(super) mod fleet;
pub(super) mod orchestrators;
pub(super) mod sessions;
