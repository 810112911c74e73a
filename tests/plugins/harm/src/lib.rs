//! What a guest can do to its host, on request. The guests that use this are fixtures of the
//! relay's tests, which show that none of it reaches beyond the one call.

use std::hint::black_box;

/// Does what `wish` says, if it is one of `loop`, `trap`, `hog` and `recurse`. None of these
/// comes back.
pub fn harm(wish: &str) {
    match wish {
        "loop" => spin(),
        "trap" => panic!("as requested"),
        "hog" => hog(),
        "recurse" => {
            black_box(recurse(0));
        }
        _ => {}
    }
}

/// The value of a string in a flat JSON object. Good enough for the settings that tests write.
pub fn setting(settings: &str, key: &str) -> Option<String> {
    let (_, rest) = settings.split_once(&format!("\"{key}\":\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Lines to flood a log with: many, long, and with what would forge further lines.
pub fn flood() -> impl Iterator<Item = String> {
    (0..10_000).map(|number| format!("flood {number}\n\x1b[31m{}", "x".repeat(4096)))
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn hog() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(vec![1; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "that it never ends is what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[0]
}
