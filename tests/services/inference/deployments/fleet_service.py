"""A fleet service as its contract has it, behind a real server; what is asked of it may get lost on the way."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from shared.contracts.base import new_id
from shared.contracts.rollouts import FleetPackageOut, PackageImport, PhaseOut, PhaseState, RolloutIn, RolloutOut, RolloutState

AT = "2026-01-01T00:00:00Z"
_VERBS = {
    "start": ({RolloutState.DRAFT}, RolloutState.RUNNING),
    "abort": ({RolloutState.RUNNING, RolloutState.PAUSED}, RolloutState.ABORTED),
    "rollback": (
        {RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.FINISHED, RolloutState.ABORTED},
        RolloutState.ROLLING_BACK,
    ),
}


class FleetService:
    """Rollouts in memory. ``before`` and ``after`` see each request, as ``POST rollouts``; what they give is answered."""

    def __init__(self) -> None:
        self.rollouts: dict[str, RolloutOut] = {}
        self.by_key: dict[str, RolloutOut] = {}
        self.packages = {"picosam2/1", "picosam2/2", "picosam2/3"}
        self.imported: list[str] = []
        self.asked: list[str] = []
        self.authorization: str | None = None
        self.before: Callable[[str], Response | None] = lambda _: None
        self.after: Callable[[str], Response | None] = lambda _: None

    def states(self) -> dict[str, str]:
        """Package and state of each rollout, oldest first."""
        return {f"{each.package} {number}": each.state.value for number, each in enumerate(self.rollouts.values())}

    def move(self, rollout_id: str, state: RolloutState, **changes: Any) -> None:
        self.rollouts[rollout_id] = self.rollouts[rollout_id].model_copy(update={"state": state, **changes})

    def do(self, rollout_id: str, verb: str) -> Response:
        found = self.rollouts.get(rollout_id)
        if found is None:
            return problem(404, "There is no such rollout.")
        allowed, state = _VERBS[verb]
        if found.state not in allowed:
            return problem(409, f"The rollout is {found.state}.")
        self.move(rollout_id, state)
        return answer(self.rollouts[rollout_id])

    def create(self, wanted: RolloutIn, key: str) -> Response:
        if wanted.group == "nowhere":
            return problem(404, "There is no group named 'nowhere'.")
        if key not in self.by_key:
            phases = [
                PhaseOut.model_validate({"number": n, "state": PhaseState.WAITING, "spec": spec, "cameras": 0, "counts": {}})
                for n, spec in enumerate(wanted.phases, 1)
            ]
            fields = {"id": new_id(), "name": wanted.name, "package": wanted.package, "spec": wanted, "phases": phases}
            made = RolloutOut.model_validate(fields | {"state": "draft", "created_at": AT, "created_by": "fleet"})
            self.by_key[key] = self.rollouts[made.id] = made
        return answer(self.by_key[key], 201)

    def app(self) -> FastAPI:
        """To be served."""
        app = FastAPI()
        root = "/v1/fleet/rollouts"

        @app.middleware("http")
        async def lost(request: Request, call_next: Any) -> Response:
            what = f"{request.method} {request.url.path.removeprefix('/v1/fleet/')}"
            self.asked.append(what)
            self.authorization = request.headers.get("authorization")
            instead = self.before(what)
            if instead is not None:
                return instead
            given: Response = await call_next(request)
            return self.after(what) or given

        @app.post("/v1/fleet/packages")
        def import_(body: PackageImport) -> Response:
            if body.package not in self.packages:
                return problem(404, f"The jobs service has no package {body.package}.")
            self.imported.append(body.package)
            fields = {"id": new_id(), "ref": body.package, "kind": "model", "files": [], "imported_at": AT, "imported_by": "x"}
            return answer(FleetPackageOut.model_validate(fields), 201)

        @app.post(root)
        def create(body: RolloutIn, request: Request) -> Response:
            return self.create(body, request.headers["Idempotency-Key"])

        @app.get(root)
        def list_all(state: RolloutState) -> dict[str, Any]:
            return {"items": [each for each in self.rollouts.values() if each.state is state], "next_cursor": None}

        @app.get(root + "/{rollout_id}")
        def read(rollout_id: str) -> Response:
            found = self.rollouts.get(rollout_id)
            return problem(404, "There is no such rollout.") if found is None else answer(found)

        @app.delete(root + "/{rollout_id}", status_code=204)
        def delete(rollout_id: str) -> None:
            self.rollouts.pop(rollout_id)

        @app.post(root + "/{rollout_id}/{verb}")
        def do(rollout_id: str, verb: str) -> Response:
            return self.do(rollout_id, verb)

        return app


def answer(model: Any, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, media_type="application/json")


def problem(status: int, detail: str) -> Response:
    return JSONResponse({"type": "/problems/x", "title": "x", "status": status, "detail": detail}, status)
