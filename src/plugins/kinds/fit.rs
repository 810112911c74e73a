//! Whether a component fits this relay, and if not, where: in words for whoever built it.
//!
//! The engine says that something does not fit in words of its own, which name neither interface nor item. Here a
//! rejected component's interfaces are held against the relay's, piece by piece.

use std::collections::BTreeSet;

use wit_component::DecodedWasm;
use wit_parser::{Function, InterfaceId, Resolve, SourceMap, Type, TypeDefKind, TypeId, WorldItem};

use super::super::package::PluginKind;
use super::super::runtime::bindings::{PACKAGE, TRACK};
use super::super::runtime::clean;

/// Where an author gets the interface from.
const BUILD_AGAINST: &str = "build it against the wit/ that `agent-relay plugin new` writes, as it is";
/// What the relay has of WASI.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// The relay's side of the interface: the files of `wit/`.
pub(crate) const INTERFACE: [(&str, &str); 8] = [
    ("courier.wit", include_str!("../../../wit/courier.wit")),
    ("host.wit", include_str!("../../../wit/host.wit")),
    ("observer.wit", include_str!("../../../wit/observer.wit")),
    ("policy.wit", include_str!("../../../wit/policy.wit")),
    ("provider.wit", include_str!("../../../wit/provider.wit")),
    ("session.wit", include_str!("../../../wit/session.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// What these bytes are instead of a component, as far as their beginning shows, and what to do about it.
pub(crate) fn not_a_component(wasm: &[u8]) -> Option<String> {
    let start = wasm.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(wasm.len());
    let text = wasm[start..].get(..64).unwrap_or(&wasm[start..]).to_ascii_lowercase();
    let is = |what: &str| text.starts_with(what.as_bytes());
    Some(match wasm {
        [] => "is empty: the build or the copy was cut short".to_owned(),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "a core module, not a component: make one of it with `agent-relay plugin build`, or with `wasm-tools \
             component new`"
                .to_owned()
        }
        [0, b'a', b's', b'm', ..] => return None,
        _ if is("version https://git-lfs") => {
            "a pointer of git-lfs, not the file: fetch it with `git lfs pull`".to_owned()
        }
        _ if is("<!doctype") || is("<html") || is("<?xml") => {
            "a web page, not WebAssembly: the download answered with an error or a sign-in page".to_owned()
        }
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "an archive, not WebAssembly: unpack it first".to_owned()
        }
        _ if is("(component") || is("(module") => {
            "WebAssembly as text: make the component with `wasm-tools parse`".to_owned()
        }
        _ => "not WebAssembly at all: its first bytes are not \\0asm".to_owned(),
    })
}

/// Why a component is no plugin of this kind, as far as its imports and exports show.
pub(crate) fn surface_problem(kind: PluginKind, imports: &[String], exports: &[String]) -> Option<String> {
    let own: Vec<&str> = exports.iter().map(String::as_str).filter(|name| name.starts_with(PACKAGE)).collect();
    let wanted = format!("{PACKAGE}{}@", kind.as_str());
    if !own.iter().any(|name| name.starts_with(&wanted)) {
        let kind = kind.as_str();
        let listed = if own.is_empty() { "none of this package".to_owned() } else { own.join(", ") };
        return Some(format!(
            "a {kind} must export {wanted}{TRACK}; it exports {listed}: build it for the world {kind}-plugin in \
             wit/worlds.wit"
        ));
    }
    let ours = imports.iter().map(String::as_str).filter(|name| name.starts_with(PACKAGE)).chain(own);
    let other: BTreeSet<&str> = ours.filter(|name| !name.ends_with(&format!("@{TRACK}"))).collect();
    if let Some(name) = other.first() {
        let track = name.split_once('@').map_or("none", |(_, track)| track);
        return Some(format!(
            "built for track {track} of the interface ({name}); this relay speaks {TRACK}: {BUILD_AGAINST}"
        ));
    }
    let is_offered = |name: &str| {
        ["host", "session", "types"].iter().any(|own| name == format!("{PACKAGE}{own}@{TRACK}"))
            || WASI.iter().any(|wasi| name.starts_with(wasi))
    };
    let foreign: Vec<&str> = imports.iter().map(String::as_str).filter(|name| !is_offered(name)).collect();
    (!foreign.is_empty()).then(|| {
        format!(
            "imports what no relay offers: {}; a plugin may use `host` and nothing else, so leave out the library that \
             imports that",
            clean(&foreign.join(", "))
        )
    })
}

/// Where the interfaces of a component differ from the relay's. Takes as long as reading the whole component.
pub(crate) fn contract_problem(wasm: &[u8]) -> Option<String> {
    let Ok(DecodedWasm::Component(theirs, world)) = wit_component::decode(wasm) else {
        return None;
    };
    let ours = interface().ok()?;
    let world = &theirs.worlds[world];
    let interfaces = |items: &mut dyn Iterator<Item = &WorldItem>| -> Vec<InterfaceId> {
        items.filter_map(|item| if let WorldItem::Interface { id, .. } = item { Some(*id) } else { None }).collect()
    };
    let exported = interfaces(&mut world.exports.values());
    let both = interfaces(&mut world.imports.values()).into_iter().map(|id| (id, false));
    both.chain(exported.into_iter().map(|id| (id, true))).find_map(|(id, is_exported)| {
        let name = theirs.id_of(id)?;
        let (own, _) = ours.interfaces.iter().find(|(own, _)| ours.id_of(*own).as_ref() == Some(&name))?;
        let mut comparison = Comparison { theirs: &theirs, ours: &ours, seen: BTreeSet::new() };
        let difference = comparison.interfaces(id, own, is_exported)?;
        Some(clean(&format!(
            "does not fit this relay: in its {name}, {difference}; this relay's {name} is as published: {BUILD_AGAINST}"
        )))
    })
}

fn interface() -> Result<Resolve, String> {
    let mut map = SourceMap::new();
    for (name, text) in INTERFACE {
        map.push_str(name, text);
    }
    let group = map.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    resolve.push_group(group).map_err(|error| error.to_string())?;
    Ok(resolve)
}

/// A component's interfaces held against the relay's. Every answer is the first difference, in words.
struct Comparison<'a> {
    theirs: &'a Resolve,
    ours: &'a Resolve,
    /// Compared already: most types are used in many places.
    seen: BTreeSet<(usize, usize)>,
}

