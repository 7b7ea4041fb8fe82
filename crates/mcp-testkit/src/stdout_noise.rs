//! Stdout noise: lines that real servers and their wrappers print where only JSON-RPC belongs.

/// Printed before the first reply.
pub(crate) const BANNER: &[u8] =
    b"[INFO] starting\n\n> mcp-testkit@1.0.0 start\n> node index.js\n\n";

/// Printed before every reply.
pub(crate) const BETWEEN_REPLIES: &[u8] = b"[DEBUG] handling request\n\n";

/// The `number`th of an endless series of lines: no JSON, broken JSON, JSON that is not JSON-RPC, bytes
/// that are not even text.
pub(crate) fn line(number: usize) -> &'static [u8] {
    LINES[number % LINES.len()]
}

const LINES: &[&[u8]] = &[
    b"[INFO] working on it...\n",
    b"\n",
    b"{\"level\":\"info\",\"msg\":\"JSON, but not JSON-RPC\"}\n",
    b"{\"jsonrpc\":\"2.0\", \"resu\n",
    b"[1, 2, 3]\n",
    b"\"only a string\"\n",
    b"null\n",
    b"42\n",
    b"\xff\xfe\x00 not UTF-8\n",
    b"{\"jsonrpc\":\"2.0\"}\n",
    b"Content-Length: 52\r\n\r\n",
];
