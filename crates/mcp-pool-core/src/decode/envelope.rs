//! The outermost object of a message, read without the values in it.
//!
//! It is found in text that no JSON parser takes: with `NaN`, numbers out of range, deep nesting, or its end missing.

use rmcp::model::{RequestId, ServerJsonRpcMessage};

/// The fields of JSON-RPC, each as the bytes of its value. Of a field that comes twice the last counts.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) jsonrpc: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    /// `null` beside an error is none.
    pub(super) result: Option<&'a [u8]>,
    /// `null` is none.
    pub(super) error: Option<&'a [u8]>,
    has_others: bool,
    /// The object has its end, and nothing follows.
    pub(super) is_whole: bool,
}

impl<'a> Envelope<'a> {
    /// The envelope of `bytes`, as far as it goes. `None` if they do not begin an object.
    pub(super) fn scan(bytes: &'a [u8]) -> Option<Self> {
        let mut envelope = Self::default();
        let mut at = after_space(bytes, 0);
        (bytes.get(at) == Some(&b'{')).then_some(())?;
        loop {
            at = after_space(bytes, at + 1);
            if bytes.get(at) == Some(&b'}') {
                envelope.is_whole = after_space(bytes, at + 1) == bytes.len();
                break;
            }
            let Some(colon) = after_string(bytes, at).map(|end| (end, after_space(bytes, end)))
            else {
                break;
            };
            let (key, colon) = (&bytes[at..colon.0], colon.1);
            if bytes.get(colon) != Some(&b':') {
                break;
            }
            let start = after_space(bytes, colon + 1);
            let end = after_value(bytes, start);
            envelope.take(key, bytes[start..end].trim_ascii_end());
            at = after_space(bytes, end);
            match bytes.get(at) {
                Some(b',') => {}
                // Looked at again, as the end of the object.
                Some(b'}') => at -= 1,
                _ => break,
            }
        }
        if envelope.error == Some(b"null") {
            envelope.error = None;
        }
        if envelope.error.is_some() && envelope.result == Some(b"null") {
            envelope.result = None;
        }
        Some(envelope)
    }

    fn take(&mut self, key: &[u8], value: &'a [u8]) {
        let field = match key {
            br#""jsonrpc""# => &mut self.jsonrpc,
            br#""id""# => &mut self.id,
            br#""method""# => &mut self.method,
            br#""result""# => &mut self.result,
            br#""error""# => &mut self.error,
            _ => {
                self.has_others = true;
                return;
            }
        };
        *field = Some(value);
    }

    /// Whether this replies to a request. A line of a log may hold an `id` and an `error`, too: without `jsonrpc` it
    /// must hold nothing else. One that breaks off before its result or error may be anything.
    pub(super) fn is_reply(&self) -> bool {
        let answers = self.result.is_some() || self.error.is_some();
        match self.jsonrpc {
            Some(_) => answers || self.method.is_none() && self.is_whole,
            None => answers && self.method.is_none() && !self.has_others,
        }
    }

    /// The id, if it can be one.
    pub(super) fn id(&self) -> Option<RequestId> {
        serde_json::from_slice(self.id?).ok()
    }

    pub(super) fn has_no_id(&self) -> bool {
        self.id.is_none_or(|id| id == b"null")
    }

    /// The error with which the call ends that this replies to.
    pub(super) fn failed(&self, reason: &str) -> Option<ServerJsonRpcMessage> {
        self.is_reply().then_some(())?;
        Some(super::failure(reason, Some(self.id()?)))
    }
}

/// The only element of an array, if `bytes` are one: a batch of one message.
pub(super) fn only_element(bytes: &[u8]) -> Option<&[u8]> {
    let inner = bytes.strip_prefix(b"[")?.strip_suffix(b"]")?.trim_ascii();
    (inner.first() == Some(&b'{') && after_value(inner, 0) == inner.len()).then_some(inner)
}

/// The elements of an array, as far as it goes.
pub(super) fn elements(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let start = after_space(bytes, at);
        let end = after_value(bytes, start);
        if start == end || end > bytes.len() {
            return None;
        }
        at = after_space(bytes, end) + 1;
        Some(bytes[start..end].trim_ascii_end())
    })
}

/// The objects in `bytes`, if they are several that stand one behind the other and nothing else.
pub(super) fn objects(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut objects, mut at) = (Vec::new(), 0);
    loop {
        let start = after_space(bytes, at);
        if start == bytes.len() {
            return (objects.len() > 1).then_some(objects);
        }
        at = after_object(bytes, start)?;
        objects.push(&bytes[start..at]);
    }
}

/// The place after the object that begins at `at`; `None` if none does, or it has no end.
fn after_object(bytes: &[u8], mut at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'{')).then_some(())?;
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = after_string(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn after_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    at + space.count()
}

/// The place after the string that begins at `at`; `None` if none does, or it has no end.
pub(super) fn after_string(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'"')).then_some(())?;
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The place after the value that begins at `at`: a comma, the end of what holds it, or the end of the bytes.
fn after_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = after_string(bytes, at).unwrap_or(bytes.len());
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => break,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &str) -> Envelope<'_> {
        Envelope::scan(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_fields_are_found_whatever_is_in_them() {
        let text = r#" { "result" : {"a,}\"":[NaN, {"id": 3}]} , "id":7,"jsonrpc":"2.0" } "#;
        let envelope = scan(text);
        assert_eq!(envelope.id(), Some(RequestId::Number(7)));
        assert_eq!(
            envelope.result,
            Some(br#"{"a,}\"":[NaN, {"id": 3}]}"#.as_slice())
        );
        assert!(envelope.is_whole && envelope.is_reply());
    }

    #[test]
    fn a_message_that_breaks_off_is_not_whole_and_has_its_id() {
        let text = r#"{"id":"a","result":{"content":[{"text":"half of"#;
        for end in text.find("result").unwrap() + 9..text.len() {
            let envelope = scan(&text[..end]);
            assert!(!envelope.is_whole && envelope.is_reply(), "{end}");
            assert_eq!(envelope.id(), Some(RequestId::String("a".into())));
        }
    }

    #[test]
    fn a_line_of_a_log_replies_to_nothing() {
        for line in [
            r#"{"level":"error","id":3,"error":"database"}"#,
            r#"{"id":3}"#,
            r#"{"jsonrpc":"2.0", "id": 1, "resu"#,
            r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#,
            r#"{"id":3,"method":"ping","result":{}}"#,
        ] {
            assert!(!scan(line).is_reply(), "{line}");
        }
    }

    #[test]
    fn objects_one_behind_the_other_are_told_apart() {
        let one = r#"{"a":"}{","b":[{}]}"#;
        let two = format!("{one} {{}}{one}");
        let expected = [one.as_bytes(), b"{}", one.as_bytes()];
        assert_eq!(objects(two.as_bytes()).unwrap(), expected);
        for text in [one, "{}x", "{}{", "x{}{}", "{}{}]", ""] {
            assert_eq!(objects(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\1 id".to_vec()), 0..40)) {
            let _ = (Envelope::scan(&bytes), only_element(&bytes), objects(&bytes));
        }
    }
}
