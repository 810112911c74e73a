//! What outlives the relay: `operator_state` is what is remembered of one plugin, `state_file` the file of all of
//! them, `kept_files` the files of earlier generations.

mod kept_files;
mod operator_state;
mod state_file;

pub(crate) use operator_state::{Activation, Content, OperatorState, RolledBack, StateChange};
pub(crate) use state_file::OperatorStates;
