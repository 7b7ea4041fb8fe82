"""The server that the conformance suite tests through the gateway: `fixture.py legacy`, or `fixture.py modern`.

It has what the suite's server scenarios ask for, over stdio, and uses no SDK, so that it says exactly what is written here.
"""

import json
import sys
import threading
import time

MODERN = sys.argv[1] == "modern"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SOUND = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
STATE = "state-of-the-fixture-"
writing, waiting, next_id = threading.Lock(), {}, [0]


class Refused(Exception):
    def __init__(self, code, message, data=None):
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


def write(message):
    with writing:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(words, **more):
    return {"content": [{"type": "text", "text": words}], **more}


def ask(method, params):
    """Asks a legacy client, and waits for its answer."""
    next_id[0] += 1
    key = f"fixture-{next_id[0]}"
    waiting[key] = (threading.Event(), {})
    write({"id": key, "method": method, "params": params})
    waiting[key][0].wait(30)
    answer = waiting.pop(key)[1]
    if "result" not in answer:
        raise Refused(-32603, f"the client did not answer: {answer.get('error')}")
    return answer["result"]


def form(message, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sampling(words, tokens=100):
    message = {"role": "user", "content": {"type": "text", "text": words}}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": tokens}}


STRING = {"type": "string"}
ROOTS = {"method": "roots/list", "params": {}}


def input_required(state=None, **requests):
    asked = {"resultType": "input_required", "inputRequests": requests}
    return {**asked, "requestState": STATE + state} if state else asked


def answers(params, state, *keys):
    """The answers of a retry, if they are all there; a state that is not ours is refused."""
    given = params.get("requestState")
    if given is not None and not (state and given == STATE + state):
        raise Refused(-32602, "requestState: not of this server")
    responses = params.get("inputResponses") or {}
    found = [responses.get(key) for key in keys]
    return found if all(isinstance(answer, dict) for answer in found) else None


def hello(params):
    found = answers(params, None, "user_name")
    name = found and (found[0].get("content") or {}).get("name")
    if not isinstance(name, str):
        return input_required(user_name=form("What is your name?", name=STRING))
    return text(f"Hello, {name}!")


def capital(params):
    found = answers(params, None, "capital_question")
    if not found:
        return input_required(capital_question=sampling("What is the capital of France?"))
    return text(found[0]["content"]["text"])


def list_roots(params):
    found = answers(params, None, "client_roots")
    if not found:
        return input_required(client_roots=ROOTS)
    return text(f"Roots: {json.dumps(found[0]['roots'])}")


def with_state(params):
    found = answers(params, "1", "confirm") if "requestState" in params else None
    if not found:
        return input_required("1", confirm=form("Please confirm", ok={"type": "boolean"}))
    return text("state-ok")


def multiple(params):
    if "requestState" not in params or not answers(params, "1", "user_name", "greeting", "client_roots"):
        return input_required(
            "1",
            user_name=form("What is your name?", name=STRING),
            greeting=sampling("Generate a greeting", 50),
            client_roots=ROOTS,
        )
    return text("All there.")


def rounds(params):
    state = params.get("requestState")
    if state is None:
        return input_required("1", step1=form("Step 1: What is your name?", name=STRING))
    if state == STATE + "1":
        return input_required("2", step2=form("Step 2: What is your favorite color?", color=STRING))
    answers(params, "2", "step2")
    return text("Both steps are done.")


def capabilities(params):
    can = params.get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities", {})
    requests = {}
    if "elicitation" in can:
        requests["user_name"] = form("What is your name?", name=STRING)
    if "sampling" in can:
        requests["capital_question"] = sampling("What is the capital of France?")
    if "roots" in can:
        requests["client_roots"] = ROOTS
    if not requests or params.get("inputResponses"):
        return text("Nothing more is needed.")
    return input_required(**requests)


def missing_capability(params):
    can = params.get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities", {})
    if "sampling" not in can:
        raise Refused(-32021, "sampling is required", {"requiredCapabilities": {"sampling": {}}})
    return text("The client can sample.")


def with_logging(params):
    for words in ["Tool execution started", "Tool processing data", "Tool execution completed"]:
        write({"method": "notifications/message", "params": {"level": "info", "data": words}})
        time.sleep(0.05)
    return text("Logged.")


def with_logging_if_asked(params):
    if "io.modelcontextprotocol/logLevel" in params.get("_meta", {}):
        return with_logging(params)
    return text("Not logged.")


def with_progress(params):
    token = params.get("_meta", {}).get("progressToken")
    for progress in [0, 50, 100]:
        if token is not None:
            said = {"progressToken": token, "progress": progress, "total": 100}
            write({"method": "notifications/progress", "params": said})
        time.sleep(0.05)
    return text("Done.")


def asked_to_sample(params):
    question = sampling(params["arguments"]["prompt"])
    return text(f"LLM response: {ask(question['method'], question['params'])['content']['text']}")


def elicited(said, message, **properties):
    def tool(params):
        question = form(message or params["arguments"]["message"], **properties)["params"]
        answer = ask("elicitation/create", question)
        return text(f"{said}: action={answer['action']}, content={json.dumps(answer.get('content', {}))}")

    return tool


def titled(*names):
    return [{"const": f"value{number + 1}", "title": name} for number, name in enumerate(names)]


OPTIONS = {"type": "string", "enum": ["option1", "option2", "option3"]}
DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
ENUMS = {
    "untitledSingle": OPTIONS,
    "titledSingle": {"type": "string", "oneOf": titled("First Option", "Second Option", "Third Option")},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": OPTIONS},
    "titledMulti": {"type": "array", "items": {"anyOf": titled("First Choice", "Second Choice", "Third Choice")}},
}
IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}


