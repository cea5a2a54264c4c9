"""Routes of provisioning tokens."""

from typing import Annotated

from fastapi import APIRouter, Path, status
from fastapi.responses import Response

from services.fleet.cameras import tokens_service
from services.fleet.cameras.errors import ProvisioningTokenNameTaken, ProvisioningTokenNotFound, TokenAlreadyShown
from shared.contracts.cameras import ProvisioningTokenCreated, ProvisioningTokenIn, ProvisioningTokenOut
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.kit.auth import AdminActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/provisioning-tokens")
_ADMIN = [requires(Scope.ADMIN)]
TokenId = Annotated[str, Path(min_length=1, max_length=64)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=ProvisioningTokenCreated,
    responses=problem_responses(ProvisioningTokenNameTaken, TokenAlreadyShown, IdempotencyConflict, InvalidRequest),
)
def create(body: ProvisioningTokenIn, session: SessionDep, once: OnceDep, actor: AdminActor) -> Response:
    """Make a token with which devices register themselves. It is shown in this answer only."""
    return once.answer_secretly(body, lambda: tokens_service.create(session, body, actor=actor), already=TokenAlreadyShown)


@router.get("", response_model=Page[ProvisioningTokenOut], dependencies=_ADMIN)
def list_all(session: SessionDep, page: PageDep) -> Page[ProvisioningTokenOut]:
    """Tokens, newest first, revoked ones included."""
    rows, following = tokens_service.page(session, page)
    return Page(items=[tokens_service.shown(row) for row in rows], next_cursor=following)


@router.delete("/{token_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problem_responses(ProvisioningTokenNotFound))
def revoke(token_id: TokenId, session: SessionDep, actor: AdminActor) -> None:
    """Let nobody in with it any more. Cameras that came with it and have a token of their own stay."""
    tokens_service.revoke(session, token_id, actor=actor)
