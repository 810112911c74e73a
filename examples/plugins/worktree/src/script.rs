//! The script that makes the worktree and becomes the agent's program.

/// The most characters of an agent's id that are kept in the name of its worktree.
const ID_SHOWN_MAX: usize = 48;

/// A script for `/bin/sh`, to be run in the approved directory. Whatever came from elsewhere stands
/// in it in single quotes.
pub(crate) fn start(folder: &str, agent_id: &str, command: &[String]) -> String {
    let name = name_for(agent_id);
    let command: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!(
        "#!/bin/sh
# Makes the agent a worktree and a branch of its own; after a restart it finds them again.
set -eu
tree=\"$PWD\"/{tree}
branch={branch}
below=$(git rev-parse --show-prefix)
if [ ! -e \"$tree/.git\" ]; then
    # No hook of the repository runs, and what lies below the folder is not part of the repository.
    mkdir -p {folder}
    printf '*\\n' > {folder}/.gitignore
    if git show-ref --quiet --verify \"refs/heads/$branch\"; then
        git -c core.hooksPath=/dev/null worktree add --quiet --force \"$tree\" \"$branch\"
    else
        git -c core.hooksPath=/dev/null worktree add --quiet -b \"$branch\" \"$tree\" HEAD
    fi
fi
cd \"$tree/$below\"
exec {command}
",
        folder = quoted(folder),
        tree = quoted(&format!("{folder}/{name}")),
        branch = quoted(&format!("agent/{name}")),
        command = command.join(" "),
    )
}

/// One word for a shell, whatever it holds.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A name that is good for a folder and a branch, and no other agent's: what had to be changed in
/// the id is made up for by a checksum of the whole.
fn name_for(agent_id: &str) -> String {
    let kept = |character: char| match character {
        'a'..='z' | '0'..='9' => character,
        _ => '-',
    };
    let shown: String = agent_id.chars().take(ID_SHOWN_MAX).map(kept).collect();
    let shown = shown.trim_start_matches('-');
    if shown == agent_id && !shown.is_empty() {
        return shown.to_owned();
    }
    format!("{shown}-{:016x}", checksum(agent_id)).trim_start_matches('-').to_owned()
}

/// FNV-1a, of 64 bits.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
