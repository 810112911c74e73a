//! Media types: what a body says that it is.

/// The type that a `Content-Type` names, without its parameters, unless it says that the text is not UTF-8.
pub fn in_utf8(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8")).then_some(essence)
}

/// Whether this is JSON in UTF-8, which is the only encoding of JSON between systems (RFC 8259, section 8.1).
pub fn is_json(content_type: &str) -> bool {
    in_utf8(content_type).is_some_and(|essence| {
        essence.eq_ignore_ascii_case("application/json")
            || essence.get(essence.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case("+json"))
    })
}

/// Whether this is what a form of a web page is sent as.
pub fn is_form(content_type: &str) -> bool {
    in_utf8(content_type).is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_by_their_essence_and_text_is_utf_8() {
        for json in ["application/json", "Application/JSON; charset=\"UTF-8\"", "application/cloudevents+json;v=1"] {
            assert!(is_json(json) && !is_form(json), "{json}");
        }
        for form in ["application/x-www-form-urlencoded", "application/X-WWW-form-urlencoded ; charset=utf-8"] {
            assert!(is_form(form) && !is_json(form), "{form}");
        }
        for other in ["", "text/plain", "application/json; charset=latin1", "json", "é+json x", "multipart/form-data"]
        {
            assert!(!is_json(other) && !is_form(other), "{other}");
        }
    }
}
