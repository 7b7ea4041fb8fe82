//! A server of a few lines, which fails as its options say.

use serde_json::{Value, json};

use crate::home::Home;

/// The entry of a legacy server whose tools are named, described or missing as the options say.
pub(crate) fn scripted(home: &Home, options: Value) -> Value {
    let script = home.write("server.py", SCRIPTED);
    json!({ "command": "python3", "args": [script, options.to_string()] })
}

const SCRIPTED: &str = r#"
import json, os, sys
options = json.loads(sys.argv[1])
if "lock" in options:
    if os.path.exists(options["lock"]):
        sys.exit("another one holds the lock")
    open(options["lock"], "w").close()
ballast = b"x" * options.get("memory", 0)
tool = lambda name: {"name": name, "description": options.get("description", "-"), "inputSchema": {"type": "object"}}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, error = message["method"], None
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    elif method == "tools/list" and not options.get("no_list"):
        result = {"tools": [tool(name) for name in options.get("tools", ["a"])]}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": "called"}]}
    elif method == "ping":
        if options.get("silent"):
            continue
        result = {}
    else:
        result, error = None, {"code": -32601, "message": "not here"}
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    reply.update({"error": error} if error else {"result": result})
    print(json.dumps(reply), flush=True)
"#;
