"""What is asked and told of targets and their actions."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.fleet.hawkbit.messages import Asked, Description, Links, Title, Told
from shared.contracts.cameras import ControllerId

SecurityToken = Annotated[str, StringConstraints(min_length=16, max_length=256, pattern=r"^[!-~]+$")]


class TargetIn(Asked):
    """A new target: a camera that gets images for swupdate, or whatever is assigned to it."""

    controller_id: ControllerId
    name: Title | None = Field(default=None, description="null: the controller id")
    description: Description = ""
    security_token: SecurityToken | None = Field(default=None, description="its TargetToken; null: one is made")


class TargetChange(Asked):
    """What is null stays."""

    name: Title | None = None
    description: Description | None = None
    security_token: SecurityToken | None = None


class PollStatus(Told):
    """When a target asked last."""

    last_request_at: int
    next_expected_request_at: int
    overdue: bool


class TargetOut(Told):
    """A target. Times in milliseconds since 1970."""

    controller_id: str
    name: str
    description: str
    update_status: Literal["unknown", "registered", "pending", "in_sync", "error"]
    security_token: str | None = Field(default=None, description="in the answer that made it only: a hash of it is kept")
    ip_address: str | None = None
    request_attributes: bool
    created_by: str
    created_at: int
    poll_status: PollStatus | None = None
    links: Links = Field(alias="_links")


class ActionOut(Told):
    """An action of a target."""

    id: int
    type: Literal["update", "cancel"]
    status: Literal["pending", "finished"]
    detail_status: str
    force_type: Literal["forced", "soft", "downloadonly"]
    created_at: int
    last_modified_at: int
    links: Links = Field(alias="_links")


class ActionStatusOut(Told):
    """What became of an action, or what the target said of it."""

    id: int
    type: str
    messages: list[str]
    reported_at: int
    timestamp: int
