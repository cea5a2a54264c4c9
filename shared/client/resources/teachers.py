"""Published teachers over REST."""

from shared.client.transport import Transport
from shared.contracts.distillation import TeacherOut


class Teachers:
    """`/v1/teachers`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> "list[TeacherOut]":
        """The published checkpoints, and which of them the platform has."""
        answer = self._transport.call("GET", "/v1/teachers").json()
        items = answer["items"] if isinstance(answer, dict) else answer
        return [TeacherOut.model_validate(item) for item in items]
