//! What an amendment makes of a control: the host lets it take away and never add.

use std::path::Path;

use crate::domain::control::{ApprovalMode, Control, Spawn};
use crate::domain::text::path::{PathFacts, is_within, normalise};

/// What a policy wants narrowed.
pub(crate) struct Amendment {
    pub(crate) cwd: Option<String>,
    pub(crate) approval_mode: Option<ApprovalMode>,
}

/// The control under an amendment, which may take away and never add.
pub(crate) async fn narrow(control: &Control, amendment: Amendment) -> Result<Control, String> {
    let Control::Spawn(asked) = control else {
        return Err(format!("amendment: nothing of a {} can be amended", control.kind().as_str()));
    };
    let approval_mode = amendment.approval_mode.unwrap_or(asked.approval_mode);
    if approval_mode.is_wider_than(asked.approval_mode) {
        return Err(format!(
            "amendment.approval-mode: {} allows more than {}",
            approval_mode.as_str(),
            asked.approval_mode.as_str()
        ));
    }
    let cwd = match amendment.cwd {
        Some(path) => narrow_cwd(&asked.cwd, path).await?,
        None => asked.cwd.clone(),
    };
    Ok(Control::Spawn(Spawn { approval_mode, cwd, ..asked.clone() }))
}

async fn narrow_cwd(asked: &PathFacts, given: String) -> Result<PathFacts, String> {
    let outside = |path: &Path| format!("amendment.cwd: {} is not in {}", path.display(), asked.effective());
    let normalised = normalise(Path::new(&given));
    let resolved = match &asked.resolved {
        // Another host will start it, and asks its own policies with its own facts.
        None => {
            if !is_within(&normalised, Path::new(&asked.normalised)) {
                return Err(outside(&normalised));
            }
            None
        }
        // Here a symlink below the directory asked for may lead anywhere.
        Some(base) => {
            let real = tokio::fs::canonicalize(&normalised)
                .await
                .map_err(|error| format!("amendment.cwd: cannot resolve {}: {error}", normalised.display()))?;
            if !is_within(&real, Path::new(base)) {
                return Err(outside(&real));
            }
            Some(real.to_string_lossy().into_owned())
        }
    };
    Ok(PathFacts { given, normalised: normalised.to_string_lossy().into_owned(), resolved })
}

#[cfg(test)]
mod tests;