impl Comparison<'_> {
    fn interfaces(&mut self, theirs: InterfaceId, ours: InterfaceId, is_exported: bool) -> Option<String> {
        let (theirs, ours) = (&self.theirs.interfaces[theirs], &self.ours.interfaces[ours]);
        let missing = |wanted: &wit_parser::Interface, there: &wit_parser::Interface| {
            wanted.functions.keys().find(|name| !there.functions.contains_key(*name)).cloned()
        };
        if is_exported && let Some(name) = missing(ours, theirs) {
            return Some(format!("the function `{name}` is missing"));
        }
        if !is_exported && let Some(name) = missing(theirs, ours) {
            return Some(format!("there is a function `{name}` that the relay does not have"));
        }
        theirs.functions.iter().find_map(|(name, function)| self.functions(name, function, ours.functions.get(name)?))
    }

    fn functions(&mut self, name: &str, theirs: &Function, ours: &Function) -> Option<String> {
        let names = |function: &Function| function.params.iter().map(|param| param.name.clone()).collect::<Vec<_>>();
        if names(theirs) != names(ours) {
            return Some(counted(&format!("function `{name}`"), "parameters", &names(theirs), &names(ours)));
        }
        let params = theirs.params.iter().zip(&ours.params);
        let param = params.into_iter().find_map(|(theirs, ours)| {
            self.types(&format!("parameter `{}` of function `{name}`", theirs.name), theirs.ty, ours.ty)
        });
        param.or_else(|| self.optional(&format!("the answer of function `{name}`"), theirs.result, ours.result))
    }

    fn optional(&mut self, at: &str, theirs: Option<Type>, ours: Option<Type>) -> Option<String> {
        match (theirs, ours) {
            (Some(theirs), Some(ours)) => self.types(at, theirs, ours),
            (None, None) => None,
            (Some(_), None) => Some(format!("{at} has a value, and the relay's has none")),
            (None, Some(_)) => Some(format!("{at} has no value, and the relay's has one")),
        }
    }

    fn types(&mut self, at: &str, theirs: Type, ours: Type) -> Option<String> {
        match (unaliased(self.theirs, theirs), unaliased(self.ours, ours)) {
            (Type::Id(theirs), Type::Id(ours)) => {
                self.seen.insert((theirs.index(), ours.index())).then(|| self.defined(at, theirs, ours)).flatten()
            }
            (theirs, ours) if theirs == ours => None,
            (theirs, ours) => {
                let (theirs, ours) = (called(self.theirs, theirs), called(self.ours, ours));
                Some(format!("{at} is {theirs}, and the relay's is {ours}"))
            }
        }
    }

    fn defined(&mut self, at: &str, theirs: TypeId, ours: TypeId) -> Option<String> {
        let (theirs, ours) = (&self.theirs.types[theirs], &self.ours.types[ours]);
        let named = theirs.name.as_ref().map(|name| format!("{} `{name}`", theirs.kind.as_str()));
        if theirs.kind.as_str() != ours.kind.as_str() {
            let theirs = named.unwrap_or_else(|| theirs.kind.as_str().to_owned());
            return Some(format!("{at} is a {theirs}, and the relay's is a {}", ours.kind.as_str()));
        }
        let at = named.unwrap_or_else(|| at.to_owned());
        let parts = |kind: &TypeDefKind| -> Vec<(String, Option<Type>)> {
            match kind {
                TypeDefKind::Record(it) => it.fields.iter().map(|part| (part.name.clone(), Some(part.ty))).collect(),
                TypeDefKind::Variant(it) => it.cases.iter().map(|part| (part.name.clone(), part.ty)).collect(),
                TypeDefKind::Enum(it) => it.cases.iter().map(|part| (part.name.clone(), None)).collect(),
                TypeDefKind::Flags(it) => it.flags.iter().map(|part| (part.name.clone(), None)).collect(),
                TypeDefKind::Tuple(it) => {
                    it.types.iter().enumerate().map(|(index, ty)| (index.to_string(), Some(*ty))).collect()
                }
                TypeDefKind::Option(ty) | TypeDefKind::List(ty) => vec![(String::new(), Some(*ty))],
                TypeDefKind::Result(it) => vec![("ok".to_owned(), it.ok), ("err".to_owned(), it.err)],
                _ => Vec::new(),
            }
        };
        let what = if matches!(theirs.kind, TypeDefKind::Record(_)) { "fields" } else { "cases" };
        let (theirs, ours) = (parts(&theirs.kind), parts(&ours.kind));
        let names = |parts: &[(String, Option<Type>)]| parts.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if names(&theirs) != names(&ours) {
            return Some(counted(&at, what, &names(&theirs), &names(&ours)));
        }
        theirs.into_iter().zip(ours).find_map(|((name, theirs), (_, ours))| {
            let at = if name.is_empty() { at.clone() } else { format!("`{name}` of {at}") };
            self.optional(&at, theirs, ours)
        })
    }
}

