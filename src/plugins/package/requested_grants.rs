//! What a plugin of the directory asks for, held against what was accepted of it before. A folder
//! that is replaced must not get more than its predecessor had without somebody saying so.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::text::hex::hex;

use super::grants::{AllowedGrants, Grants};
use super::source::Fingerprint;

/// Names in each list of what was accepted over time.
const ACCEPTED_MAX: usize = 256;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 4096;

/// What a plugin asks for, as far as the operator's configuration lets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RequestedGrants {
    /// SHA-256 of manifest and component together, of whatever asked for this last.
    pub(crate) digest: String,
    pub(crate) grants: Grants,
    /// Whether the component imports WASI: it finds an empty world there, but it is more code of
    /// the host that it can reach.
    pub(crate) wasi: bool,
}

impl RequestedGrants {
    pub(crate) fn of(fingerprint: &Fingerprint, grants: &Grants, wasi: bool) -> Self {
        Self { digest: digest(fingerprint), grants: grants.clone(), wasi }
    }

    /// What it asks for beyond what was accepted, for the operator to read; nothing when it is
    /// content. What the configuration names is allowed by that.
    pub(crate) fn beyond(&self, accepted: &Self, named: &AllowedGrants) -> Option<String> {
        let new = |what: &str, asked: &[String], accepted: &[String], named: &Option<Vec<String>>| {
            let new = asked.iter().filter(|name| named.is_none() && !accepted.contains(name));
            let new: Vec<String> = new.map(|name| format!("{name:?}")).collect();
            (!new.is_empty()).then(|| format!("{what} {}", new.join(", ")))
        };
        let (ours, theirs) = (&self.grants, &accepted.grants);
        let more: Vec<String> = [
            new("executables", &ours.executables, &theirs.executables, &named.executables),
            new("env", &ours.env, &theirs.env, &named.env),
            new("files", &ours.files, &theirs.files, &named.files),
            new("reads", &ours.reads, &theirs.reads, &named.reads),
            new("sockets", &ours.sockets, &theirs.sockets, &named.sockets),
            (self.wasi && !accepted.wasi).then(|| "the imports of WASI".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!more.is_empty()).then(|| more.join("; "))
    }

    /// Both together. What was accepted once stays accepted, so that going back needs nobody.
    pub(crate) fn and(&self, accepted: Option<&Self>) -> Self {
        let Some(accepted) = accepted else {
            return self.clone();
        };
        let both = |new: &[String], old: &[String]| {
            let mut names = new.to_vec();
            names.extend(old.iter().filter(|name| !new.contains(name)).cloned());
            names.truncate(ACCEPTED_MAX);
            names
        };
        let (ours, theirs) = (&self.grants, &accepted.grants);
        Self {
            digest: self.digest.clone(),
            grants: Grants {
                executables: both(&ours.executables, &theirs.executables),
                env: both(&ours.env, &theirs.env),
                files: both(&ours.files, &theirs.files),
                reads: both(&ours.reads, &theirs.reads),
                sockets: both(&ours.sockets, &theirs.sockets),
            },
            wasi: self.wasi || accepted.wasi,
        }
    }

    /// Checks what was read from a file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Grants { executables, env, files, reads, sockets } = &self.grants;
        for names in [executables, env, files, reads, sockets] {
            if names.len() > ACCEPTED_MAX || names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
                return Err(format!("more than {ACCEPTED_MAX} names, or one of more than {NAME_BYTES_MAX} bytes"));
            }
        }
        Ok(())
    }
}

/// Which manifest with which component: a grant is for both, since either may ask.
fn digest(fingerprint: &Fingerprint) -> String {
    hex(&Sha256::new().chain_update(&fingerprint.wasm).chain_update(&fingerprint.manifest).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(executables: &[&str], env: &[&str], wasi: bool) -> RequestedGrants {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let grants = Grants { executables: list(executables), env: list(env), ..Grants::default() };
        RequestedGrants { digest: String::new(), grants, wasi }
    }

    #[test]
    fn only_what_is_new_is_listed() {
        let accepted = asks(&["claude"], &["TERM"], false);
        let nothing = AllowedGrants::default();
        assert_eq!(accepted.beyond(&accepted, &nothing), None);
        assert_eq!(asks(&[], &["TERM"], false).beyond(&accepted, &nothing), None);
        let more = asks(&["claude", "bash", "sh"], &["HOME"], true);
        assert_eq!(
            more.beyond(&accepted, &nothing).as_deref(),
            Some("executables \"bash\", \"sh\"; env \"HOME\"; the imports of WASI")
        );
        let reads = Grants { reads: vec!["{home}/x".into()], ..accepted.grants.clone() };
        let looks = RequestedGrants { grants: reads, ..accepted.clone() };
        assert_eq!(looks.beyond(&accepted, &nothing).as_deref(), Some("reads \"{home}/x\""));
        let named = AllowedGrants { executables: Some(vec!["bash".into()]), ..AllowedGrants::default() };
        assert_eq!(more.beyond(&accepted, &named).as_deref(), Some("env \"HOME\"; the imports of WASI"));
    }

    #[test]
    fn what_was_accepted_stays_accepted() {
        let first = asks(&["claude"], &["TERM"], true);
        let both = asks(&["codex"], &[], false).and(Some(&first));
        assert_eq!(both, asks(&["codex", "claude"], &["TERM"], true));
        assert_eq!(first.and(None), first);
    }

    #[test]
    fn the_digest_is_of_manifest_and_component() {
        let of = |wasm: &str, manifest: &str| {
            digest(&Fingerprint { wasm: wasm.into(), manifest: manifest.into(), minisig: None })
        };
        assert_ne!(of("a", "x"), of("a", "y"));
        assert_ne!(of("a", "x"), of("b", "x"));
    }
}
