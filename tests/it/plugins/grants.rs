//! A plugin that is replaced gets no more than its predecessor had, unless somebody says so.

use agent_relay::plugins::{Action, ActionError, AllowedGrants, PluginConfig, PluginState, PluginStatus, Plugins};

use super::{Home, dummies, guest, open, provider, status};

/// A manifest that asks for these programs and variables beside what every plan needs.
fn wants(executables: &str, env: &str) -> String {
    provider("misplan", "")
        .replace("['sleeper']", &format!("['sleeper'{executables}]"))
        .replace("['SLEEPER_MODE']", &format!("['SLEEPER_MODE'{env}]"))
}

fn rejected(plugins: &Plugins) -> (String, String) {
    let error = status(plugins, "misplan", PluginState::Rejected).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "grants", "{}", error.reason);
    (error.reason, error.digest.expect("a digest"))
}

fn active(plugins: &Plugins) -> PluginStatus {
    status(plugins, "misplan", PluginState::Active)
}

async fn allow(plugins: &Plugins, digest: &str) -> Result<PluginStatus, ActionError> {
    plugins.act("misplan", Action::Allow { digest: digest.to_owned() }, None).await
}

#[tokio::test]
async fn asking_for_more_waits_for_somebody_to_allow_it() {
    let home = Home::new();
    home.put("misplan", &wants("", ""), &guest("misplan"));
    let plugins = home.open().await;
    assert_eq!(active(&plugins).grants.executables, ["sleeper"]);

    home.put("misplan", &wants(", 'bash', 'sh'", ", 'EDITOR'"), &guest("misplan"));
    plugins.reload(None).await;
    let (reason, digest) = rejected(&plugins);
    assert!(reason.contains("executables \"bash\", \"sh\"; env \"EDITOR\"; if"), "{reason}");
    assert!(reason.contains(&format!("POST /api/plugins/misplan/allow {{\"digest\": \"{digest}\"}}")), "{reason}");
    assert!(!reason.contains("sleeper"), "only what is new: {reason}");
    assert_eq!((active(&plugins).generation, active(&plugins).grants.executables), (Some(1), vec!["sleeper".into()]));
    drop(plugins);

    // The start is no way around it, and takes nothing away.
    let plugins = home.open().await;
    assert_eq!(rejected(&plugins).1, digest);
    assert_eq!(active(&plugins).grants.executables, ["sleeper"]);
    let Err(ActionError::Conflict(problem)) = allow(&plugins, &"0".repeat(64)).await else { panic!("a conflict") };
    assert!(problem.contains(&digest), "{problem}");
    rejected(&plugins);

    let allowed = allow(&plugins, &digest).await.expect("allowed");
    assert_eq!((allowed.state, allowed.grants.executables.len()), (PluginState::Active, 3));
    assert_eq!(plugins.list().len(), 1);
    let Err(ActionError::Conflict(problem)) = allow(&plugins, &digest).await else { panic!("a conflict") };
    assert!(problem.contains("nothing of plugin misplan waits"), "{problem}");
    drop(plugins);
    let plugins = home.open().await;
    assert_eq!(active(&plugins).grants.executables.len(), 3);

    // Less, the same again, and what was accepted before need nobody.
    for (executables, env) in [("", ""), (", 'sh'", ""), (", 'bash', 'sh'", ", 'EDITOR'")] {
        home.put("misplan", &wants(executables, env), &guest("misplan"));
        plugins.reload(None).await;
        assert_eq!(plugins.list().len(), 1, "{:#?}", plugins.list());
        active(&plugins);
    }
}

/// What is allowed is what was shown, not what lies there by then.
#[tokio::test]
async fn allowing_is_for_one_manifest_and_one_component() {
    let home = Home::new();
    home.put("misplan", &wants("", ""), &guest("misplan"));
    let plugins = home.open().await;
    home.put("misplan", &wants(", 'bash'", ""), &guest("misplan"));
    plugins.reload(None).await;
    let (_, first) = rejected(&plugins);
    home.put("misplan", &wants(", 'bash', 'sh'", ""), &guest("misplan"));
    // Not looked at yet: what is allowed is the first, what lies there asks for more still.
    let after = allow(&plugins, &first).await.expect("the first was allowed");
    assert_eq!(after.generation, Some(1), "the predecessor is still the active one");
    let (reason, second) = rejected(&plugins);
    assert!(reason.contains("\"sh\"") && !reason.contains("\"bash\""), "{reason}");
    assert_ne!(first, second);
    let Err(ActionError::Conflict(_)) = allow(&plugins, &first).await else { panic!("a conflict") };
    allow(&plugins, &second).await.expect("allowed");
    assert_eq!(active(&plugins).grants.executables, ["sleeper", "bash", "sh"]);
}

#[tokio::test]
async fn what_the_configuration_names_needs_nobody() {
    let home = Home::new();
    home.put("misplan", &wants("", ""), &guest("misplan"));
    let mut options = home.options();
    let executables = Some(vec!["sleeper".to_owned(), "bash".to_owned()]);
    let named =
        PluginConfig { grants: AllowedGrants { executables, ..AllowedGrants::default() }, ..Default::default() };
    options.plugins.insert("misplan".into(), named);
    let plugins = open(options).await;
    home.put("misplan", &wants(", 'bash', 'sh'", ""), &guest("misplan"));
    plugins.reload(None).await;
    assert_eq!(active(&plugins).grants.executables, ["sleeper", "bash"], "what it does not name is not given either");
    home.put("misplan", &wants(", 'bash'", ", 'EDITOR'"), &guest("misplan"));
    plugins.reload(None).await;
    let (reason, _) = rejected(&plugins);
    assert!(reason.contains("it: env \"EDITOR\"; if"), "{reason}");
    drop(plugins);

    // Without that list, what it never named has to be allowed.
    home.put("misplan", &wants(", 'bash', 'sh'", ""), &guest("misplan"));
    let plugins = home.open().await;
    let (reason, _) = rejected(&plugins);
    assert!(reason.contains("it: executables \"sh\"; if"), "{reason}");
}

#[tokio::test]
async fn a_component_that_begins_to_import_wasi_waits_before_it_is_run() {
    let home = Home::new();
    home.put("misplan", &wants("", ""), &guest("misplan"));
    let plugins = home.open().await;
    let wasm = dummies::component_with(
        "provider-plugin",
        |text| text.replace("world provider-plugin {", "world provider-plugin {\n    import wasi:random/random@0.2.0;"),
        &["package wasi:random@0.2.0;\ninterface random { get-random-u64: func() -> u64; }"],
    );
    home.put("misplan", &wants("", ""), &wasm);
    plugins.reload(None).await;
    let (reason, digest) = rejected(&plugins);
    assert!(reason.contains("the imports of WASI"), "{reason}");
    active(&plugins);
    // Allowed, it goes on to the next stages, where this one can only trap.
    let after = allow(&plugins, &digest).await.expect("allowed");
    assert_eq!(after.generation, Some(1));
    let error = status(&plugins, "misplan", PluginState::Rejected).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "describe", "{}", error.reason);
}
