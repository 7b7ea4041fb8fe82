//! Questions of servers, and the answers of clients, with fields that no type knows.

use std::sync::Arc;

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, ServerConfig,
    core::{
        Connected, Connector, Handshake, OpenError, TransportReport,
        connect::{BoxFuture, lines::LineTransport},
    },
};
use mcp_testkit::scripted_http::{Answer, Asked, Live, ScriptedHttp};
use parking_lot::Mutex;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    runtime::Runtime,
    time::timeout,
};

use crate::{
    common::{
        LONG, Served,
        raw::{Events, Legacy, modern},
    },
    fidelity::exact_json,
};

/// What servers ask, and what they were answered last.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    question: Value,
    answer: Value,
    /// The stream and the id of the call that asks.
    call: Option<(Live, Value)>,
}

const ASKING: &str = "of the server";

fn done(id: &Value) -> Value {
    let result = json!({ "resultType": "complete", "content": [] });
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn tools() -> Value {
    json!({ "tools": [{ "name": "ask", "inputSchema": { "type": "object" } }] })
}

impl Shared {
    /// The question as a request.
    fn request(&self) -> Value {
        let mut request = self.0.lock().question.clone();
        (request["jsonrpc"], request["id"]) = (json!("2.0"), json!(ASKING));
        request
    }

    /// A legacy server over HTTP, which asks on the stream of the call.
    async fn legacy(&self) -> ScriptedHttp {
        let this = self.clone();
        ScriptedHttp::start(move |asked: &Asked| {
            if *asked.id() == ASKING {
                let mut script = this.0.lock();
                script.answer = asked.body["result"].clone();
                let (live, id) = script.call.take()?;
                live.send(format!("event: message\ndata: {}\n\n", done(&id)));
                return Some(Answer::status(202, ""));
            }
            match asked.method() {
                "tools/list" => Some(Answer::json(200, &asked.reply(tools()))),
                "tools/call" => {
                    let live = Live::new();
                    this.0.lock().call = Some((live.clone(), asked.id().clone()));
                    Some(Answer::events().event(&this.request()).live(&live))
                }
                _ => None,
            }
        })
        .await
    }

    /// A modern server, which asks in its result.
    async fn modern(&self) -> ScriptedHttp {
        let this = self.clone();
        ScriptedHttp::start(move |asked: &Asked| {
            let result = match asked.method() {
                "server/discover" => json!({
                    "resultType": "complete", "supportedVersions": ["2026-07-28"],
                    "capabilities": { "tools": {} }, "serverInfo": { "name": "modern", "version": "1" },
                    "ttlMs": 0, "cacheScope": "private",
                }),
                "tools/list" => {
                    let mut page = tools();
                    page["resultType"] = json!("complete");
                    (page["ttlMs"], page["cacheScope"]) = (json!(0), json!("public"));
                    page
                }
                "tools/call" => match asked.body["params"]["inputResponses"].get("q") {
                    Some(answer) => {
                        this.0.lock().answer = answer.clone();
                        done(asked.id())["result"].clone()
                    }
                    None => json!({
                        "resultType": "input_required", "requestState": "s",
                        "inputRequests": { "q": this.0.lock().question },
                    }),
                },
                _ => return None,
            };
            Some(Answer::json(200, &asked.reply(result)))
        })
        .await
    }

    /// A legacy server over lines.
    async fn serve(self, reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
        let mut call = Value::Null;
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            let id = &message["id"];
            let reply = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
            let said = match message["method"].as_str() {
                None if *id == ASKING => {
                    self.0.lock().answer = message["result"].clone();
                    done(&call)
                }
                _ if id.is_null() => continue,
                Some("initialize") => reply(json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "lines", "version": "1" },
                })),
                Some("tools/list") => reply(tools()),
                Some("ping") => reply(json!({})),
                Some("tools/call") => {
                    call = id.clone();
                    self.request()
                }
                _ => {
                    let error = json!({ "code": -32601, "message": "no" });
                    json!({ "jsonrpc": "2.0", "id": id, "error": error })
                }
            };
            if writer
                .write_all(format!("{said}\n").as_bytes())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

impl Connector for Shared {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (reader, writer) = tokio::io::split(theirs);
            tokio::spawn(self.clone().serve(reader, writer));
            let report = Arc::new(TransportReport::default());
            let (reader, writer) = tokio::io::split(ours);
            let transport = LineTransport::new(reader, writer, 16 << 20, Arc::clone(&report));
            handshake.perform(transport, report).await
        })
    }
}

/// The question as a client of each era is asked it.
async fn ask_legacy(client: &Legacy, tool: &str, answer: &Value) -> Value {
    let mut events = Events::of(client.call(1, tool, json!({})).await);
    let mut question = events.next().await.unwrap();
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer });
    let sent = client.post().json(&answer).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    let reply = events.next().await.unwrap();
    assert!(reply["result"].is_object(), "{reply}");
    let question = question.as_object_mut().unwrap();
    question.remove("jsonrpc");
    question.remove("id");
    json!(question)
}

