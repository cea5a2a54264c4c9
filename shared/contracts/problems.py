"""The one shape of every error (RFC 9457)."""

from pydantic import BaseModel, ConfigDict


class FieldError(BaseModel):
    """One thing wrong in a request."""

    field: str
    message: str
    hint: str | None = None


class ProblemDetails(BaseModel):
    """application/problem+json. Further members depend on the type."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    hint: str | None = None
    errors: list[FieldError] | None = None
