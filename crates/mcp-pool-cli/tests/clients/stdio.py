"""The Python SDK over `mcp-pool connect`: `stdio.py PROGRAM`."""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main():
    args = ["connect", "--client", "python"]
    server = StdioServerParameters(command=sys.argv[1], args=args, env=dict(os.environ))
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            listed = any(tool.name == "test__echo" for tool in (await session.list_tools()).tools)
            called = await session.call_tool("test__echo", {"message": "héllo ☀"})
            try:
                refused = await session.call_tool("test__none", {})
                error = bool(getattr(refused, "isError", getattr(refused, "is_error", False)))
            except Exception:
                error = True
            print(json.dumps({"listed": listed, "echo": called.content[0].text, "error": error}))


asyncio.run(main())
