"""The gRPC server by itself: what it refuses before any of our code is asked."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import tritonclient.grpc.aio as triton
from fastapi import FastAPI
from tritonclient.utils import InferenceServerException

from services.inference.oip.grpc_server import start


@asynccontextmanager
async def running(**options):
    """A server of an app that has nothing, and a client of it."""
    server = await start(FastAPI(), **({"host": "127.0.0.1", "port": 0, "max_bytes": 1000} | options))
    try:
        async with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            yield server, client
    finally:
        await server.stop()


async def status_of(asked):
    with pytest.raises(InferenceServerException) as refusal:
        await asked
    return refusal.value.status()


def test_too_large_messages_and_methods_that_are_not_offered_are_refused():
    async def ask():
        async with running() as (_, client):
            assert await client.is_server_live()
            assert await status_of(client.infer("street", [], request_id="x" * 2000)) == "StatusCode.RESOURCE_EXHAUSTED"
            assert await status_of(client.get_inference_statistics()) == "StatusCode.UNIMPLEMENTED"

    asyncio.run(ask())


def test_a_defect_is_answered_without_telling_of_the_inside():
    async def ask():
        async with running() as (_, client):
            with pytest.raises(InferenceServerException, match="failed inside the service") as refusal:
                await client.get_server_metadata()
            assert refusal.value.status() == "StatusCode.INTERNAL"

    asyncio.run(ask())


def test_a_port_is_not_shared_with_another_server():
    async def ask():
        async with running() as (server, _):
            with pytest.raises(OSError, match="cannot listen"):
                await start(FastAPI(), host="127.0.0.1", port=server.port, max_bytes=1000)

    asyncio.run(ask())