/// Two lists of names that differ.
fn counted(at: &str, what: &str, theirs: &[String], ours: &[String]) -> String {
    let listed = |names: &[String]| format!("{} ({})", names.len(), names.join(", "));
    format!("{at} has {what} {}, and the relay's has {}", listed(theirs), listed(ours))
}

fn unaliased(resolve: &Resolve, ty: Type) -> Type {
    match ty {
        Type::Id(id) => match resolve.types[id].kind {
            TypeDefKind::Type(of) => unaliased(resolve, of),
            _ => ty,
        },
        plain => plain,
    }
}

fn called(resolve: &Resolve, ty: Type) -> String {
    match ty {
        Type::Id(id) => {
            let definition = &resolve.types[id];
            definition.name.clone().unwrap_or_else(|| definition.kind.as_str().to_owned())
        }
        plain => format!("{plain:?}").to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_called_by_its_name() {
        for (bytes, word) in [
            (&b""[..], "is empty"),
            (b"\0asm\x01\0\0\0", "a core module"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
            (b"\n <!DOCTYPE html><html>", "a web page"),
            (b"\x1f\x8b\x08", "an archive"),
            (b"(module)", "WebAssembly as text"),
            (b"garbage", "not WebAssembly at all"),
            (b"  ", "not WebAssembly at all"),
        ] {
            let said = not_a_component(bytes).expect("none of these is a component");
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(not_a_component(b"\0asm\x0d\0\x01\0"), None);
    }

    #[test]
    fn the_relays_own_interface_can_be_read() {
        let ours = interface().expect("it is valid");
        assert_eq!(ours.interfaces.len(), 7);
    }
}
