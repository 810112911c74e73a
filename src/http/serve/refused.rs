//! What is refused before there is a request: a head that is none, too long, or too slow.

use axum::http::HeaderMap;

use super::head;
use crate::http::edge::request_id;
use crate::http::error::{ApiError, HEAD_TOO_LARGE, HEAD_TOO_SLOW, MALFORMED_HEAD, URI_TOO_LONG};

/// The largest head of a request, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 32 << 10;
/// The most headers of a request.
pub(crate) const HEADERS_MAX: usize = 100;

/// The answer in place of hyper's own, which has no body.
pub(super) fn of_hyper(said: &[u8]) -> Option<Vec<u8>> {
    let error = match said.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
        b"400" => ApiError::new(&MALFORMED_HEAD, "the request line or a header is not HTTP/1.1"),
        b"414" => ApiError::new(&URI_TOO_LONG, "the target of the request is too long"),
        b"431" => {
            let most = format!("the head has more than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers");
            ApiError::new(&HEAD_TOO_LARGE, most)
        }
        _ => return None,
    };
    Some(written(error))
}

/// The answer to what hyper has no answer for, such as the first words of HTTP/2.
pub(super) fn malformed() -> Vec<u8> {
    written(ApiError::new(&MALFORMED_HEAD, "what was sent is not HTTP/1.1"))
}

/// The answer to a head that did not come in time.
pub(super) fn too_slow(within: std::time::Duration) -> Vec<u8> {
    written(ApiError::new(&HEAD_TOO_SLOW, format!("the head was not there within {} s", within.as_secs_f64())))
}

/// An error as it goes over the wire. The connection ends after it.
fn written(error: ApiError) -> Vec<u8> {
    let (status, headers, body) = error.parts(&request_id(&HeaderMap::new()));
    let mut bytes = head(status, &headers, Some(body.len()));
    bytes.extend_from_slice(body.as_bytes());
    bytes
}
