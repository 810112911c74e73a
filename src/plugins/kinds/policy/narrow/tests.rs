//! What may be amended, and how far.

use super::*;
use crate::domain::control::{ControlTarget, Site};

fn facts(path: &str, resolved: Option<&str>) -> PathFacts {
    PathFacts { given: path.into(), normalised: path.into(), resolved: resolved.map(Into::into) }
}

fn spawn(cwd: PathFacts) -> Control {
    Control::Spawn(Spawn {
        provider: "claude".into(),
        approval_mode: ApprovalMode::Guarded,
        site: Site { orchestrator: Some("far".into()), hostname: "far".into(), base_dir: cwd.clone() },
        cwd,
        label: None,
        prompt: None,
    })
}

fn cwd(path: &str) -> Amendment {
    Amendment { cwd: Some(path.into()), approval_mode: None }
}

async fn narrowed(control: &Control, amendment: Amendment) -> Result<Spawn, String> {
    match narrow(control, amendment).await? {
        Control::Spawn(spawn) => Ok(spawn),
        other => panic!("{other:?} is no spawn"),
    }
}

#[tokio::test]
async fn a_mode_can_only_become_narrower() {
    let control = spawn(facts("/code", None));
    let mode = |mode| Amendment { cwd: None, approval_mode: Some(mode) };
    let narrower = narrowed(&control, mode(ApprovalMode::ReadOnly)).await.expect("narrower");
    assert_eq!(narrower.approval_mode, ApprovalMode::ReadOnly);
    assert!(narrowed(&control, mode(ApprovalMode::Guarded)).await.is_ok());
    let error = narrowed(&control, mode(ApprovalMode::Open)).await.expect_err("wider");
    assert_eq!(error, "amendment.approval-mode: open allows more than guarded");
}

#[tokio::test]
async fn on_another_host_components_decide() {
    let control = spawn(facts("/code", None));
    let narrower = narrowed(&control, cwd("/code/a/../b")).await.expect("inside");
    assert_eq!(narrower.cwd.normalised, "/code/b");
    assert_eq!(narrower.cwd.resolved, None);
    for outside in ["/code-evil", "/code/../etc", "/"] {
        assert!(narrowed(&control, cwd(outside)).await.is_err(), "{outside}");
    }
}

#[tokio::test]
async fn on_this_host_symlinks_are_followed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base = directory.path().canonicalize().expect("resolved");
    let work = base.join("work");
    std::fs::create_dir_all(work.join("inner")).expect("made");
    std::os::unix::fs::symlink("/", work.join("escape")).expect("linked");
    std::os::unix::fs::symlink("inner", work.join("alias")).expect("linked");
    let work = work.to_str().expect("UTF-8");
    let control = spawn(facts(work, Some(work)));

    let inner = narrowed(&control, cwd(&format!("{work}/alias"))).await.expect("inside");
    assert_eq!(inner.cwd.resolved, Some(format!("{work}/inner")));
    for outside in ["escape", "escape/etc", "..", "missing"] {
        assert!(narrowed(&control, cwd(&format!("{work}/{outside}"))).await.is_err(), "{outside}");
    }
}

#[tokio::test]
async fn only_a_spawn_has_something_to_amend() {
    let Control::Spawn(Spawn { site, .. }) = spawn(facts("/code", None)) else { unreachable!("made above") };
    let control = Control::Shutdown(ControlTarget::EveryAgentOf(site));
    assert!(narrow(&control, cwd("/code")).await.is_err());
}
