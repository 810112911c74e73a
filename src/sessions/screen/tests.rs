//! Screens of real programs, and of others like them.

use super::*;

/// A screen with its cursor where the text has a `▮`, or at its end.
fn screen(text: &str) -> Screen {
    let rows: Vec<&str> = text.lines().collect();
    let at = rows.iter().enumerate().find_map(|(row, line)| {
        let cells = line.split_once('▮')?.0.chars().map(|letter| letter.width().unwrap_or(0)).sum();
        Some((cells, row))
    });
    Screen::new(&text.replace('▮', ""), Some(at.unwrap_or((0, rows.len()))))
}

fn seen(text: &str) -> Seen {
    screen(text).read(&[])
}

const INPUT: Seen = Seen::Input(Evidence::Looks);

/// As Claude Code 2.1.197 and Codex 0.169.0 show them, with the rows above left out.
const CLAUDE_IDLE: &str = "\
╰──────────────────────────────╯

────────────────────────────────
❯ ▮
────────────────────────────────
  ⏵⏵ accept edits on (shift+tab to cycle) · ← for agents";
const CLAUDE_TRUST: &str = "\
 Quick safety check: Is this a project you created or one you trust?

 Security guide

▮ ❯ 1. Yes, I trust this folder
   2. No, exit

 Enter to confirm · Esc to cancel";
const CODEX_IDLE: &str = "\
› ▮Ask Codex to do anything

  scripted default · /code/project
  ← for agents · ? for shortcuts                ⚠ 1 warning · f2 to view";
const CODEX_TRUST: &str = "\
  Trust this folder? Codex can read, edit, and run files here.

▮› 1. Trust and continue
  2. Back to Agent Command Center

  enter continue · esc back";

#[test]
fn the_programs_with_a_provider_are_read() {
    let (claude, codex) = ("(shift+tab to cycle)".to_owned(), "Ask Codex to do anything".to_owned());
    for (text, known) in [(CLAUDE_IDLE, &claude), (CODEX_IDLE, &codex)] {
        assert_eq!(screen(text).read(std::slice::from_ref(known)), Seen::Input(Evidence::Known), "{text}");
        assert_eq!(seen(text), INPUT, "{text}");
    }
    for (text, known) in [(CLAUDE_TRUST, &claude), (CODEX_TRUST, &codex)] {
        assert_eq!(screen(text).read(std::slice::from_ref(known)), Seen::Dialog, "{text}");
        // What was there before the dialog says nothing about now.
        let later = format!("{known}\n{text}");
        assert_eq!(screen(&later).read(std::slice::from_ref(known)), Seen::Dialog, "{later}");
    }
}

#[test]
fn dialogs_are_known_by_what_they_ask() {
    for text in [
        "Do you trust this folder?\n> 1. Yes\n  2. No\n",
        "Do you want to create notes.txt?\n❯ 1. Yes\n  2. Yes, allow all edits (shift+tab)\n  3. No (esc)\n",
        "│ Apply this change?           │\n│ ● 1. Yes, once               │\n│   2. No                      │\n╰──╯",
        "? Do you accept the terms\n❯ Yes, proceed\n  No, exit\n",
        "Overwrite config? [y/N]▮",
        "Overwrite config? (yes/no): ▮",
        "Password for git: ▮",
        "Login successful. Press Enter to continue…",
        "Choose a theme\n> dark\n  light\n(use arrow keys)",
        "  1) dark\n▶ 2) light\n  3) none",
    ] {
        assert_eq!(seen(text), Seen::Dialog, "{text}");
    }
}

#[test]
fn an_answered_dialog_is_none() {
    for (text, expected) in [
        ("Do you trust this folder?\n> 1. Yes\n  2. No\n\n> \n(shift+tab to cycle)\n", INPUT),
        ("Do you trust this folder?\n> 1. Yes\n  2. No\n\n> \n\n", INPUT),
        ("Overwrite config? [y/N] y\nworking", Seen::Unknown),
        ("> 1. Yes\n  2. No\na\nb\nc\nd\ne\nf\ng", Seen::Unknown),
    ] {
        assert_eq!(seen(text), expected, "{text}");
    }
}

#[test]
fn inputs_are_known_by_a_pointer_at_the_cursor_or_below_all_else() {
    for text in [
        "hello\n> ▮",
        "│ > ▮Type your message │\n╰──╯",
        "sqlite> ▮",
        ">>> ▮",
        "me@host:~/code$ ▮",
        "\n> \n(shift+tab to cycle)\n",
    ] {
        assert_eq!(seen(text), INPUT, "{text}");
    }
    for text in [
        "",
        "starting",
        "> quoted from somewhere",
        "a list\n1. one\n2. two\n",
        "loading 45%▮",
        "Paste the code here if prompted > ▮",
        "> \na\nb\nc\n",
    ] {
        assert_eq!(seen(text), Seen::Unknown, "{text}");
    }
    assert_eq!(Screen::new("> ", None).read(&[]), Seen::Unknown, "nobody types into a log");
    assert_eq!(Screen::new("all is up", None).read(&["is up".to_owned()]), Seen::Input(Evidence::Known));
}

#[test]
fn a_text_is_seen_where_the_cursor_is() {
    let text = "1. the second prompt\n2. Yes | `id`\n3. No \"ž\" end 漢字";
    let typed = screen("❯ 1. the second prompt\n  2. Yes | `id`\n  3. No \"ž\" end 漢字▮ ghost\n──\n  hint");
    assert!(typed.has_at_cursor(text));
    assert_eq!(typed.read(&[]), Seen::Dialog, "its lines look like choices");
    assert_eq!(typed.without(text).text(), "❯\n\n\n──\n  hint");
    assert_ne!(typed.without(text).read(&[]), Seen::Dialog, "and are none");
    for text in ["❯ [Pasted text #1 +40 lines]▮\n──", "› [Pasted Content 1683 chars]▮"] {
        assert!(screen(text).has_at_cursor("whatever"), "{text}");
    }
    for other in ["❯ the second prompt▮", "3. No \"ž\" end 漢字\n❯ ▮", "❯ [a list]▮"] {
        assert!(!screen(other).has_at_cursor(text), "{other}");
    }
    // Wrapped, in a frame, and with a line end that did not send it.
    assert!(screen("│ > a long te │\n│   xt that e │\n│   nds▮      │").has_at_cursor("a long text that ends"));
    assert!(screen("> text\n▮").has_at_cursor("text"));
    assert_eq!(screen("text\ngot text\n").count("text"), 2);
}

#[test]
fn another_text_stays_when_one_is_left_out() {
    let other = screen("Do you trust it?\n❯ 1. Yes\n  2. No▮");
    assert_eq!(other.without("something else"), other);
    assert_eq!(other.without("something else, 2. No").read(&[]), Seen::Unknown, "only what does not match is left");
}

proptest::proptest! {
    /// Whatever a program shows, reading it ends, and what is typed is found again.
    #[test]
    fn any_screen_can_be_read(text in "(?s).{0,200}", column in 0_usize..250, row in 0_usize..60, typed in "[a-z \n]{1,40}") {
        let any = Screen::new(&text, Some((column, row)));
        _ = (any.read(std::slice::from_ref(&typed)), any.has_at_cursor(&typed), any.without(&typed), any.at_cursor());
        proptest::prop_assert_eq!(Screen::new(&text, None).without(&typed), Screen::new(&text, None));
    }
}
