"""Requests and answers of the job routes that no other process needs to know."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Timestamp
from shared.contracts.jobs import JobKind, JobState

TAG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}=[^\x00]{0,256}$"


class Retry(BaseModel):
    """How to take a job up again."""

    model_config = ConfigDict(extra="forbid")

    from_checkpoint: bool = Field(default=True, description="false: forget the last checkpoint and begin anew")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilters:
    """`?kind=&state=&owner=&name=&tag=&dataset=&parent=` of the list."""

    kind: Annotated[list[JobKind] | None, Query(max_length=16)] = None
    state: Annotated[list[JobState] | None, Query(max_length=16)] = None
    owner: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$", description="name of the key that submitted")] = (
        None
    )
    name: Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00]*$")] = None
    tag: Annotated[list[Annotated[str, Field(pattern=TAG_PATTERN)]] | None, Query(max_length=32, description="key=value")] = (
        None
    )
    dataset: Annotated[str | None, Query(max_length=63, pattern=r"^[^\x00]*$", description="name or id")] = None
    parent: Annotated[
        str | None, Query(max_length=36, pattern=r"^[^\x00]*$", description="id of the pipeline or sweep that made the job")
    ] = None


class LogLineOut(BaseModel):
    """One line. ``seq`` is the number of its event."""

    seq: int
    at: Timestamp
    level: str
    message: str


class LogLinesOut(BaseModel):
    """Lines in order. Ask on with ``?after=<next_after>``; None: these are all there are so far."""

    items: list[LogLineOut]
    next_after: int | None
