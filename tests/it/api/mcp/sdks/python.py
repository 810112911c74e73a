"""The official Python SDK as a client: python.py FOLDER URL PROGRAM, with the token in AGENT_RELAY_TOKEN.

FOLDER has the package `mcp` in version 1 or 2. For each version of the protocol that it speaks, over HTTP and by
PROGRAM over standard input and output, one line of JSON tells what came of a conversation.
"""

import asyncio
import importlib.metadata
import json
import os
import sys

FOLDER, URL, PROGRAM = sys.argv[1:]
sys.path.insert(0, FOLDER)
TOKEN = os.environ["AGENT_RELAY_TOKEN"]
IS_FIRST = importlib.metadata.version("mcp").startswith("1.")
ENVIRONMENT = {name: os.environ[name] for name in ("HOME", "PATH", "AGENT_RELAY_URL", "AGENT_RELAY_TOKEN")}
HANDSHAKES = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


async def converse(client, called):
    """Lists the tools and calls some."""
    tools = await client.list_tools()
    found = {"tools": [tool.name for tool in tools.tools]}
    for name, tool, arguments in [
        ("whoami", "whoami", {}),
        ("sent", "send", {"to": "sdk", "body": "by an SDK"}),
        ("inbox", "inbox", {}),
        ("refused", "read", {"id": 999999}),
    ]:
        result = called(await client.call_tool(tool, arguments))
        found[name] = {"isError": result[0], "text": result[1].content[0].text}
    try:
        await client.call_tool("nonsense", {})
        found["unknown"] = None
    except Exception as error:  # noqa: BLE001: whatever it is, it is told
        found["unknown"] = str(error)
    return found


async def first(transport, version):
    """A conversation by version 1 of the SDK."""
    import mcp.types
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client

    mcp.types.LATEST_PROTOCOL_VERSION = version
    if transport == "http":
        streams = streamablehttp_client(URL, headers={"Authorization": f"Bearer {TOKEN}"})
    else:
        streams = stdio_client(StdioServerParameters(command=PROGRAM, args=["mcp"], env=ENVIRONMENT))
    async with streams as opened, ClientSession(opened[0], opened[1]) as session:
        hello = await session.initialize()
        found = await converse(session, lambda result: (result.isError, result))
        return {"agreed": hello.protocolVersion, "server": hello.serverInfo.name, **found}


async def second(transport, version):
    """A conversation by version 2 of the SDK."""
    import httpx2
    import mcp.client.session
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters
    from mcp.client.streamable_http import streamable_http_client

    mode = version
    if version in HANDSHAKES:
        mcp.client.session.LATEST_HANDSHAKE_VERSION = version
        mode = "legacy"
    if transport == "http":
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"})
        server = streamable_http_client(URL, http_client=http)
    else:
        server = StdioServerParameters(command=PROGRAM, args=["mcp"], env=ENVIRONMENT)
    async with Client(server, mode=mode) as client:
        found = await converse(client, lambda result: (result.is_error, result))
        info = client.server_info
        return {"agreed": client.protocol_version, "server": info.name if info else None, **found}


async def main():
    versions = HANDSHAKES if IS_FIRST else [*HANDSHAKES, "2026-07-28", "auto"]
    for transport in ["http", "stdio"]:
        for version in versions:
            talk = (first if IS_FIRST else second)(transport, version)
            found = await asyncio.wait_for(talk, 60)
            print(json.dumps({"transport": transport, "asked": version, **found}), flush=True)


asyncio.run(main())
