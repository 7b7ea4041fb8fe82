"""Starts what a client's file says, as the client would: `configured.py FILE`."""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(path):
    with open(path) as file:
        servers = json.load(file)["mcpServers"]
    [(name, entry)] = servers.items()
    # With the few variables that the SDK hands on, and those of the entry.
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=entry.get("env"))
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            called = await session.call_tool("everything__echo", {"message": "hello"})
            print(json.dumps({"name": name, "tools": tools, "echo": called.content[0].text}))


asyncio.run(main(sys.argv[1]))
