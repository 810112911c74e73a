//! The README says who is trusted with what: each sentence names its test, or says that it cannot be enforced.

use super::{none, root, sources};

/// Where the page begins.
const HEADING: &str = "## Who is trusted with what";
/// How a sentence without a test begins its second cell.
const UNENFORCED: &str = "**Cannot be enforced.**";

/// The sentences of the page, each with what holds it.
fn sentences() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let page = readme.split_once(HEADING).expect("the page about trust").1;
    let page = page.split_once("\n## ").map_or(page, |(page, _)| page);
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let cells = rows.filter_map(|row| row.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let cells = cells.filter(|(_, held)| *held != "held by");
    cells.map(|(sentence, held)| (sentence.to_owned(), held.to_owned())).collect()
}

/// Whether `module::path::name` is a test of `tests/it`.
fn is_a_test(sources: &[super::Source], path: &str) -> bool {
    let Some((module, name)) = path.rsplit_once("::") else { return false };
    let file = format!("tests/it/{}.rs", module.replace("::", "/"));
    let Some(source) = sources.iter().find(|source| source.path.to_str() == Some(&file)) else { return false };
    let Some((before, _)) = source.text.split_once(&format!("fn {name}(")) else { return false };
    // Its attribute stands above it, after whatever came before.
    before.rsplit("\n\n").next().is_some_and(|item| item.contains("#[test]") || item.contains("#[tokio::test"))
}

#[test]
fn every_sentence_about_trust_has_a_test_or_says_that_it_cannot_be_enforced() {
    let (sources, sentences) = (sources(), sentences());
    assert!(sentences.len() > 25, "only {} sentences were found, so this no longer reads them", sentences.len());
    let mut findings = Vec::new();
    for (sentence, held) in &sentences {
        if let Some(reason) = held.strip_prefix(UNENFORCED) {
            if reason.trim().is_empty() {
                findings.push(format!("{sentence}: says neither why nor what to do"));
            }
            continue;
        }
        let tests: Vec<_> = held.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            findings.push(format!("{sentence}: names no test"));
        }
        let missing = tests.into_iter().filter(|test| !is_a_test(&sources, test));
        findings.extend(missing.map(|test| format!("{sentence}: there is no test {test}")));
    }
    none("sentences about trust that nothing holds", &findings);
}

/// Guests whose language drags WASI in get an empty one: nothing that would fill it is called anywhere.
#[test]
fn no_plugin_is_given_anything_of_the_host() {
    let opening =
        ["inherit_", "preopened_dir", "allow_ip_name_lookup(true", "allow_tcp(true", "allow_udp(true", ".envs("];
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/plugins/runtime")) {
        for (number, line) in source.code_lines() {
            if let Some(call) = opening.iter().find(|call| line.contains(**call)) {
                findings.push(format!("{}:{number}: {call}", source.path.display()));
            }
        }
    }
    none("what plugins are given of the host", &findings);
    let builds = sources().iter().filter(|source| source.path.starts_with("src")).fold(0, |count, source| {
        count + source.code_lines().filter(|(_, line)| line.contains("WasiCtx::builder()")).count()
    });
    assert_eq!(builds, 1, "it is built in one place");
}
