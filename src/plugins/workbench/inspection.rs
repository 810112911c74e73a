//! What a component is, without calling it.

use serde::Serialize;
use wasmparser::{KnownCustom, Parser, Payload};

use super::super::kinds::Rejection;
use super::super::package::PluginKind;
use super::super::runtime::bindings::{PACKAGE, TRACK};
use super::super::runtime::clean;
use super::bench::Workbench;
use super::project::Project;

/// What a component is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: usize,
    /// Everything it imports, by full names.
    pub imports: Vec<String>,
    /// Everything it exports, by full names.
    pub exports: Vec<String>,
    /// What it is to a relay, when it exports one of the relay's interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PluginKind>,
    /// The version of that interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<String>,
    /// Whether this relay speaks that track.
    pub spoken: bool,
    /// Whether it imports anything of WASI, which it finds empty.
    pub wasi: bool,
    /// What it was made with, by its own account.
    pub made_with: Vec<Tool>,
}

/// A language, compiler or tool that a component says it was made with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// `language`, `processed-by` or `sdk`.
    pub role: String,
    /// Its name.
    pub name: String,
    /// Its version, where it says one.
    pub version: String,
}

impl Inspection {
    /// The world it is built for.
    pub fn world(&self) -> Option<String> {
        self.kind.map(|kind| format!("{}-plugin", kind.as_str()))
    }
}

impl Workbench {
    /// Says what a component is. It is compiled for that, and not called.
    ///
    /// # Errors
    /// When it is no component, or not one that a relay can compile.
    pub async fn inspect(&self, project: &Project) -> Result<Inspection, Rejection> {
        let wasm = project.wasm();
        let compiled = self.compile(project).await?;
        let (imports, exports) = self.engine.surface(&compiled);
        let exported = |kind: PluginKind| {
            let wanted = format!("{PACKAGE}{}@", kind.as_str());
            exports.iter().find_map(|name| name.strip_prefix(&wanted)).map(|track| (kind, track.to_owned()))
        };
        let plugin = PluginKind::ALL.into_iter().find_map(exported);
        let (kind, track) = plugin.unzip();
        Ok(Inspection {
            sha256: project.digest().to_owned(),
            bytes: wasm.len(),
            spoken: track.as_deref() == Some(TRACK),
            wasi: compiled.wasi,
            made_with: made_with(&wasm),
            imports,
            exports,
            kind,
            track,
        })
    }
}

/// The producers of a component and of everything inside it. A section that cannot be read says
/// nothing.
fn made_with(wasm: &[u8]) -> Vec<Tool> {
    let mut tools = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { break };
        if let Payload::CustomSection(section) = payload
            && let KnownCustom::Producers(roles) = section.as_known()
        {
            for role in roles.into_iter().flatten() {
                for tool in role.values.into_iter().flatten() {
                    let (name, version) = (clean(tool.name), clean(tool.version));
                    tools.push(Tool { role: clean(role.name), name, version });
                }
            }
        }
    }
    tools.sort();
    tools.dedup();
    tools
}