async fn ask_modern(http: &reqwest::Client, url: &str, tool: &str, answer: &Value) -> Value {
    let mut params = json!({ "name": tool, "arguments": {} });
    let send = async |params: &Value| -> Value {
        let sent = modern(http, url, 1, "tools/call", params.clone()).await;
        sent.json().await.unwrap()
    };
    let asked = send(&params).await;
    let questions = asked["result"]["inputRequests"].as_object();
    let questions = questions.unwrap_or_else(|| panic!("{asked}"));
    let (name, question) = questions.iter().next().unwrap();
    params["requestState"] = asked["result"]["requestState"].clone();
    params["inputResponses"] = json!({ name: answer });
    let reply = send(&params).await;
    assert_eq!(reply["result"]["resultType"], "complete", "{reply}");
    question.clone()
}

/// A value with members that no type knows: in it, and in what stands under `inner`.
fn with_unknown(mut value: Value, inner: &str, unknown: &[(String, Value)]) -> Value {
    for (name, unknown) in unknown {
        value[format!("x-{name}")] = unknown.clone();
        value[inner][format!("x-{name}")] = unknown.clone();
        value["_meta"][format!("x-{name}")] = unknown.clone();
    }
    value
}

/// A question of either kind, and an answer to it.
fn question_and_answer(
    samples: bool,
    of_question: &[(String, Value)],
    of_answer: &[(String, Value)],
) -> (Value, Value) {
    let text = json!({ "type": "text", "text": "a" });
    let (method, params, answer) = match samples {
        true => (
            "sampling/createMessage",
            // Of a kind that rmcp has no type for.
            json!({ "maxTokens": 1, "messages": [{ "role": "user", "content": { "type": "hologram", "of": [1] } }] }),
            json!({ "role": "assistant", "model": "m", "content": text }),
        ),
        false => (
            "elicitation/create",
            json!({ "mode": "form", "message": "who?", "requestedSchema": { "type": "object", "properties": {} } }),
            json!({ "action": "accept", "content": {} }),
        ),
    };
    let inner = if samples {
        "metadata"
    } else {
        "requestedSchema"
    };
    let params = with_unknown(params, inner, of_question);
    let answer = with_unknown(answer, "content", of_answer);
    (json!({ "method": method, "params": params }), answer)
}

#[test]
fn pain_33_pain_34_a_question_and_its_answer_keep_fields_that_no_type_knows_in_every_cell() {
    let runtime = Runtime::new().unwrap();
    let shared = Shared::default();
    let (_servers, served, legacy) = runtime.block_on(async {
        let servers = [shared.legacy().await, shared.modern().await];
        let settings = PoolSettings::new().min_connections(0).retry_attempts(0);
        let manager = ConnectionManager::builder()
            .defaults(settings.clone())
            .server("legacy", ServerConfig::http(servers[0].url()))
            .server("modern", ServerConfig::http(servers[1].url()))
            .connector("lines", shared.clone(), settings);
        let gateway = Gateway::builder(manager.build().await.unwrap());
        let served = Served::start(gateway).await;
        let capabilities = json!({ "elicitation": { "form": {} }, "sampling": {} });
        let legacy = Legacy::open(&served.url(), capabilities).await;
        (servers, served, legacy)
    });
    let (http, url) = (reqwest::Client::new(), served.url());
    let unknown = || prop::collection::vec(("[a-z]{1,8}", exact_json()), 0..4);
    let any = (any::<bool>(), unknown(), unknown());
    let mut runner = TestRunner::new(Config::with_cases(40));
    let outcome = runner.run(&any, |(samples, of_question, of_answer)| {
        let (question, answer) = question_and_answer(samples, &of_question, &of_answer);
        shared.0.lock().question = question.clone();
        for server in ["legacy", "modern", "lines"] {
            let tool = format!("{server}__ask");
            for is_legacy in [true, false] {
                let asking = async {
                    match is_legacy {
                        true => ask_legacy(&legacy, &tool, &answer).await,
                        false => ask_modern(&http, &url, &tool, &answer).await,
                    }
                };
                let asked = runtime.block_on(async { timeout(LONG, asking).await });
                let cell = format!("{server}, legacy client: {is_legacy}");
                prop_assert_eq!(&asked.unwrap(), &question, "{}", cell);
                let answered = std::mem::take(&mut shared.0.lock().answer);
                prop_assert_eq!(&answered, &answer, "{}", cell);
            }
        }
        Ok(())
    });
    runtime.block_on(served.stop());
    outcome.unwrap();
}
