"""What a poll that reaches the database is answered."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row

from services.fleet.ddi import repository
from services.fleet.ddi.admission import holds, may_speak, not_let_in, register_itself
from services.fleet.ddi.caller import GATEWAY, TARGET, Caller
from services.fleet.ddi.offering import is_offered
from services.fleet.runtime import Services
from shared.contracts.rollouts import ActionState
from shared.kit.database import begin_reading

KEPT_S: Final = 3600.0
"""How long an answer is remembered at most. All that changes one touches its camera, so this is for what nobody thought of."""

_LONGEST_S: Final = 24 * 3600 - 1
"""DDI has a time of the day here."""


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """A body and its strong ETag."""

    body: bytes
    etag: bytes


def answer_poll(services: Services, caller: Caller) -> PollAnswer:
    """The answer, and remember it if it is the same until something changes. NotLetIn, NoMoreCameras.

    An unknown device that shows a provisioning token is registered.
    """
    generations = services.polls.generations()  # before the database is read: see polling.memory
    answered = _read(services, caller, generations)
    if answered is None and caller.scheme == GATEWAY:
        register_itself(services, caller)
        answered = _read(services, caller, generations)
    if answered is None:
        raise not_let_in(caller)
    return answered


async def answer_known(services: Services, caller: Caller) -> PollAnswer | None:
    """As ``answer_poll``, for little: where a known device shows its own token, and no action of its may have to wait.

    None: it is for ``answer_poll`` to say.
    """
    if caller.scheme != TARGET:
        return None
    row, generations = await services.reads.read(caller.controller_id)
    if row is None or row.state == ActionState.PENDING or not holds(caller, row.token_hash):
        return None
    return _answered(services, caller, row, generations, offered=row.action_id is not None)


def _read(services: Services, caller: Caller, generations: Sequence[int]) -> PollAnswer | None:
    """None: nobody knows the device."""
    row = repository.poll_row(services.engine, caller.controller_id)
    if row is None:
        return None
    offered = row.action_id is not None
    if not holds(caller, row.token_hash) or row.state == ActionState.PENDING:
        with services.sessions.begin() as session:
            begin_reading(session)
            if not may_speak(session, caller, row.token_hash, row.provisioned_by):
                raise not_let_in(caller)
            offered = offered and (row.state != ActionState.PENDING or is_offered(session, row.id, row.package_id))
    return _answered(services, caller, row, generations, offered=offered)


def _answered(services: Services, caller: Caller, row: Row[Any], generations: Sequence[int], *, offered: bool) -> PollAnswer:
    """For a caller that was let in."""
    services.polls.heard(row.id, caller.address)
    answer = _rendered(services, caller, row, offered=offered)
    # A camera that has something to do asks the database each time: so nothing need be forgotten when maintenance opens, and
    # when a package is deleted. A provisioning token's revocation counts at once, as it touches no camera.
    if row.action_id is None and caller.scheme == TARGET:
        _remember(services, caller, row, answer, generations)
    return answer


def _remember(services: Services, caller: Caller, row: Row[Any], answer: PollAnswer, generations: Sequence[int]) -> None:
    services.polls.put(
        caller.controller_id,
        row.id,
        caller.authorization,
        caller.base,
        etag=answer.etag,
        body=answer.body,
        generations=generations,
        keep_s=KEPT_S,
    )


def _rendered(services: Services, caller: Caller, row: Row[Any], *, offered: bool) -> PollAnswer:
    busy = row.restless or row.action_id is not None
    quiet_s = services.polls.quiet_s or services.settings.poll_s
    sleep_s = min(services.settings.busy_poll_s, quiet_s) if busy else quiet_s
    links = _links(caller.root, row, offered=offered)
    hal = {name: {"href": url} for name, url in links.items()}
    document = {"config": {"polling": {"sleep": sleep(sleep_s)}}, "_links": hal}
    body = json.dumps(document, separators=(",", ":")).encode()
    return PollAnswer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'.encode())


def _links(root: str, row: Row[Any], *, offered: bool) -> dict[str, str]:
    links = {}
    if offered and row.cancel_requested_at is not None:
        links["cancelAction"] = f"{root}/cancelAction/{row.action_id}"
    elif offered:
        links["deploymentBase"] = f"{root}/deploymentBase/{row.action_id}?c={content_mark(row)}"
    if row.attributes_wanted:
        links["configData"] = f"{root}/configData"
    if row.installed_id is not None:
        links["installedBase"] = f"{root}/installedBase/{row.installed_id}"
    return links


def content_mark(row: Row[Any]) -> int:
    """hawkBit's `?c=`: another number when what lies behind the link is another."""
    return zlib.crc32(f"{row.action_id} {row.package_id} {row.forced}".encode())


def sleep(seconds: int) -> str:
    """As HH:MM:SS."""
    minutes, s = divmod(min(seconds, _LONGEST_S), 60)
    h, m = divmod(minutes, 60)
    return f"{h:02}:{m:02}:{s:02}"
