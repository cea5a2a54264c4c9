"""What a version was made from and what was made from it, read out of what jobs read and made."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from services.jobs.jobs import repository as jobs
from services.jobs.jobs.models import Job, JobDataset, JobModel
from services.jobs.models import repository, service
from services.jobs.models.models import ModelVersion, RegistrationState
from services.jobs.runtime import Services
from services.jobs.teachers.service import label_of
from shared.contracts.jobs import JobKind
from shared.contracts.models import LineageEdge, LineageKind, LineageNode, LineageOut
from shared.kit.database import begin_reading

LIMIT: Final = 500
"""Nodes of one answer."""

_Version = tuple[str, int]


class _Graph:
    """Nodes and edges found so far. A node comes in by an edge from one that is there, so the answer hangs together."""

    def __init__(self, root: LineageNode, limit: int) -> None:
        self.nodes: dict[str, LineageNode] = {root.id: root}
        self.edges: dict[tuple[str, str, str, str | None], LineageEdge] = {}
        self.limit = limit
        self.truncated = False

    def join(self, node: LineageNode, edge: LineageEdge) -> bool:
        """Add both. True if the node is new and in."""
        new = node.id not in self.nodes
        if new and len(self.nodes) >= self.limit:
            self.truncated = True
            return False
        self.nodes.setdefault(node.id, node)
        self.edges[edge.source, edge.target, edge.role, edge.split] = edge
        return new


def of_version(services: Services, name: str, version: int, *, limit: int = LIMIT) -> LineageOut:
    """The lineage of a version, the nearest first, at most ``limit`` nodes. Raises VersionNotFound."""
    with services.sessions.begin() as session:
        begin_reading(session)
        found = _of_version(session, name, version, limit)
    if found.nodes[0].created_at is None:
        service.registered_version(services.mlflow, name, version)  # not from a job, so only MLflow knows whether it is there
    return found


def _of_version(session: Session, name: str, version: int, limit: int) -> LineageOut:
    asked = (name, version)
    graph = _Graph(_version_nodes(session, [asked], 0)[asked], limit)
    root = _version_id(asked)
    # The past first: it is short, and a version that is looked at every night must not lose it.
    for step, sign in ((_up, -1), (_down, 1)):
        found, distance = [asked], 0
        while found:
            found = step(session, graph, found, distance)
            distance += 2 * sign
    nodes = sorted(graph.nodes.values(), key=lambda node: (abs(node.distance), node.distance))
    return LineageOut(root=root, nodes=nodes, edges=list(graph.edges.values()), truncated=graph.truncated)


# One step towards the data: the jobs that made versions, and all that these jobs read


def _up(session: Session, graph: _Graph, versions: Sequence[_Version], distance: int) -> list[_Version]:
    rows = repository.rows_of(session, versions)
    makers = _jobs(session, [row.job_id for row in rows])
    new = dict[str, Job]()
    for row in rows:
        node = _job_node(makers[row.job_id], distance - 1)
        if graph.join(node, _made(row)):
            new[row.job_id] = makers[row.job_id]
    _join_data(session, graph, new, distance - 2)
    return _join_models(session, graph, new, distance - 2)


def _join_models(session: Session, graph: _Graph, readers: Mapping[str, Job], distance: int) -> list[_Version]:
    read = jobs.models_of(session, readers)
    nodes = _version_nodes(session, {(each.name, each.version) for each in read}, distance)
    new: list[_Version] = []
    for each in read:
        node = nodes[each.name, each.version]
        if graph.join(node, LineageEdge(source=node.id, target=_job_id(each.job_id), role=each.role)):
            new.append((each.name, each.version))
    return new


def _join_data(session: Session, graph: _Graph, readers: Mapping[str, Job], distance: int) -> None:
    reads = jobs.reads_of(session, readers)
    there = _datasets(session, {read.dataset_id for read in reads})
    for read in reads:
        node = _dataset_node(read, there.get(read.dataset_id), distance)
        graph.join(node, LineageEdge(source=node.id, target=_job_id(read.job_id), role=read.role, split=read.split))
    for job in readers.values():
        if (weights := _checkpoint_node(job, distance)) is not None:
            graph.join(weights, LineageEdge(source=weights.id, target=_job_id(job.id), role="teacher"))


# One step away from the data: the jobs that read versions, and what these jobs made


def _down(session: Session, graph: _Graph, versions: Sequence[_Version], distance: int) -> list[_Version]:
    found = repository.readers_of(session, versions, graph.limit + 1)  # one more, to learn of more
    readings = _by_job(jobs.models_of(session, [job.id for job in found]))
    made = _by_job(repository.made_by(session, readings))
    new: list[_Version] = []
    for job in found:
        node = _job_node(job, distance + 1)
        sources = [(each.name, each.version, each.role) for each in readings[job.id] if (each.name, each.version) in versions]
        edges = [LineageEdge(source=_version_id((name, version)), target=node.id, role=role) for name, version, role in sources]
        if any([graph.join(node, edge) for edge in edges]):
            # At once, so that those who only looked do not crowd out what was made.
            new += _join_made(graph, made.get(job.id, []), distance + 2)
    joined = {job.id: job for job in found if _job_id(job.id) in graph.nodes}
    _join_data(session, graph, joined, distance)
    return new


def _join_made(graph: _Graph, rows: Sequence[ModelVersion], distance: int) -> list[_Version]:
    joined = [(_key(row), graph.join(_version_node(_key(row), row, distance), _made(row))) for row in rows]
    return [version for version, is_new in joined if is_new]


def _made(row: ModelVersion) -> LineageEdge:
    return LineageEdge(source=_job_id(row.job_id), target=_version_id(_key(row)), role=row.output)


_Row = TypeVar("_Row", JobModel, ModelVersion)


def _by_job(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    grouped: dict[str, list[_Row]] = {}
    for row in rows:
        grouped.setdefault(row.job_id, []).append(row)
    return grouped


# Rows as nodes


def _key(row: ModelVersion) -> _Version:
    assert row.version is not None
    return row.name, row.version


def _version_id(version: _Version) -> str:
    return f"{LineageKind.VERSION}:{version[0]}/{version[1]}"


def _job_id(job_id: str) -> str:
    return f"{LineageKind.JOB}:{job_id}"


def _version_nodes(session: Session, versions: Iterable[_Version], distance: int) -> dict[_Version, LineageNode]:
    wanted = list(versions)
    rows = {_key(row): row for row in repository.rows_of(session, wanted)}
    return {version: _version_node(version, rows.get(version), distance) for version in wanted}


def _version_node(version: _Version, row: ModelVersion | None, distance: int) -> LineageNode:
    return LineageNode(
        id=_version_id(version),
        kind=LineageKind.VERSION,
        label=f"{version[0]}/{version[1]}",
        distance=distance,
        created_at=row.created_at if row else None,
        gone=row is not None and row.state == RegistrationState.DELETED,
        figures=row.metrics if row else {},
    )


def _job_node(job: Job, distance: int) -> LineageNode:
    return LineageNode(
        id=_job_id(job.id),
        kind=LineageKind.JOB,
        label=job.name or job.kind.value,
        distance=distance,
        created_at=job.created_at,
        job_kind=job.kind,
        job_state=job.state,
        figures=_figures(job.result) if job.kind is JobKind.EVALUATION else {},
    )


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _dataset_node(read: JobDataset, dataset: Dataset | None, distance: int) -> LineageNode:
    return LineageNode(
        id=f"{LineageKind.DATASET}:{read.dataset_id}",
        kind=LineageKind.DATASET,
        label=read.dataset_name,
        distance=distance,
        created_at=dataset.created_at if dataset else None,
        digest=dataset.digest if dataset else read.digest,
        gone=dataset is None,
    )


def _checkpoint_node(job: Job, distance: int) -> LineageNode | None:
    """The published weights that a job's teacher has; None for other jobs, and for a teacher with random weights."""
    checkpoint = (job.spec.get("teacher") or {}).get("checkpoint")
    if checkpoint is None:
        return None
    digest = str(checkpoint["digest"])
    identity, kind = f"{LineageKind.CHECKPOINT}:{digest}", LineageKind.CHECKPOINT
    return LineageNode(id=identity, kind=kind, label=label_of(digest), distance=distance, digest=digest)


def _jobs(session: Session, ids: Iterable[str]) -> dict[str, Job]:
    return {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(list(ids))))}


def _datasets(session: Session, ids: Iterable[str]) -> dict[str, Dataset]:
    return {dataset.id: dataset for dataset in session.scalars(select(Dataset).where(Dataset.id.in_(list(ids))))}
