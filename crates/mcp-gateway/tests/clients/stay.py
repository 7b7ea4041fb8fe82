"""Clients of the Python SDK that stay: `stay.py URL ERA COUNT`. See `stay.mjs`."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import mcp

URL, ERA, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
LOST = [0] * COUNT


async def connect(stack, number):
    async def log(params):
        LOST[number] += "is lost" in str(params.data)

    if hasattr(mcp, "Client"):
        client = mcp.Client(URL, mode=ERA, logging_callback=log)
        return await stack.enter_async_context(client)
    from mcp.client.streamable_http import streamablehttp_client

    read, write, _ = await stack.enter_async_context(streamablehttp_client(URL))
    session = mcp.ClientSession(read, write, logging_callback=log)
    session = await stack.enter_async_context(session)
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
        clients = [await connect(stack, number) for number in range(COUNT)]
        print(json.dumps({"connected": len(clients)}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            message = line.removesuffix("\n")
            LOST[:] = [0] * COUNT
            answers = await asyncio.gather(*(call(client, message) for client in clients))
            print(json.dumps({"answers": answers, "lost": LOST}), flush=True)


asyncio.run(main())
