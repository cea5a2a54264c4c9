"""Decisions on distribution sets, which are packages of kind software."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.fleet.events.record import record
from services.fleet.hawkbit.errors import SetExists, SetInUse, SetNotFound
from services.fleet.hawkbit.messages import Base, Paged, Window, ms
from services.fleet.hawkbit.models import DistributionSet, SetModule, SoftwareModule
from services.fleet.hawkbit.sets import repository
from services.fleet.hawkbit.sets.schemas import SetIn, SetOut
from services.fleet.hawkbit.software import repository as software
from services.fleet.hawkbit.software import service as modules
from services.fleet.hawkbit.software.domain import set_type, unfit
from services.fleet.packages.models import Package
from shared.contracts.rollouts import FleetPackageKind
from shared.kit.auth import Actor
from shared.kit.database import Violation, db_now, violated
from shared.kit.problems import InvalidRequest

Found = tuple[DistributionSet, Package]


def create(session: Session, bodies: Sequence[SetIn], *, actor: Actor) -> list[Found]:
    """New sets of modules that are there. InvalidRequest, SetExists; then none is made."""
    return [_create(session, body, f"body.{number}", actor) for number, body in enumerate(bodies)]


def _create(session: Session, body: SetIn, field: str, actor: Actor) -> Found:
    found = _fitting(session, body, field)
    package = Package(kind=FleetPackageKind.SOFTWARE.value, name=body.name, version=body.version, imported_by=actor.name)
    try:
        with session.begin_nested():
            session.add(package)
    except IntegrityError as exc:
        if violated(exc) != Violation("packages", ("name", "version")):
            raise
        raise SetExists(f"There is a package {body.name!r} {body.version}.") from exc
    made = DistributionSet(package_id=package.id, type=body.type, description=body.description)
    session.add(made)
    session.flush()
    session.add_all(SetModule(set_id=made.id, module_id=module.id) for module in found)
    names = {module.id: module.name for module in found}
    artifacts = software.all_artifacts(session, list(names))
    session.add_all(modules.file_of(artifact, package.id, names[artifact.module_id]) for artifact in artifacts)
    record(session, "hawkbit.set.created", actor=actor, set=made.id, package=package.ref)
    session.flush()
    session.refresh(package)
    return made, package


def _fitting(session: Session, body: SetIn, field: str) -> list[SoftwareModule]:
    wanted = {ref.id for ref in body.modules}
    found = software.all_locked(session, wanted)
    if missing := wanted - {module.id for module in found}:
        raise InvalidRequest.of_field(f"{field}.modules", f"there is no software module {min(missing)}")
    kind = set_type(body.type)
    assert kind is not None
    if wrong := unfit(kind, [module.type for module in found]):
        raise InvalidRequest.of_field(f"{field}.modules", wrong)
    # A module is a DDI chunk by its name.
    if len({module.name for module in found}) < len(found):
        raise InvalidRequest.of_field(f"{field}.modules", "two modules have one name", "give one of them another name")
    return found


def get(session: Session, set_id: int) -> Found:
    """SetNotFound, also of a deleted one."""
    found = repository.find(session, set_id)
    if found is None:
        raise SetNotFound(f"There is no distribution set {set_id}.")
    return found


def delete(session: Session, set_id: int, *, actor: Actor) -> None:
    """Forget a set: it is offered no more. SetNotFound; SetInUse while a target is at it or a rollout brings it."""
    _, package = get(session, set_id)
    if repository.is_being_installed(session, package.id):
        raise SetInUse(f"Targets are at {package.ref!r}, or a rollout brings it.")
    package.deleted_at = db_now(session)
    session.flush()
    record(session, "hawkbit.set.deleted", actor=actor, set=set_id, package=package.ref)


def page(session: Session, window: Window, base: Base) -> Paged[SetOut]:
    """All sets."""
    found, total = repository.page(session, window)
    return Paged(content=show(session, found, base), total=total, size=len(found))


def show(session: Session, found: Sequence[Found], base: Base) -> list[SetOut]:
    """As clients are told of them."""
    parts = repository.modules_of(session, [each.id for each, _ in found])
    return [
        SetOut(
            id=each.id,
            name=package.name,
            version=package.version,
            type=each.type,
            description=each.description,
            modules=[modules.show(module, base) for module in parts.get(each.id, [])],
            deleted=package.deleted_at is not None,
            created_at=ms(package.imported_at) or 0,
            created_by=package.imported_by,
            links={"self": base("distributionsets", each.id)},
        )
        for each, package in found
    ]
