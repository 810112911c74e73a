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
# An earlier agent may have put a link where a folder is expected: nothing is done behind one.
within() {{
    [ \"$(pwd -P)\" = \"$1\" ] || {{
        echo \"worktree: $1 leads to $(pwd -P); look who put a link there, and remove it\" >&2
        exit 1
    }}
}}
here=$(pwd -P)
trees=\"$here\"/{folder}
branch={branch}
below=$(git rev-parse --show-prefix)
below=${{below%/}}
mkdir -p \"$trees\"
cd -P \"$trees\"
within \"$trees\"
if [ ! -e ./{name}/.git ]; then
    # What lies below the folder is not part of the repository. The file is made anew, never written through a link.
    rm -f .gitignore
    (set -C && printf '*\\n' > .gitignore)
    # No hook of the repository runs.
    if git show-ref --quiet --verify \"refs/heads/$branch\"; then
        git -c core.hooksPath=/dev/null worktree add --quiet --force ./{name} \"$branch\"
    else
        git -c core.hooksPath=/dev/null worktree add --quiet -b \"$branch\" ./{name} HEAD
    fi
fi
cd -P ./{name}/\"$below\"
within \"$trees\"/{name}\"${{below:+/$below}}\"
exec {command}
",
        folder = quoted(folder),
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
