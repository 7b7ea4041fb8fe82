"""A server on the Python SDK, with one of everything: `with_sdk.py stdio`, or `with_sdk.py http PORT`."""

import base64
import sys

from mcp.server.mcpserver import Context, Image, MCPServer
from pydantic import BaseModel

server = MCPServer("with-sdk", version="1.2.3", instructions="Use it well.")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Weather(BaseModel):
    """A report."""

    city: str
    celsius: float
    words: list[str]
    wind: dict[str, int | None]


@server.tool(title="Adds")
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def weather(city: str) -> Weather:
    """A structured result."""
    return Weather(city=city, celsius=21.5, words=["sonnig", "☀", "\u200b"], wind={"n": 3, "s": None})


@server.tool()
def picture() -> Image:
    """An image."""
    return Image(data=PIXEL, format="png")


@server.tool()
def fails(why: str) -> str:
    """An error of a tool."""
    raise ValueError(why)


@server.tool()
async def counts(to: int, ctx: Context) -> str:
    """Progress on the way."""
    for n in range(to):
        await ctx.report_progress(n, to, f"{n} of {to}")
    return str(to)


@server.resource("memo://today", mime_type="text/markdown")
def today() -> str:
    """A text."""
    return "# today"


@server.resource("memo://pixel", mime_type="image/png")
def pixel() -> bytes:
    """Bytes."""
    return PIXEL


@server.resource("memo://of/{who}")
def of(who: str) -> str:
    """A template."""
    return f"for {who}"


@server.prompt(title="Greets")
def greet(whom: str, how: str = "warmly") -> str:
    """A prompt with arguments."""
    return f"Greet {whom} {how}."


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run("streamable-http", port=int(sys.argv[2]))
