//! `call`: tools, their arguments and their results.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::Stdio,
    time::Duration,
};

use insta::assert_snapshot;
use mcp_testkit::{
    HttpOptions, HttpServer,
    process::{self, alive},
    scripted_http::{Answer, ScriptedHttp},
};
use serde_json::{Value, json};

use crate::{
    documents::document,
    home::{Home, test_server},
};

#[test]
fn a_value_goes_out_with_the_type_of_the_schema() {
    let home = Home::with_kit();
    assert_eq!(home.run(&["call", "kit.echo", "message=42"]).1, "42\n");
    let (code, out, _) = home.run(&["call", "kit__add", "a=1.5", "b=2"]);
    assert_eq!(code, 0);
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap(),
        json!({ "sum": 3.5 })
    );
    let whole = ["call", "kit.add", "--args", r#"{"a": 1, "b": 1}"#, "b:=41"];
    let result = document(&home, &whole, 0);
    assert_eq!(result["structuredContent"], json!({ "sum": 42.0 }));
    let mut piped = home.command(&["call", "kit.echo", "--args", "-"]);
    let output = piped.write_stdin(r#"{"message": "from stdin"}"#).output();
    assert_eq!(output.unwrap().stdout, b"from stdin\n");
}

#[test]
fn what_is_wrong_is_named_before_anything_is_sent() {
    let home = Home::new();
    let counted = home.path().join("counted");
    let entry = test_server(&["--count-file", counted.to_str().unwrap()]);
    home.servers(json!({ "kit": entry }));
    for (arguments, expected) in [
        (&["kit.add", "a=1"][..], "missing argument: b"),
        (
            &["kit.add", "a=x", "b=1"],
            "argument `a`: expected number, got `x`",
        ),
        (
            &["kit.count", "kye=x"],
            "unknown argument `kye`; did you mean `key`?",
        ),
        (&["kit.stats", "x=1"], "the tool takes no arguments"),
        (&["kit.cuont"], "did you mean `kit.count`?"),
        (&["kti.count"], "did you mean `kit`?"),
        (
            &["kit.count", "--args", "[]"],
            "--args: expected a JSON object",
        ),
    ] {
        let arguments = [&["call"], arguments].concat();
        let (code, out, err) = home.run(&arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(err.contains(expected), "{err}");
    }
    assert!(!counted.exists(), "a tool was called");
    let (_, _, err) = home.run(&["call", "kit.add", "a=1"]);
    assert_snapshot!(err, @r"
    error: missing argument: b
      kit.add(a: number, b: number) -> {sum: number}
    Fix: mcp-pool list kit.add
    ");
}

#[test]
fn failures_are_told_apart_by_their_exit_codes() {
    let home = Home::new();
    home.servers(json!({
        "kit": test_server(&[]),
        "dead": test_server(&["--exit", "3", "--stderr", "no license"]),
    }));
    let (code, out, err) = home.run(&["call", "kit.tool_error", "message=no such city"]);
    assert_eq!((code, out.as_str()), (5, ""));
    assert_snapshot!(err, @r"
    error: tool `kit.tool_error` reported an error
      no such city
    ");
    let result = document(&home, &["call", "kit.tool_error", "message=x"], 5);
    assert_eq!(result["isError"], true);
    assert_eq!(
        home.run(&["call", "kit.fail", "code=-32000", "message=x"])
            .0,
        5
    );
    assert_eq!(
        home.run(&["call", "kit.sleep", "ms=60000", "--timeout", "200ms"])
            .0,
        4
    );
    let (code, _, err) = home.run(&["call", "dead.x"]);
    assert_eq!(code, 4);
    assert!(err.contains("no license"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_the_exit_code_of_authentication() {
    let server = HttpServer::start(HttpOptions {
        bearer: Some("right".into()),
        ..HttpOptions::default()
    })
    .await;
    let home = Home::new();
    let headers = json!({ "Authorization": "Bearer wrong" });
    home.servers(json!({ "kit": { "url": server.url(), "headers": headers } }));
    let (code, _, err) = home.run(&["call", "kit.echo", "message=x"]);
    assert_eq!(code, 3, "{err}");
}

#[test]
fn a_question_is_declined_where_no_person_can_answer_it() {
    let home = Home::with_kit();
    let (code, out, err) = home.run(&["call", "kit.ask", "what=elicitation"]);
    assert_eq!(
        (code, out.trim()),
        (0, r#"{"elicitation":"declined"}"#),
        "{err}"
    );
    assert_eq!(
        err.trim(),
        "server `kit` asks for input (who are you?): declined"
    );
}

#[test]
fn a_person_at_a_terminal_answers_the_form_of_a_server() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let home = Home::with_kit();
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    let child = home
        .process(&["call", "kit.ask", "what=elicitation"])
        .stdin(terminal.try_clone().unwrap())
        .stderr(terminal)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut person = File::from(person);
    person.write_all(b"Ada\n").unwrap();
    let mut screen = person.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut seen = Vec::new();
        // It fails when the program has ended.
        let _ = screen.read_to_end(&mut seen);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let output = child.wait_with_output().unwrap();
    let seen = reading.join().unwrap();
    assert_eq!(output.stdout, b"{\"elicitation\":\"Ada\"}\n", "{seen}");
    assert!(seen.contains("server `kit` asks: who are you?"), "{seen}");
    assert!(seen.contains("name (string): "), "{seen}");
}

#[test]
fn progress_is_written_in_lines_on_demand() {
    let home = Home::with_kit();
    let call = ["call", "kit.progress", "steps=3", "ms=1"];
    let (code, _, err) = home.run(&call);
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, _, err) = home.run(&[&call[..], &["-v"]].concat());
    assert!(err.contains("progress: 1 of 3"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_that_are_no_text_are_saved_or_named() {
    let content = json!([
        { "type": "text", "text": "a picture" },
        { "type": "image", "mimeType": "image/png", "data": "AAECAw==" },
        { "type": "audio", "mimeType": "audio/wav", "data": "AAE=" },
        { "type": "resource_link", "uri": "file:///log", "name": "log", "mimeType": "text/plain" },
        { "type": "resource", "resource": { "uri": "a://b", "text": "embedded" } },
        { "type": "resource", "resource": { "uri": "a://c", "mimeType": "x/y", "blob": "AAEC" } },
        { "type": "new", "field": 1 },
    ]);
    let result = json!({ "content": content, "structuredContent": { "x": [1] } });
    let answered = result.clone();
    let server = ScriptedHttp::start(move |asked| match asked.method() {
        "tools/call" => Some(Answer::json(200, &asked.reply(answered.clone()))),
        _ => None,
    })
    .await;
    let home = Home::new();
    home.servers(json!({ "kit": { "url": server.url() } }));
    let call = ["call", "kit.echo", "message=x"];
    assert_snapshot!(home.run( &call).1, @r#"
    a picture
    [image: image/png, 4 bytes; save it by -o FILE]
    [audio: audio/wav, 2 bytes; save it by -o FILE]
    [link to mcp+kit:file%3A%2F%2F%2Flog (text/plain): log]
    embedded
    [a://c: x/y, 3 bytes; save it by -o FILE]
    {"field":1,"type":"new"}
    {
      "x": [
        1
      ]
    }
    "#);
    let mut shown = document(&home, &call, 0);
    // So that it can be read from whichever server it is of.
    assert_eq!(
        shown["content"][3]["uri"].take(),
        "mcp+kit:file%3A%2F%2F%2Flog"
    );
    shown["content"][3]["uri"] = result["content"][3]["uri"].clone();
    assert_eq!(shown, result);
    let saving = [&call[..], &["-o", "out.bin"]].concat();
    let (code, _, err) = home.run(&saving);
    assert_eq!(code, 0, "{err}");
    let saved = |name: &str| std::fs::read(home.path().join(name)).unwrap();
    assert_eq!(saved("out.bin"), [0, 1, 2, 3]);
    assert_eq!(saved("out-2.bin"), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_call_on_the_server() {
    let server = HttpServer::start(HttpOptions::default()).await;
    let home = Home::new();
    home.servers(json!({ "kit": { "url": server.url() } }));
    interrupt(&home, "kit.sleep", || {
        server.server().calls_of("sleep") == 1
    })
    .await;
    let interrupted = || !server.server().stats().interruptions.is_empty();
    eventually(interrupted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_process_of_a_server_that_is_called() {
    let home = Home::new();
    // Nothing of the environment: the command itself has that, too.
    let marker = format!("called-and-interrupted-{}", std::process::id());
    home.servers(json!({ "kit": test_server(&["--marker", &marker]) }));
    interrupt(&home, "kit.sleep", || {
        !process::by_marker(&marker).is_empty()
    })
    .await;
    let left = process::by_marker(&marker);
    assert!(!left.iter().any(|pid| alive(*pid)), "left: {left:?}");
}

/// Interrupts a call that sleeps, once it is under way.
async fn interrupt(home: &Home, tool: &str, is_called: impl Fn() -> bool) {
    let mut child = home.process(&["call", tool, "ms=60000"]).spawn().unwrap();
    eventually(is_called).await;
    process::signal(child.id(), process::Signal::INT).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
}

async fn eventually(happened: impl Fn() -> bool) {
    assert!(
        process::wait_until(LIMIT, happened).await,
        "it never happened"
    );
}

const LIMIT: Duration = Duration::from_secs(30);
