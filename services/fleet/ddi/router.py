"""Routes of the device API. All take the request alone (see ``routes``): a poll must cost little more than its query."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from services.fleet.cameras.models import Camera
from services.fleet.cameras.registering import CameraExists
from services.fleet.ddi import artifacts, attributes, deployments, feedback, samples, telemetry
from services.fleet.ddi.admission import enrol
from services.fleet.ddi.caller import caller_as, caller_of
from services.fleet.ddi.errors import (
    ActionGone,
    AttributesTooLarge,
    DeviceActionNotFound,
    DownloadNotFound,
    InvalidControllerId,
    NoMoreCameras,
    NothingToCancel,
    NothingToConfirm,
    NotLetIn,
    NotOffered,
    SampleInvalid,
    SampleNotWanted,
    TenantNotFound,
    TooManySamples,
)
from services.fleet.ddi.polls import answer_poll
from services.fleet.ddi.routes import DeviceRoute, admitted, bodies_as, body_as, described, rendered, segment
from services.fleet.packages.models import PackageFile
from services.fleet.runtime import get_services
from shared.contracts.cameras import EnrolIn, EnrolOut, SampleIn, Telemetry
from shared.contracts.ddi import CancelAction, ConfigData, ConfirmationBase, DeploymentBase, Feedback, Poll
from shared.kit.problems import InvalidJson, InvalidRequest, PayloadTooLarge

POLL_ROUTE: Final = "/{tenant}/controller/v1/{controller_id}"
ENROL_ROUTE: Final = "/v1/fleet/enrol"

router = APIRouter(tags=["devices"], route_class=DeviceRoute)

_DOOR: Final = (TenantNotFound, InvalidControllerId, NotLetIn)
_ACTION: Final = (DeviceActionNotFound, ActionGone)
_BODY: Final = (InvalidJson, InvalidRequest, PayloadTooLarge)


@router.get(**described(POLL_ROUTE, *_DOOR, NoMoreCameras, answer=Poll))
async def poll(request: Request) -> Response:
    """What there is to do, and when to ask again."""
    services = get_services(request)
    caller = caller_of(request, services.settings)
    polls = services.metrics.polls
    try:
        answer = await run_in_threadpool(answer_poll, services, caller)
    except (NotLetIn, NoMoreCameras):
        polls.labels("refused").inc()
        raise
    headers = {"ETag": answer.etag.decode()}
    if request.headers.get("if-none-match") == headers["ETag"]:
        polls.labels("database_unchanged").inc()
        return Response(status_code=304, headers=headers)
    polls.labels("database").inc()
    return Response(answer.body, headers=headers, media_type="application/json")


@router.get(**described(POLL_ROUTE + "/deploymentBase/{action_id}", *_DOOR, *_ACTION, NotOffered, answer=DeploymentBase))
async def get_deployment(request: Request) -> Response:
    """What is to be installed. `?actionHistory=-1`: with all that was said of it."""
    history = request.query_params.get("actionHistory")
    action_id = segment(request, "action_id")

    def work(session: Session, camera: Camera, root: str) -> DeploymentBase:
        return deployments.deployment_base(session, camera, action_id, root, history)

    return rendered(await admitted(request, work))


@router.get(**described(POLL_ROUTE + "/installedBase/{action_id}", *_DOOR, DeviceActionNotFound, answer=DeploymentBase))
async def get_installed(request: Request) -> Response:
    """What was installed."""
    history = request.query_params.get("actionHistory")
    action_id = segment(request, "action_id")

    def work(session: Session, camera: Camera, root: str) -> DeploymentBase:
        return deployments.installed_base(session, camera, action_id, root, history)

    return rendered(await admitted(request, work, reading=True))


@router.post(
    **described(POLL_ROUTE + "/deploymentBase/{action_id}/feedback", *_DOOR, *_ACTION, *_BODY, body=Feedback),
)
async def post_feedback(request: Request) -> Response:
    """How it goes. The same once more changes nothing."""
    told = await body_as(request, Feedback)
    action_id = segment(request, "action_id")

    def work(session: Session, camera: Camera, root: str) -> ActionGone | None:
        del root
        return feedback.take(session, camera, action_id, told.status)

    return rendered(await admitted(request, work))


@router.get(**described(POLL_ROUTE + "/cancelAction/{action_id}", *_DOOR, *_ACTION, NothingToCancel, answer=CancelAction))
async def get_cancel(request: Request) -> Response:
    """Which action is to stop."""
    action_id = segment(request, "action_id")

    def work(session: Session, camera: Camera, root: str) -> CancelAction:
        del root
        return deployments.cancel_action(session, camera, action_id)

    return rendered(await admitted(request, work, reading=True))


@router.post(
    **described(
        POLL_ROUTE + "/cancelAction/{action_id}/feedback",
        *_DOOR,
        *_ACTION,
        NothingToCancel,
        *_BODY,
        body=Feedback,
    ),
)
async def post_cancel_feedback(request: Request) -> Response:
    """Whether it has stopped."""
    told = await body_as(request, Feedback)
    action_id = segment(request, "action_id")

    def work(session: Session, camera: Camera, root: str) -> ActionGone | None:
        del root
        return feedback.take_cancel(session, camera, action_id, told.status)

    return rendered(await admitted(request, work))


@router.get(**described(POLL_ROUTE + "/confirmationBase", *_DOOR, answer=ConfirmationBase))
async def get_confirmation(request: Request) -> Response:
    """Nothing ever waits for a confirmation on the device: people approve rollouts and phases."""

    def work(session: Session, camera: Camera, root: str) -> ConfirmationBase:
        del session, camera, root
        return ConfirmationBase()

    return rendered(await admitted(request, work, reading=True))


@router.post(**described(POLL_ROUTE + "/confirmationBase/activateAutoConfirm", *_DOOR))
@router.post(**described(POLL_ROUTE + "/confirmationBase/deactivateAutoConfirm", *_DOOR))
async def post_auto_confirm(request: Request) -> Response:
    """Taken note of, and without effect: nothing waits for a confirmation either way."""

    def work(session: Session, camera: Camera, root: str) -> None:
        del session, camera, root

    return rendered(await admitted(request, work, reading=True))


@router.get(**described(POLL_ROUTE + "/confirmationBase/{action_id}", *_DOOR, NothingToConfirm))
@router.post(**described(POLL_ROUTE + "/confirmationBase/{action_id}/feedback", *_DOOR, NothingToConfirm))
async def no_confirmation(request: Request) -> Response:
    """There is none."""
    action_id = segment(request, "action_id")

    def work(session: Session, camera: Camera, root: str) -> None:
        del session, camera, root
        raise NothingToConfirm(f"Action {action_id[:40]!r} waits for no confirmation.")

    return rendered(await admitted(request, work, reading=True))


@router.put(**described(POLL_ROUTE + "/configData", *_DOOR, AttributesTooLarge, *_BODY, body=ConfigData))
async def put_attributes(request: Request) -> Response:
    """What the device tells of itself."""
    told = await body_as(request, ConfigData)
    max_bytes = get_services(request).settings.max_attributes_bytes

    def work(session: Session, camera: Camera, root: str) -> None:
        del root
        attributes.tell(session, camera, told, max_bytes=max_bytes)

    return rendered(await admitted(request, work))


@router.post(**described(POLL_ROUTE + "/telemetry", *_DOOR, *_BODY, body=Telemetry))
async def post_telemetry(request: Request) -> Response:
    """How the camera fared since it told last. Ours alone; hawkBit has none."""
    told = await body_as(request, Telemetry)

    def work(session: Session, camera: Camera, root: str) -> None:
        del root
        telemetry.keep(session, camera, told)

    return rendered(await admitted(request, work))


@router.post(
    **described(POLL_ROUTE + "/samples", *_DOOR, SampleInvalid, SampleNotWanted, TooManySamples, *_BODY, body=SampleIn),
)
async def post_samples(request: Request) -> Response:
    """One window with its mask, or a list of at most 16. All are kept, or none."""
    told = await bodies_as(request, SampleIn, most=samples.MOST_AT_ONCE)
    await admitted(request, lambda *_: None, reading=True)  # strangers' pictures are not worth decoding
    pictures = await run_in_threadpool(lambda: [samples.decoded(sample, number) for number, sample in enumerate(told)])

    def work(session: Session, camera: Camera, root: str) -> None:
        del root
        samples.store(session, camera, told, pictures)

    return rendered(await admitted(request, work))


@router.get(**described(POLL_ROUTE + "/softwaremodules/{module}/artifacts", *_DOOR, DownloadNotFound))
async def list_artifacts(request: Request) -> Response:
    """The files of a chunk."""
    module = segment(request, "module")

    def work(session: Session, camera: Camera, root: str) -> Response:
        found = artifacts.listed(session, camera, module, root)
        return JSONResponse([each.model_dump(mode="json", by_alias=True) for each in found])

    return rendered(await admitted(request, work, reading=True))


@router.head(POLL_ROUTE + "/softwaremodules/{module}/artifacts/{filename}", include_in_schema=False, response_model=None)
@router.get(**described(POLL_ROUTE + "/softwaremodules/{module}/artifacts/{filename}", *_DOOR, DownloadNotFound))
async def download(request: Request) -> Response:
    """A file, or its MD5 sum as `<filename>.MD5SUM`. Ranges and ETag as RFC 9110 has them."""
    module, filename = segment(request, "module"), segment(request, "filename")

    def work(session: Session, camera: Camera, root: str) -> PackageFile | Response:
        del root
        return artifacts.find(session, camera, module, filename)

    found = await admitted(request, work, reading=True)
    if isinstance(found, PackageFile):
        return await run_in_threadpool(artifacts.serve, request, get_services(request).blobs, found)
    return rendered(found)


@router.post(**described(ENROL_ROUTE, NotLetIn, NoMoreCameras, CameraExists, *_BODY, body=EnrolIn, answer=EnrolOut))
async def post_enrol(request: Request) -> Response:
    """With `Authorization: GatewayToken <a provisioning token>`: register, and get a token of its own."""
    services = get_services(request)
    wanted = await body_as(request, EnrolIn)
    caller = caller_as(request, services.settings, wanted.controller_id)

    def work() -> EnrolOut:
        with services.sessions.begin() as session:
            return enrol(session, caller)

    return rendered(await run_in_threadpool(work), status=201)
