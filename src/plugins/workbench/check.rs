//! Everything that a relay does with a plugin before it goes live, by the relay's own code and in its order.
//!
//! A stage that fails does not end the check: the next ones are tried as far as they can be. What could not be tried
//! is called that, and never passes.

use serde::Serialize;
use serde_json::Value;

use super::super::kinds::{Rejection, Stage};
use super::super::package::{Fingerprint, Limits, Manifest, Origin, PluginConfig, Source, Terms};
use super::super::registry::{PluginStatus, Probe};
use super::bench::{Workbench, build};
use super::finding::{Finding, Level, error, next_step, notable, over_against_grants, world_hint};
use super::inspection::Inspection;
use super::loaded::Loaded;
use super::project::Project;

/// The stages of loading that depend on nothing but the plugin, in the order in which a relay goes through them.
const STAGES: [Stage; 7] =
    [Stage::Read, Stage::Manifest, Stage::Compile, Stage::World, Stage::Describe, Stage::Settings, Stage::Probe];

/// What became of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A relay would go on to the next.
    Passed,
    /// A relay would reject the plugin here.
    Failed,
    /// An earlier one failed in a way that leaves nothing to try, or only a running relay knows.
    NotTested,
}

/// One stage of loading.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Which.
    pub stage: Stage,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was not tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether a relay would load it: every stage that can be tested without one passed, and it is not switched off.
    pub loads: bool,
    /// Whether its manifest has a relay leave it alone: `enabled = false`.
    pub disabled: bool,
    /// Every stage of loading, in its order.
    pub stages: Vec<Checked>,
    /// What is not as it should be, errors first.
    pub findings: Vec<Finding>,
    /// What it was asked, in words; whatever these calls do not reach was not tested.
    pub calls: Vec<String>,
    /// What the component is, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Inspection>,
    /// What a relay would show of it, when it loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginStatus>,
    /// What it says it can do, when it loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Value>,
    /// The median of instance and call, over the questions that loading asked, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
}

/// What is known so far of the stages.
#[derive(Default)]
struct Walk {
    outcomes: Vec<(Stage, Outcome)>,
    findings: Vec<Finding>,
    /// Why nothing more can be tried.
    ended: Option<String>,
}

impl Walk {
    fn passed(&mut self, stage: Stage) {
        // What failed once has not passed when it was tried again with the mistake taken away.
        if self.outcome(stage) == Outcome::NotTested {
            self.outcomes.push((stage, Outcome::Passed));
        }
    }

    fn failed(&mut self, stage: Stage, finding: Finding) {
        self.outcomes.push((stage, Outcome::Failed));
        self.findings.push(finding);
    }

    fn outcome(&self, stage: Stage) -> Outcome {
        let of = |(known, outcome): &(Stage, Outcome)| (*known == stage).then_some(*outcome);
        self.outcomes.iter().find_map(of).unwrap_or(Outcome::NotTested)
    }

    /// Takes a rejection of the loader in: what comes before it passed, and nothing after it was tried.
    fn rejected(&mut self, rejection: Rejection, component: &Inspection, terms: &Terms) {
        for stage in STAGES.into_iter().take_while(|stage| *stage != rejection.stage) {
            self.passed(stage);
        }
        let hint = (rejection.stage == Stage::World).then(|| world_hint(component, terms.kind));
        let next = hint.or_else(|| next_step(rejection.stage).map(str::to_owned));
        self.ended = Some(format!("it failed at {}", rejection.stage.as_str()));
        self.failed(rejection.stage, error(rejection.stage, rejection.reason, next.as_deref()));
    }

    fn stages(&self) -> Vec<Checked> {
        let tested = STAGES.map(|stage| {
            let outcome = self.outcome(stage);
            let reason = (outcome == Outcome::NotTested).then(|| self.ended.clone()).flatten();
            Checked { stage, outcome, reason }
        });
        let known_to_a_relay = [
            (Stage::Signature, "the relay's configuration says whether it must be signed"),
            (Stage::Grants, "what it may ask for depends on what the relay accepted of its predecessor"),
        ];
        let of_relay = known_to_a_relay.map(|(stage, reason)| Checked {
            stage,
            outcome: Outcome::NotTested,
            reason: Some(reason.to_owned()),
        });
        tested.into_iter().chain(of_relay).collect()
    }
}

