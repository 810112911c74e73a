//! Signatures made by others than this module, and bytes that are nearly one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use standardwebhooks::Webhook;

use super::*;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: i64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_ms(NOW * 1_000 + 999)
}

/// The headers that the official library has a body sent with.
fn signed(secret: &str, id: &str, at: i64, body: &str) -> BTreeMap<&'static str, String> {
    let signature = Webhook::new(secret).unwrap().sign(id, at, body.as_bytes()).unwrap();
    [("webhook-id", id.to_owned()), ("webhook-timestamp", at.to_string()), ("webhook-signature", signature)].into()
}

fn verify(scheme: &Scheme, headers: &BTreeMap<&'static str, String>, body: &[u8]) -> bool {
    scheme.verify(|name| headers.get(name).map(String::as_str), body, now())
}

fn standard(secrets: &[&str]) -> Scheme {
    Scheme::standard_webhooks(secrets).unwrap()
}

fn form(header: &str, algorithm: Algorithm, encoding: Encoding, prefix: &str) -> Form {
    Form { header: header.to_owned(), algorithm, encoding, prefix: prefix.to_owned() }
}

#[test]
fn what_the_official_library_signs_is_taken_and_nothing_else() {
    let (scheme, body) = (standard(&[SECRET]), r#"{"type": "t"}"#);
    let good = signed(SECRET, "msg_1", NOW, body);
    assert!(verify(&scheme, &good, body.as_bytes()));
    assert!(!verify(&scheme, &good, br#"{"type": "u"}"#), "a byte of the body");
    assert!(!verify(&scheme, &signed(OTHER, "msg_1", NOW, body), body.as_bytes()), "another secret");
    for (name, value) in [
        ("webhook-id", "msg_2"),
        ("webhook-id", ""),
        ("webhook-timestamp", "1700000001"),
        ("webhook-timestamp", "+1700000000"),
        ("webhook-timestamp", "1700000000.0"),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", "99999999999999999999"),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,AAAA"),
    ] {
        let mut changed = good.clone();
        changed.insert(name, value.to_owned());
        assert!(!verify(&scheme, &changed, body.as_bytes()), "{name}: {value}");
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut without = good.clone();
        without.remove(name);
        assert!(!verify(&scheme, &without, body.as_bytes()), "without {name}");
    }
    let other_version = good["webhook-signature"].replace("v1,", "v2,");
    let mut changed = good;
    changed.insert("webhook-signature", other_version);
    assert!(!verify(&scheme, &changed, body.as_bytes()), "another version");
}

#[test]
fn a_time_may_be_five_minutes_off_either_way() {
    let scheme = standard(&[SECRET]);
    for (off, good) in [(0, true), (300, true), (-300, true), (301, false), (-301, false), (-86_400, false)] {
        assert_eq!(verify(&scheme, &signed(SECRET, "m", NOW + off, "{}"), b"{}"), good, "{off}");
    }
}

#[test]
fn one_good_signature_of_several_under_one_of_several_secrets_is_enough() {
    let (mut headers, other) = (signed(SECRET, "m", NOW, "{}"), signed(OTHER, "m", NOW, "{}"));
    let (own, other) = (headers["webhook-signature"].clone(), other["webhook-signature"].clone());
    headers.insert("webhook-signature", format!("v1a,AAAA {other} v1,!! {own}"));
    assert!(verify(&standard(&[SECRET]), &headers, b"{}"));
    assert!(verify(&standard(&[OTHER]), &headers, b"{}"));
    headers.insert("webhook-signature", other);
    assert!(!verify(&standard(&[SECRET]), &headers, b"{}"));
    assert!(verify(&standard(&[SECRET, OTHER]), &headers, b"{}"), "while a secret is replaced");
    headers.insert("webhook-signature", format!("{}{own}", "v1,AAAA ".repeat(SIGNATURES_MAX)));
    assert!(!verify(&standard(&[SECRET]), &headers, b"{}"), "no more are looked at");
}

/// The vector of GitHub's documentation.
#[test]
fn githubs_own_example_is_taken() {
    let scheme = Scheme::github(&["no", "It's a Secret to Everybody"]).unwrap();
    let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let sent = |value: String| BTreeMap::from([("x-hub-signature-256", value)]);
    assert!(verify(&scheme, &sent(format!("sha256={digits}")), b"Hello, World!"));
    assert!(verify(&scheme, &sent(format!("sha256={}", digits.to_uppercase())), b"Hello, World!"));
    assert!(!verify(&scheme, &sent(format!("sha256={digits}")), b"Hello, World?"));
    for wrong in [
        digits.to_owned(),
        format!("SHA256={digits}"),
        format!("sha256={}", &digits[2..]),
        format!("sha256={digits}00"),
        format!("sha256={}", &digits[1..]),
        format!("sha256= {digits}"),
        "sha256=".to_owned(),
        String::new(),
    ] {
        assert!(!verify(&scheme, &sent(wrong.clone()), b"Hello, World!"), "{wrong}");
    }
    assert!(!verify(&scheme, &BTreeMap::new(), b"Hello, World!"));
}

/// Made with `openssl dgst -sha512 -hmac key -binary | base64` and the like.
#[test]
fn a_body_is_signed_as_the_form_says() {
    let body = b"Hello, World!";
    let sha512 = "e3NawZDr0UMtVvla4q6loEojEo9MIo4pm3pJ+3Vh3ozI9P30SG3HQ9/QeCfWFyc6q0Kzv4GdJD3tMi+sFnQZ8Q==";
    let sha256 = "f0JOLQ/2vV3sYm4BAnVbr+yRw1EPGXOaTq7I87w6AaQ=";
    for (algorithm, encoding, prefix, value) in [
        (Algorithm::Sha256, Encoding::Base64, "", sha256.to_owned()),
        (Algorithm::Sha256, Encoding::Base64, "", sha256.trim_end_matches('=').to_owned()),
        (Algorithm::Sha512, Encoding::Base64, "s=", format!("s={sha512}")),
        (Algorithm::Sha256, Encoding::Hex, "v0=", format!("v0={}", to_hex(sha256))),
        (Algorithm::Sha512, Encoding::Hex, "", to_hex(sha512)),
    ] {
        let scheme = Scheme::hmac(form("x-sig", algorithm, encoding, prefix), &["key"]).unwrap();
        let sent = BTreeMap::from([("x-sig", value)]);
        assert!(verify(&scheme, &sent, body), "{algorithm} {encoding}");
        assert!(!verify(&scheme, &sent, b"Hello, World"), "{algorithm} {encoding}");
        let other = Scheme::hmac(form("x-sig", algorithm, encoding, prefix), &["kez"]).unwrap();
        assert!(!verify(&other, &sent, body), "{algorithm} {encoding}");
    }
}

fn to_hex(base64: &str) -> String {
    crate::domain::text::hex::hex(&STANDARD.decode(base64).unwrap())
}

#[test]
fn secrets_are_what_they_must_be_and_are_not_printed() {
    for wrong in ["C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_", "whsec_AAAA", "whsec_!", ""] {
        let problem = Scheme::standard_webhooks(&[wrong]).unwrap_err();
        assert!(problem.contains("whsec_") && (wrong.len() < 8 || !problem.contains(wrong)), "{problem}");
    }
    assert!(Scheme::github(&[]).is_err() && Scheme::github(&[" "]).is_err() && Scheme::github(&["s"; 9]).is_err());
    let shown = format!("{:?}", Scheme::github(&["a-secret"]).unwrap());
    assert!(shown.contains("Github") && !shown.contains("a-secret"), "{shown}");
}

/// Text that is nearly a signature: pieces of good ones and of nothing, put together anew.
fn nearly_signed() -> impl Strategy<Value = String> {
    let good = signed(OTHER, "m", NOW, "{}")["webhook-signature"].clone();
    let pieces = prop::sample::select(vec![
        "v1,".to_owned(),
        "v1a,".to_owned(),
        " ".to_owned(),
        "sha256=".to_owned(),
        "=".to_owned(),
        ",".to_owned(),
        "é".to_owned(),
        "00".to_owned(),
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17".to_owned(),
        good,
    ]);
    prop::collection::vec(prop_oneof![4 => pieces, 1 => "\\PC{0,6}"], 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever stands in the headers: without the secret nothing is proven, and nothing fails.
    #[test]
    fn no_text_proves_anything_without_the_secret(
        signature in nearly_signed(),
        id in "\\PC{0,8}",
        at in prop_oneof![Just(NOW.to_string()), "[-+0-9.e ]{0,21}", "\\PC{0,8}"],
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let headers = BTreeMap::from([
            ("webhook-id", id), ("webhook-timestamp", at),
            ("webhook-signature", signature.clone()), ("x-hub-signature-256", signature.clone()), ("x-sig", signature),
        ]);
        for scheme in [
            standard(&[SECRET]),
            Scheme::github(&["a secret"]).unwrap(),
            Scheme::hmac(form("x-sig", Algorithm::Sha512, Encoding::Base64, ""), &["a secret"]).unwrap(),
            Scheme::hmac(form("x-sig", Algorithm::Sha256, Encoding::Hex, "v1,"), &["a secret"]).unwrap(),
        ] {
            prop_assert!(!verify(&scheme, &headers, &body), "{:?}", scheme);
        }
    }

    /// A signature is for one body under one id at one time.
    #[test]
    fn a_signature_is_good_for_what_was_signed_alone(
        id in "[a-z_.0-9]{1,12}", body in "\\PC{0,40}", other in "\\PC{0,40}", at in NOW - 300..NOW + 300,
    ) {
        let headers = signed(SECRET, &id, at, &body);
        prop_assert!(verify(&standard(&[SECRET]), &headers, body.as_bytes()));
        prop_assert_eq!(verify(&standard(&[SECRET]), &headers, other.as_bytes()), other == body);
        prop_assert!(!verify(&standard(&[OTHER]), &headers, body.as_bytes()));
    }
}