def resource(uri, words, kind="text/plain"):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": words}}


TOOLS = {
    "test_simple_text": lambda _: text("This is a simple text response for testing."),
    "test_image_content": lambda _: {"content": [IMAGE]},
    "test_audio_content": lambda _: {"content": [{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}]},
    "test_embedded_resource": lambda _: {
        "content": [resource("test://embedded-resource", "This is an embedded resource content.")]
    },
    "test_multiple_content_types": lambda _: {
        "content": [
            {"type": "text", "text": "Multiple content types test:"},
            IMAGE,
            resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
        ]
    },
    "test_error_handling": lambda _: text("This tool intentionally returns an error for testing", isError=True),
    "test_tool_with_logging": with_logging,
    "test_tool_with_progress": with_progress,
}
LEGACY_TOOLS = {
    "test_sampling": asked_to_sample,
    "test_elicitation": elicited("User response", None, username=STRING, email=STRING),
    "test_elicitation_sep1034_defaults": elicited("Elicitation completed", "Defaults", **DEFAULTS),
    "test_elicitation_sep1330_enums": elicited("Elicitation completed", "Enums", **ENUMS),
}
MODERN_TOOLS = {
    "test_input_required_result_elicitation": hello,
    "test_input_required_result_sampling": capital,
    "test_input_required_result_list_roots": list_roots,
    "test_input_required_result_request_state": with_state,
    "test_input_required_result_tampered_state": with_state,
    "test_input_required_result_multiple_inputs": multiple,
    "test_input_required_result_multi_round": rounds,
    "test_input_required_result_capabilities": capabilities,
    "test_missing_capability": missing_capability,
    "test_streaming_elicitation": hello,
    "test_logging_tool": with_logging_if_asked,
}
TOOLS |= MODERN_TOOLS if MODERN else LEGACY_TOOLS


def message(*content):
    return {"messages": [{"role": "user", "content": one} for one in content]}


def prompt_with_input(params):
    found = answers(params, None, "user_context")
    if not found:
        return input_required(user_context=form("What context should the prompt use?", context=STRING))
    return message({"type": "text", "text": f"Context: {found[0]['content']['context']}"})