impl Workbench {
    /// Takes a plugin through everything that a relay does before it goes live.
    pub async fn check(&self, project: &Project) -> Report {
        let mut walk = Walk::default();
        match project.as_a_relay_would() {
            Ok(()) => walk.passed(Stage::Read),
            Err(problem) => walk.failed(Stage::Read, error(Stage::Read, problem, None)),
        }
        let (source, fingerprint, terms) = self.terms(project, &mut walk).await;
        let component = match self.inspect(project).await {
            Ok(component) => {
                walk.passed(Stage::Compile);
                walk.findings.extend(notable(&component));
                Some(component)
            }
            Err(rejection) => {
                walk.ended = Some("it is no component".to_owned());
                walk.failed(Stage::Compile, error(Stage::Compile, rejection.reason, None));
                None
            }
        };
        let mut loaded = None;
        if let (Some(component), Some(terms)) = (&component, &terms) {
            loaded = self.take_through(project, component, (&source, &fingerprint, terms), &mut walk).await;
        }
        let status = loaded.as_ref().map(Loaded::status);
        let abilities = loaded.as_ref().map(Loaded::abilities);
        if let (Some(status), Some(abilities)) = (&status, &abilities) {
            walk.findings.extend(over_against_grants(abilities, status));
        }
        walk.findings.sort_by_key(|finding| finding.level == Level::Warning);
        let passes = STAGES.iter().all(|stage| walk.outcome(*stage) == Outcome::Passed);
        let disabled = terms.as_ref().is_some_and(|terms| !terms.enabled);
        Report {
            loads: passes && !disabled,
            disabled,
            stages: walk.stages(),
            findings: walk.findings,
            calls: loaded.as_ref().map(Loaded::asked_before_it_goes_live).unwrap_or_default(),
            component,
            plugin: status.clone().filter(|_| passes),
            abilities: abilities.filter(|_| passes),
            p50_micros: status.map(|status| status.p50_micros).filter(|_| passes),
        }
    }

    /// What holds for it by its manifest. A manifest that says something wrong of the folder or of the component is
    /// complained about, and its terms hold for what is still to be tried.
    async fn terms(&self, project: &Project, walk: &mut Walk) -> (Source, Fingerprint, Option<Terms>) {
        let loader = self.loader([].into(), Probe::Asked);
        let derived = match project.manifest() {
            Some(_) => None,
            None => self.manifest_for(project).await.ok(),
        };
        let manifest = project.manifest().or(derived.as_deref()).unwrap_or_default().to_owned();
        let mut source =
            Source { origin: Origin::Directory, name: project.name(), manifest, wasm: project.wasm(), minisig: None };
        let fingerprint = source.fingerprint();
        if project.manifest().is_none() {
            let next =
                "write one beside plugin.wasm with at least `id` and `kind`, or begin with `agent-relay plugin new`";
            walk.failed(Stage::Manifest, error(Stage::Manifest, "there is no plugin.toml".to_owned(), Some(next)));
        }
        let Ok(parsed) = Manifest::parse(&source.manifest) else {
            if let Err(rejection) = loader.terms(&source, &fingerprint)
                && project.manifest().is_some()
            {
                walk.failed(Stage::Manifest, error(Stage::Manifest, rejection.reason, None));
            }
            walk.ended = Some("its manifest says neither kind nor settings".to_owned());
            return (source, fingerprint, None);
        };
        // Each mistake by itself: with the right name, and with the component that the digest is of.
        let built = fingerprint.clone();
        let named = Fingerprint { wasm: parsed.sha256.clone().unwrap_or_else(|| built.wasm.clone()), ..built.clone() };
        let rename = "rename the folder, or change `id` here and in the source";
        let digest = "write the digest of the component that was built last";
        if project.manifest().is_some()
            && let Err(rejection) = loader.terms(&source, &named)
        {
            let next = (parsed.id != source.name).then_some(rename);
            walk.failed(Stage::Manifest, error(Stage::Manifest, rejection.reason, next));
        }
        source.name.clone_from(&parsed.id);
        if let (Ok(_), Err(rejection)) = (loader.terms(&source, &named), loader.terms(&source, &built)) {
            walk.failed(Stage::Manifest, error(Stage::Manifest, rejection.reason, Some(digest)));
        }
        walk.passed(Stage::Manifest);
        let terms = parsed.under(&PluginConfig::default(), Limits::default());
        if let Err(problem) = &terms {
            walk.ended = Some(problem.clone());
        }
        (source, fingerprint, terms.ok())
    }

    /// The stages in which its code runs.
    async fn take_through(
        &self,
        project: &Project,
        component: &Inspection,
        (source, fingerprint, terms): (&Source, &Fingerprint, &Terms),
        walk: &mut Walk,
    ) -> Option<Loaded> {
        let loader = self.loader([].into(), Probe::Asked);
        let built = match build(&loader, source, fingerprint, terms).await {
            Err(rejection) if rejection.stage == Stage::Describe => {
                walk.rejected(rejection, component, terms);
                // Under the name that it gives itself it can be asked all the same.
                let compiled = self.compile(project).await.ok()?;
                let said = loader.introduction(&compiled, terms.kind, &terms.settings).await.ok()?;
                let own = Terms { id: said.id, version: None, ..terms.clone() };
                build(&loader, source, fingerprint, &own).await
            }
            built => built,
        };
        match built {
            Ok(plugin) => {
                STAGES.into_iter().for_each(|stage| walk.passed(stage));
                walk.ended = None;
                Some(Loaded::new(plugin))
            }
            Err(rejection) if walk.outcome(rejection.stage) == Outcome::Failed => None,
            Err(rejection) => {
                walk.rejected(rejection, component, terms);
                None
            }
        }
    }
}
