//! Responses that are no event streams: bodies of bounded size, and the text of a refusal.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use reqwest::Response;
use tokio::time::timeout;

use super::failure::{FailureKind, HttpFailure, innermost};
use crate::challenge::AuthChallenge;

pub(super) const JSON: &str = "application/json";
pub(super) const EVENTS: &str = "text/event-stream";

/// Bytes of a body that is no message, of which the first words are quoted.
pub(super) const QUOTED_BODY: usize = 8 * 1024;

pub(super) enum MediaType {
    Json,
    Events,
    Other(String),
}

pub(super) fn media_type(headers: &HeaderMap) -> MediaType {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return MediaType::Other("none".into());
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) {
        MediaType::Json
    } else if essence.eq_ignore_ascii_case(EVENTS) {
        MediaType::Events
    } else {
        MediaType::Other(essence.to_owned())
    }
}

pub(super) fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    value.to_str().ok().map(str::to_owned)
}

/// A body of at most so many bytes, counted after it is decompressed.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, HttpFailure> {
    let too_large = || {
        HttpFailure::no_reply(format!(
            "the reply has more than {limit} bytes (max_message_size)"
        ))
    };
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                let (read, cause) = (body.len(), innermost(&error));
                let message = format!("the reply broke off after {read} bytes: {cause}");
                return Err(HttpFailure::no_reply(message));
            }
        }
    }
}

/// A body that should have been a message.
pub(super) fn not_mcp(body: &[u8]) -> HttpFailure {
    let message = match words_in(body, false).as_str() {
        "" => "the reply is empty".to_owned(),
        words => format!("the reply is no message of JSON-RPC: {words}"),
    };
    HttpFailure::new(FailureKind::NotMcp, message)
}

/// What a status means, with the first words of the body.
pub(super) async fn refusal(mut response: Response) -> HttpFailure {
    const WITHIN: Duration = Duration::from_secs(2);
    let is_json = matches!(media_type(response.headers()), MediaType::Json);
    let is_page =
        matches!(media_type(response.headers()), MediaType::Other(found) if found.contains("html"));
    let failure = failure_of(&response);
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= QUOTED_BODY {
                break;
            }
        }
    };
    let _ = timeout(WITHIN, read).await;
    body.truncate(QUOTED_BODY);
    match is_page {
        true => failure(""),
        false => failure(&words_in(&body, is_json)),
    }
}

pub(super) fn failure_of(response: &Response) -> impl Fn(&str) -> HttpFailure + use<> {
    let (status, headers) = (response.status(), response.headers());
    let challenges: Vec<_> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let challenge = AuthChallenge::parse(&challenges.join(", "));
    let retry_after = text_of(headers, &RETRY_AFTER);
    let retry_after = retry_after.and_then(|seconds| seconds.trim().parse().ok());
    let retry_after = retry_after.map(Duration::from_secs);
    let reason = status.canonical_reason().unwrap_or_default();
    move |words| {
        let words = match (words, status.as_u16()) {
            // The name of the status says nothing beyond its meaning.
            ("", 401 | 403 | 404) => "",
            ("", _) => reason,
            (words, _) => words,
        };
        HttpFailure::of_status(status.as_u16(), words)
            .with_challenge(challenge.clone())
            .with_retry_after(retry_after)
    }
}

/// What a body says to a person. It is cleaned where it becomes part of a failure.
pub(super) fn words_in(body: &[u8], is_json: bool) -> String {
    // A long body is not parsed for a few words: it may take far more memory than its bytes.
    let body = &body[..body.len().min(QUOTED_BODY)];
    let text = String::from_utf8_lossy(body);
    if is_json && let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        const PLACES: [&str; 7] = [
            "/error/message",
            "/error_description",
            "/message",
            "/detail",
            "/error",
            "/title",
            "/reason",
        ];
        let mut found = PLACES
            .iter()
            .filter_map(|place| json.pointer(place)?.as_str());
        if let Some(words) = found.find(|words| !words.trim().is_empty()) {
            return words.to_owned();
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_refusal_are_found_where_people_put_them() {
        for (body, words) in [
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}"#,
                "no",
            ),
            (
                r#"{"error":"slow_down","error_description":"Too fast"}"#,
                "Too fast",
            ),
            (r#"{"detail":"Not here"}"#, "Not here"),
            (r#"{"error":"quota"}"#, "quota"),
            ("[1]", "[1]"),
        ] {
            assert_eq!(words_in(body.as_bytes(), true), words);
        }
        assert_eq!(words_in(b" plain\n", false), "plain");
    }

    #[test]
    fn a_long_body_is_quoted_and_not_parsed() {
        let long = format!(
            r#"{{"message":"no","data":[{}0]}}"#,
            "0,".repeat(QUOTED_BODY)
        );
        let words = words_in(long.as_bytes(), true);
        assert_eq!(words, long[..QUOTED_BODY]);
    }
}