PROMPTS = {
    "test_simple_prompt": ([], lambda _: message({"type": "text", "text": "This is a simple prompt for testing."})),
    "test_prompt_with_arguments": (
        ["arg1", "arg2"],
        lambda params: message(
            {"type": "text", "text": "Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format(**params["arguments"])}
        ),
    ),
    "test_prompt_with_embedded_resource": (
        ["resourceUri"],
        lambda params: message(
            resource(params["arguments"]["resourceUri"], "Embedded resource content for testing."),
            {"type": "text", "text": "Please process the embedded resource above."},
        ),
    ),
    "test_prompt_with_image": ([], lambda _: message(IMAGE, {"type": "text", "text": "Please analyze the image above."})),
}
if MODERN:
    PROMPTS["test_input_required_result_prompt"] = ([], prompt_with_input)


def read(params):
    uri = params["uri"]
    if uri == "test://static-text":
        contents = {"mimeType": "text/plain", "text": "This is the content of the static text resource."}
    elif uri == "test://static-binary":
        contents = {"mimeType": "image/png", "blob": PIXEL}
    elif uri.startswith("test://template/"):
        name = uri.split("/")[3]
        words = json.dumps({"id": name, "templateTest": True, "data": f"Data for ID: {name}"})
        contents = {"mimeType": "application/json", "text": words}
    elif uri == "test://watched-resource":
        contents = {"mimeType": "text/plain", "text": "watched"}
    else:
        raise Refused(-32602 if MODERN else -32002, "Resource not found", {"uri": uri})
    return cached({"contents": [{"uri": uri, **contents}]})


def cached(result):
    return {**result, "ttlMs": 60_000, "cacheScope": "public"} if MODERN else result


def tools(_):
    schema = {"type": "object", "properties": {}}
    listed = [{"name": name, "description": f"The tool {name}.", "inputSchema": schema} for name in TOOLS]
    return cached({"tools": listed})


def prompts(_):
    listed = [
        {
            "name": name,
            "description": f"The prompt {name}.",
            "arguments": [{"name": argument, "description": argument, "required": True} for argument in arguments],
        }
        for name, (arguments, _) in PROMPTS.items()
    ]
    return cached({"prompts": listed})


def resources(_):
    listed = [
        {"uri": f"test://{name}", "name": name, "description": f"The resource {name}.", "mimeType": kind}
        for name, kind in [
            ("static-text", "text/plain"),
            ("static-binary", "image/png"),
            ("watched-resource", "text/plain"),
        ]
    ]
    return cached({"resources": listed})


def templates(_):
    template = {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "A resource of a template.",
        "mimeType": "application/json",
    }
    return cached({"resourceTemplates": [template]})


def named(table, params, what):
    if params.get("name") not in table:
        raise Refused(-32602, f"there is no {what} {params.get('name')}")
    return table[params["name"]]


INFO = {"name": "fixture", "version": "1"}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "completions": {},
    "logging": {},
}
METHODS = {
    "ping": lambda _: {},
    "tools/list": tools,
    "tools/call": lambda params: named(TOOLS, params, "tool")(params),
    "prompts/list": prompts,
    "prompts/get": lambda params: named(PROMPTS, params, "prompt")[1](params),
    "resources/list": resources,
    "resources/templates/list": templates,
    "resources/read": read,
    "completion/complete": lambda _: {"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": False}},
    "resources/subscribe": lambda _: {},
    "resources/unsubscribe": lambda _: {},
    "logging/setLevel": lambda _: {},
}
if MODERN:
    METHODS["server/discover"] = lambda _: {
        "supportedVersions": ["2026-07-28"],
        "capabilities": CAPABILITIES,
        "serverInfo": INFO,
        "ttlMs": 0,
        "cacheScope": "public",
    }
else:
    METHODS["initialize"] = lambda params: {
        "protocolVersion": params["protocolVersion"],
        "capabilities": CAPABILITIES,
        "serverInfo": INFO,
    }


def answer(request):
    method, params = request["method"], request.get("params") or {}
    try:
        if method not in METHODS:
            raise Refused(-32601, f"method not found: {method}")
        result = METHODS[method](params)
        if MODERN:
            result = {"resultType": "complete", **result}
        write({"id": request["id"], "result": result})
    except Refused as refused:
        write({"id": request["id"], "error": refused.error})


for line in sys.stdin:
    received = json.loads(line)
    if "method" not in received:
        event, kept = waiting.get(received.get("id"), (threading.Event(), {}))
        kept.update(received)
        event.set()
    elif received["method"] == "subscriptions/listen":
        said = {
            "notifications": received["params"]["notifications"],
            "_meta": {"io.modelcontextprotocol/subscriptionId": received["id"]},
        }
        write({"method": "notifications/subscriptions/acknowledged", "params": said})
    elif "id" in received:
        threading.Thread(target=answer, args=(received,), daemon=True).start()
