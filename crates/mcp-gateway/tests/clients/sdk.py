"""The Python SDK, in its first line and in its second: `sdk.py URL ERA`, ERA being `legacy` or a modern version.

Prints one observation for each feature as JSON.
"""

import asyncio
import json
import sys
import warnings
from contextlib import asynccontextmanager

import mcp
import mcp.types as types

warnings.simplefilter("ignore")
URL, ERA = sys.argv[1:3]
MODERN = ERA != "legacy"
# Over HTTP the first line at its beginning (1.8) sends nothing before its last request is answered: its `post_writer` awaits
# the response. So it can neither answer a question during a call nor cancel one. And a question that arrives beside a
# response stops it without end: the loop that reads waits to send its answer, and `post_writer` for that loop. It declares
# sampling and roots in any case, so it is kept from servers that ask by themselves, such as server-everything.
SECOND = hasattr(mcp, "Client")
seen, received = {}, {"urls": [], "updates": [], "logs": [], "changes": 0}


async def note(feature, observing):
    try:
        seen[feature] = await asyncio.wait_for(observing, 30)
    except Exception as error:
        seen[feature] = f"{type(error).__name__}: {error}"[:500]


async def until(holds):
    while not holds():
        await asyncio.sleep(0.02)


async def sample(context, params):
    content = types.TextContent(type="text", text="hello")
    return types.CreateMessageResult(role="assistant", model="python model", content=content)


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///python")])


async def elicit(context, params):
    url = getattr(params, "url", None)
    if url:
        received["urls"].append(str(url))
        return types.ElicitResult(action="accept")
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def log(params):
    received["logs"].append(params)


async def hear(message):
    notification = getattr(message, "root", message)
    if isinstance(notification, types.ResourceUpdatedNotification):
        received["updates"].append(str(notification.params.uri))
    if isinstance(notification, types.ToolListChangedNotification):
        received["changes"] += 1


@asynccontextmanager
async def connected():
    callbacks = {
        "sampling_callback": sample,
        "list_roots_callback": roots,
        "logging_callback": log,
        "message_handler": hear,
    }
    if SECOND:
        mode = ERA if MODERN else "legacy"
        async with mcp.Client(URL, mode=mode, elicitation_callback=elicit, **callbacks) as client:
            yield client
    else:
        from mcp.client.streamable_http import streamablehttp_client

        async with streamablehttp_client(URL) as (read, write, _):
            async with mcp.ClientSession(read, write, **callbacks) as session:
                seen["server"] = (await session.initialize()).serverInfo.name
                yield session


def field(value, name):
    """A field by its name in Python or on the wire: the two lines differ."""
    wire = "".join(part.title() if number else part for number, part in enumerate(name.split("_")))
    return getattr(value, name) if hasattr(value, name) else getattr(value, wire, None)


def error_of(error):
    return getattr(error, "error", error)


