//! A client that speaks stdio: lines to a process and back.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use serde_json::{Value, json};

/// A process, and what it says. It is killed when it is dropped.
pub(crate) struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
    next: u64,
}

impl Lines {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut errors = child.stderr.take().expect("it is piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let (send, said) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            let _ = send.send(text);
        });
        Self {
            input: child.stdin.take(),
            child,
            output: lines,
            errors: said,
            next: 0,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("it is open");
        writeln!(input, "{message}").expect("the process reads");
    }

    /// Sends a request, and returns its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The answer to the request with this id; other messages are passed over.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.message();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The next message, whatever it is.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Value {
        let line = match self.output.recv_timeout(MINUTE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line within a minute"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("it ended: {}", self.errors.recv().unwrap_or_default())
            }
        };
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Begins a session, as clients up to 2025-11-25 do.
    #[track_caller]
    pub(crate) fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "lines", "version": "1" },
        });
        let id = self.request("initialize", params);
        let answer = self.answer(id);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    /// Calls a tool, and returns the whole answer.
    #[track_caller]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.request(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        );
        self.answer(id)
    }

    /// Calls a tool as a modern client does, which has no session, and returns the whole answer.
    #[track_caller]
    pub(crate) fn call_modern(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": modern_meta() });
        let id = self.request("tools/call", params);
        self.answer(id)
    }

    /// Closes its input, and waits for its end. Returns what it wrote to standard error.
    pub(crate) fn close(mut self) -> (ExitStatus, String) {
        self.input.take();
        let status = self.child.wait().expect("it can be waited for");
        (status, self.errors.recv_timeout(MINUTE).unwrap_or_default())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What every request of a modern client says of itself.
pub(crate) fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "lines", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

const MINUTE: Duration = Duration::from_secs(60);
