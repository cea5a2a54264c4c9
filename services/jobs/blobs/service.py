"""Takes an upload into the blob store without blocking the event loop or holding it in memory."""

from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool

from shared.contracts.base import Digest
from shared.contracts.worker import BlobOut
from shared.kit.blobs import CHUNK, BlobStore, Incoming


async def receive(store: BlobStore, chunks: AsyncIterator[bytes], expected: Digest | None, max_bytes: int) -> BlobOut:
    """Store what ``chunks`` yields. Nothing is kept when the client leaves.

    Raises BlobTooLarge and DigestMismatch; nothing is kept then either.
    """
    incoming = await run_in_threadpool(store.begin, max_bytes=max_bytes)
    with incoming:
        await _copy(chunks, incoming)
        stored = await run_in_threadpool(incoming.commit, expected)
    return BlobOut(digest=stored.digest, size_bytes=stored.size_bytes)


async def _copy(chunks: AsyncIterator[bytes], incoming: Incoming) -> None:
    # The server hands over pieces of 64 KiB at most: gathered, a thread is needed once per MiB only.
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= CHUNK:
            await run_in_threadpool(incoming.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(incoming.write, bytes(waiting))