async def observe(client):
    uri = (lambda uri: uri) if SECOND else __import__("pydantic").AnyUrl

    async def call(name, args=None, **options):
        return await client.call_tool(name, args or {}, **options)

    async def text(name, args=None):
        return (await call(name, args)).content[0].text

    async def read(name):
        return (await client.read_resource(uri(name))).contents[0]

    async def tools():
        names = [tool.name for tool in (await client.list_tools()).tools]
        wanted = ["test__echo", "time__get_current_time", "everything__echo", "fastmcp__add"]
        return sum(name in names for name in wanted)

    async def time():
        return json.loads(await text("time__get_current_time", {"timezone": "Europe/Berlin"}))["timezone"]

    async def structured():
        return field(await call("fastmcp__weather", {"city": "Bern"}), "structured_content")

    async def image():
        block = (await call("fastmcp__picture")).content[0]
        return [block.type, field(block, "mime_type"), len(block.data) > 60]

    async def links():
        blocks = (await call("everything__get-resource-links", {"count": 2})).content
        link = next(block for block in blocks if block.type == "resource_link")
        return len((await client.read_resource(uri(str(link.uri)))).contents)

    async def tool_error():
        return field(await call("fastmcp__fails", {"why": "no luck"}), "is_error")

    async def protocol_error():
        try:
            await call("test__fail", {"code": -32050, "message": "no luck", "data": {"why": "because"}})
            return "no error"
        except Exception as error:
            error = error_of(error)
            return [error.code, "no luck" in error.message, (error.data or {}).get("why")]

    async def unknown_tool():
        try:
            result = await call("nowhere__echo")
            return "tool error" if field(result, "is_error") else "no error"
        except Exception as error:
            return error_of(error).code

    async def progress():
        steps = []

        async def step(progress, total, message):
            steps.append(progress)

        await call("fastmcp__counts", {"to": 5}, progress_callback=step)
        return steps

    async def cancel():
        sleeping = asyncio.create_task(call("test__sleep", {"ms": 60_000}))
        await asyncio.sleep(0.2)
        sleeping.cancel()
        outcome = await asyncio.gather(sleeping, return_exceptions=True)
        for _ in range(100):
            stats = json.loads(await text("test__stats"))
            # A modern client over HTTP closes the stream of the call, and sends no notification.
            if ended := stats["cancelled"] + len(stats["interruptions"]):
                break
            await asyncio.sleep(0.02)
        return [type(outcome[0]).__name__, ended > 0]

    async def prompts():
        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        filled = await client.get_prompt("test__greeting", {"name": "Ada"})
        return ["everything__simple-prompt" in names, filled.messages[0].content.text]

    async def resources():
        uris = [str(resource.uri) for resource in (await client.list_resources()).resources]
        return ["testkit://readme" in uris, (await read("testkit://readme")).text]

    async def templates():
        listed = field(await client.list_resource_templates(), "resource_templates")
        listed = [field(template, "uri_template") for template in listed]
        return ["testkit://item/{number}" in listed, (await read("testkit://item/7")).text]

    async def completion():
        ref = types.PromptReference(type="ref/prompt", name="test__review")
        completed = await client.complete(ref, {"name": "language", "value": "r"})
        return completed.completion.values

    async def answer(what):
        return json.loads(await text("test__ask", {"what": [what]}))[what]

    async def elicitation_with_url():
        args = {"url": "https://example.com/consent", "message": "Please"}
        answered = await text("everything__trigger-url-elicitation", args)
        return ["accept" in answered or "completed" in answered, received["urls"][-1]]

    async def side_by_side():
        messages = [f"message {number}" for number in range(20)]
        return messages == await asyncio.gather(*(text("test__echo", {"message": m}) for m in messages))

    async def logging():
        options = {}
        if MODERN:
            options = {"meta": {"io.modelcontextprotocol/logLevel": "info"}}
        else:
            await client.set_logging_level("info")
        await call("test__log", {"message": "logged"}, **options)
        await until(lambda: any("logged" in str(log.data) for log in received["logs"]))
        return True

    async def subscribe():
        name = "demo://resource/static/document/features.md"
        toggle = "everything__toggle-subscriber-updates"
        if MODERN:
            async with client.listen(resource_subscriptions=[name]) as events:
                await call(toggle)
                event = await anext(aiter(events))
                await call(toggle)
                return str(event.uri) == name
        await client.subscribe_resource(uri(name))
        await call(toggle)
        await until(lambda: received["updates"])
        await call(toggle)
        await client.unsubscribe_resource(uri(name))
        return received["updates"][0] == name

    await note("tools", tools())
    await note("echo", text("test__echo", {"message": "héllo ☀"}))
    await note("time", time())
    await note("structured", structured())
    await note("image", image())
    await note("links", links())
    await note("tool error", tool_error())
    await note("protocol error", protocol_error())
    await note("unknown tool", unknown_tool())
    if SECOND:
        await note("progress", progress())
        await note("cancel", cancel())
    await note("prompts", prompts())
    await note("resources", resources())
    await note("templates", templates())
    await note("completion", completion())
    if SECOND:
        for what in ["sampling", "roots", "elicitation"]:
            await note(what, answer(what))
        await note("elicitation with url", elicitation_with_url())
    await note("side by side", side_by_side())
    await note("logging", logging())
    if SECOND:
        await note("subscribe", subscribe())


async def main():
    async with connected() as client:
        await observe(client)
    print(json.dumps(seen, ensure_ascii=False))


asyncio.run(main())
