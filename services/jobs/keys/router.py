"""Routes of API keys."""

from fastapi import APIRouter, status
from fastapi.responses import Response

from services.jobs.keys import service
from services.jobs.keys.errors import KeyExpiresInThePast, KeyNameTaken, KeyNotFound, LastAdminKey, SecretAlreadyShown
from services.jobs.keys.models import ApiKey
from shared.contracts.keys import KeyCreated, KeyIn, KeyOut, Scope
from shared.contracts.pages import Page
from shared.kit.auth import AnyActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/v1/keys", tags=["keys"])
_ADMIN = [requires(Scope.ADMIN)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=KeyCreated,
    dependencies=_ADMIN,
    responses=problem_responses(KeyNameTaken, KeyExpiresInThePast, SecretAlreadyShown),
)
def create(body: KeyIn, session: SessionDep, once: OnceDep) -> Response:
    """Make a key. Its secret is shown in this answer only."""
    return once.answer_secretly(body, lambda: service.create_key(session, body), already=SecretAlreadyShown)


@router.get("", response_model=Page[KeyOut], dependencies=_ADMIN)
def list_all(session: SessionDep, page: PageDep) -> Page[KeyOut]:
    """All keys, newest first."""
    rows, following = service.list_keys(session, page)
    return Page(items=[KeyOut.model_validate(row) for row in rows], next_cursor=following)


@router.get("/self", response_model=KeyOut)
def read_self(session: SessionDep, actor: AnyActor) -> ApiKey:
    """The key that asks."""
    return service.get_key(session, actor.key_id)


@router.get("/{key_id}", response_model=KeyOut, dependencies=_ADMIN, responses=problem_responses(KeyNotFound))
def read(key_id: str, session: SessionDep) -> ApiKey:
    """One key."""
    return service.get_key(session, key_id)


@router.delete(
    "/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=_ADMIN,
    responses=problem_responses(KeyNotFound, LastAdminKey),
)
def revoke(key_id: str, session: SessionDep) -> None:
    """Revoke a key at once."""
    service.revoke_key(session, key_id)
