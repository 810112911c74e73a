//! Which verdicts are accepted.

use super::*;

#[test]
fn malformed_verdicts_are_not_accepted() {
    let deny = |code: &str| Verdict::Deny { code: code.into(), reason: "no\nway".into() };
    for code in ["", "Not Snake", "é", &"x".repeat(CODE_BYTES_MAX + 1)] {
        assert!(accept(deny(code)).is_err(), "{code}");
    }
    assert_eq!(accept(deny("too_many")), Ok(Verdict::Deny { code: "too_many".into(), reason: "noway".into() }));
    for path in ["relative", "", "/a\0b", "/a\n", &format!("/{}", "x".repeat(PATH_BYTES_MAX))] {
        let amend = Verdict::Amend { cwd: Some(path.into()), approval_mode: None, reason: String::new() };
        assert!(accept(amend).is_err(), "{path:?}");
    }
}
