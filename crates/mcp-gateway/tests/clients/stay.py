"""Clients of the Python SDK that stay: `stay.py URL ERA COUNT`. See `stay.mjs`."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import mcp

URL, ERA, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def connect(stack):
    if hasattr(mcp, "Client"):
        return await stack.enter_async_context(mcp.Client(URL, mode=ERA))
    from mcp.client.streamable_http import streamablehttp_client

    read, write, _ = await stack.enter_async_context(streamablehttp_client(URL))
    session = await stack.enter_async_context(mcp.ClientSession(read, write))
    await session.initialize()
    return session


async def call(client, message):
    try:
        calling = client.call_tool("test__echo", {"message": message})
        return (await asyncio.wait_for(calling, 20)).content[0].text
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def main():
    async with AsyncExitStack() as stack:
        clients = [await connect(stack) for _ in range(COUNT)]
        print(json.dumps({"connected": len(clients)}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            message = line.removesuffix("\n")
            answers = await asyncio.gather(*(call(client, message) for client in clients))
            print(json.dumps({"answers": answers}), flush=True)


asyncio.run(main())
