"""What hawkBit's management API may refuse, and why.

Every problem of its routes also has the members that hawkBit's clients read: `exceptionClass`, `errorCode`, `message`.

BadRequest
└── NotSupported
Unauthorized
└── BasicUnauthorized
NotFound
├── TargetNotFound
├── TargetActionNotFound
├── ModuleNotFound
├── ModuleArtifactNotFound
├── SetNotFound
└── ConfigNotFound
Forbidden
└── ConfigNotReadable
Conflict
├── ModuleExists
├── ArtifactExists
├── UploadLost
├── SetExists
├── SetIncomplete
├── SetInUse
├── ModuleInUse
├── ActionNotOpen
└── NotCancelledYet
InvalidRequest
└── ChecksumDiffers
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from shared.kit.problems import BadRequest, Conflict, Forbidden, InvalidRequest, NotFound, Problem, Unauthorized, field_errors


class NotSupported(BadRequest):
    """A part of hawkBit's API that this service does not have."""

    title = "Not supported here"
    hint = "docs/stock-clients.md lists what is there; leave the rest out"


class BasicUnauthorized(Unauthorized):
    """As Unauthorized, for clients that speak HTTP Basic."""

    hint = "send an API key as the password of HTTP Basic, or as `Authorization: Bearer pf_...`"

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 9110 asks for."""
        return {"WWW-Authenticate": 'Basic realm="picofleet", charset="UTF-8"'}


class TargetNotFound(NotFound):
    """No camera has this controller id."""

    title = "No such target"
    hint = "`GET /rest/v1/targets` lists the targets"


class TargetActionNotFound(NotFound):
    """The target has no action of this number."""

    title = "No such action of this target"
    hint = "`GET /rest/v1/targets/{id}/actions` lists them"


class ModuleNotFound(NotFound):
    """No module has this number."""

    title = "No such software module"
    hint = "`GET /rest/v1/softwaremodules` lists the modules"


class ModuleArtifactNotFound(NotFound):
    """The module has no artifact of this number."""

    title = "No such artifact of this module"
    hint = "`GET /rest/v1/softwaremodules/{id}/artifacts` lists them"


class SetNotFound(NotFound):
    """No set has this number."""

    title = "No such distribution set"
    hint = "`GET /rest/v1/distributionsets` lists the sets"


class ConfigNotFound(NotFound):
    """There is no setting of this name."""

    title = "No such setting"
    hint = "`GET /rest/v1/system/configs` lists the settings"


class ConfigNotReadable(Forbidden):
    """The setting is a secret of which only a hash is kept."""

    title = "Not shown again"
    hint = "set a new one"


class ModuleExists(Conflict):
    """Another module has this name, version and type."""

    title = "Software module exists"
    hint = "give it another version"


class ArtifactExists(Conflict):
    """The module has a file of this name."""

    title = "Artifact exists"
    hint = "upload it under another name, or delete the one that is there"


class UploadLost(Conflict):
    """Others who had the same bytes removed them."""

    title = "Upload lost"
    hint = "send it again"


class SetExists(Conflict):
    """Another package has this name and version."""

    title = "Distribution set exists"
    hint = "give it another version"


class SetIncomplete(Conflict):
    """Nothing to install."""

    title = "Distribution set without artifacts"
    hint = "upload an artifact to one of its modules"


class SetInUse(Conflict):
    """Cameras are at it, or a rollout has it."""

    title = "Distribution set in use"
    hint = "cancel its actions first"


class ModuleInUse(Conflict):
    """Targets have got it as it is."""

    title = "Software module in use"
    hint = "make a module of another version"


class ActionNotOpen(Conflict):
    """It has come to its end."""

    title = "Action is closed"
    hint = "read it: there is nothing left to cancel"


class NotCancelledYet(Conflict):
    """An action can be ended by force only after the target was asked to cancel it."""

    title = "Cancel it first"
    hint = "the same request without force=true asks the target"


class ChecksumDiffers(InvalidRequest):
    """The bytes that arrived are not those that were announced."""

    title = "Checksum differs from the content"
    hint = "the content was changed or cut on its way: send it again"


_CODES: Final = {
    400: "hawkbit.server.error.rest.body.notReadable",
    401: "hawkbit.server.error.insufficientpermission",
    403: "hawkbit.server.error.insufficientpermission",
    # Misspelt in hawkBit as well, and clients compare it letter by letter.
    404: "hawkbit.server.error.repo.entitiyNotFound",
    409: "hawkbit.server.error.repo.entitiyAlreayExists",
    413: "hawkbit.server.error.quota.tooManyEntries",
    422: "hawkbit.server.error.rest.body.notReadable",
}
_OTHERWISE: Final = "hawkbit.server.error.repo.genericError"


class HawkbitRoute(APIRoute):
    """A route whose problems have the members that hawkBit's clients read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for another way to the endpoint."""
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as exc:
                raise _told(_invalid(exc)) from exc
            except Problem as problem:
                raise _told(problem) from problem.__cause__

        return translated


def _invalid(exc: RequestValidationError) -> Problem:
    errors = field_errors(exc.errors())
    return InvalidRequest("; ".join(f"{error['field']}: {error['message']}" for error in errors[:3]), errors=errors)


def _told(problem: Problem) -> Problem:
    # hawkBit names a class of its own source there; clients print it.
    problem.members |= {
        "exceptionClass": type(problem).__name__,
        "errorCode": _CODES.get(problem.status, _OTHERWISE),
        "message": problem.detail,
    }
    return problem
