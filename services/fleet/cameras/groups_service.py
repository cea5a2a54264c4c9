"""Decisions on groups."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.fleet.cameras import groups_repository, repository, selecting
from services.fleet.cameras.errors import GroupNotFound
from services.fleet.cameras.models import Camera, Group
from services.fleet.cameras.selector import Selector, parse
from services.fleet.events.record import record
from services.fleet.polling.epochs import touch
from shared.contracts.cameras import GroupIn, GroupOut
from shared.kit.auth import Actor
from shared.kit.database import Violation, db_now, violated
from shared.kit.pages import PageParams, newest_first


def put(session: Session, name: str, body: GroupIn, *, actor: Actor) -> bool:
    """Make the group so; True if it is new. InvalidRequest for a selector that is none."""
    selector = selecting.read(body.selector, "body.selector")
    group = groups_repository.locked(session, name)
    if group is None and _create(session, name, body):
        record(session, "group.created", actor=actor, group=name, **body.model_dump(mode="json"))
        _touch(session, selector)
        return True
    group = group or groups_repository.locked(session, name)  # another was quicker: this comes after it
    if group is None:
        raise _missing(name)
    if groups_repository.columns(body) != groups_repository.present(group):
        _touch(session, parse(group.selector))
        groups_repository.write(session, group, body, db_now(session))
        _touch(session, selector)
        record(session, "group.changed", actor=actor, group=name, **body.model_dump(mode="json"))
    return False


def _create(session: Session, name: str, body: GroupIn) -> bool:
    try:
        with session.begin_nested():
            session.add(Group(name=name, **groups_repository.columns(body)))
    except IntegrityError as exc:
        if violated(exc) != Violation("groups", ("name",)):
            raise
        return False
    return True


def get(session: Session, name: str) -> Group:
    """Raises GroupNotFound."""
    group = groups_repository.find(session, name)
    if group is None:
        raise _missing(name)
    return group


def selector_of(session: Session, name: str) -> Selector:
    """Which cameras are in the group. GroupNotFound."""
    return parse(get(session, name).selector)


def delete(session: Session, name: str, *, actor: Actor) -> None:
    """Remove a group; its cameras stay, and so do rollouts that were made for it, since these keep its selector.

    GroupNotFound.
    """
    group = groups_repository.locked(session, name)
    if group is None:
        raise _missing(name)
    _touch(session, parse(group.selector))
    session.delete(group)
    session.flush()
    record(session, "group.deleted", actor=actor, group=name)


def page(session: Session, page: PageParams) -> tuple[list[GroupOut], str | None]:
    """Groups by name."""
    rows, following = groups_repository.page(session, page)
    return [shown(session, row) for row in rows], following


def cameras(session: Session, name: str, page: PageParams) -> tuple[Sequence[Camera], str | None]:
    """The cameras that are in it now, newest first. GroupNotFound."""
    return newest_first(session, selecting.matching(selector_of(session, name)), Camera.id, page)


def shown(session: Session, group: Group) -> GroupOut:
    """As users see it, with the number of cameras that are in it now."""
    return GroupOut(
        name=group.name,
        **groups_repository.present(group),
        cameras=repository.count(session, parse(group.selector)),
        created_at=group.created_at,
        updated_at=group.updated_at,
    )


def _touch(session: Session, selector: Selector) -> None:
    """Whether its cameras may be changed now can depend on the group's windows."""
    touch(session, groups_repository.ids(session, selector))


def _missing(name: str) -> GroupNotFound:
    return GroupNotFound(f"There is no group named {name!r}.", group=name)
