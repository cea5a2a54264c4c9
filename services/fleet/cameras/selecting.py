"""Selectors as SQL."""

from sqlalchemy import ColumnElement, Select, exists, select

from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.cameras.selector import Operator, Selector, SelectorInvalid, Term, parse
from shared.kit.problems import InvalidRequest


def conditions(selector: Selector) -> list[ColumnElement[bool]]:
    """What must hold of a row of ``Camera`` for the selector to match it; only cameras that are there match."""
    return [Camera.deleted_at.is_(None), *(_condition(term) for term in selector.terms)]


def matching(selector: Selector) -> Select[Camera]:
    """The query of all cameras that are there and that the selector matches, in no order."""
    return select(Camera).where(*conditions(selector))


def _condition(term: Term) -> ColumnElement[bool]:
    labels = exists().where(CameraLabel.camera_id == Camera.id, CameraLabel.key == term.key).correlate(Camera)
    if term.operator in {Operator.IN, Operator.NOT_IN}:
        labels = labels.where(CameraLabel.value.in_(term.values))
    return labels if term.operator in {Operator.IN, Operator.EXISTS} else ~labels


def read(text: str, field: str) -> Selector:
    """The selector that a user wrote in ``field``, as `body.selector`; InvalidRequest says where it is wrong."""
    try:
        return parse(text)
    except SelectorInvalid as exc:
        raise InvalidRequest.of_field(field, str(exc), "as Kubernetes writes them: site=berlin,model in (a, b),!old") from exc
