"""The MLflow run of a job, written from a thread of its own so that training never waits for MLflow."""

import contextlib
import json
import logging
import random
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

from shared.kit.mlflow_api import EXPERIMENT, Metric, MlflowApi, MlflowAway, MlflowMissing, MlflowRefused
from shared.kit.system_metrics import SystemSampler

log = logging.getLogger(__name__)

JOB_TAG: Final = "picofleet.job_id"
"""The run's tag that names its job: how a resumed job finds its run again."""

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's own limits (mlflow/utils/validation.py): one more and the whole batch is refused.
_BATCH_METRICS: Final = 1000
_BATCH_PAIRS: Final = 100
_PARAM_CHARS: Final = 6000
_TAG_CHARS: Final = 8000
_DIGEST_CHARS: Final = 36

_MAX_WAITING: Final = 300_000
"""Points, parameters and files that wait for MLflow: about 150 bytes each, so 45 MB; two hours at 10 curves and 4 steps/s."""
_GATHER_S: Final = 0.5
_BACK_OFF_S: Final = (0.5, 15.0)
_MAX_INTERNAL: Final = 8
"""Internal errors in a row, about a minute, until what seems to cause them is dropped."""


class TrackingFailed(Exception):
    """Something that must be in MLflow before the job may finish is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Which run a job writes. ``run_id`` is a hint from an earlier attempt; the tag decides if it leads nowhere."""

    job_id: str
    experiment: str = EXPERIMENT
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    metrics: tuple[Metric, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        """Things in it."""
        return len(self.metrics) + len(self.params) + len(self.tags)

    def joined(self, other: "_Batch") -> "_Batch | None":
        """Both in one call, or None if MLflow would refuse it."""
        both = _Batch(self.metrics + other.metrics, {**self.params, **other.params}, {**self.tags, **other.tags})
        pairs = max(len(both.params), len(both.tags))
        return both if pairs <= _BATCH_PAIRS and both.weight <= _BATCH_METRICS else None


@dataclass(frozen=True, slots=True)
class _Upload:
    file: Path
    path: str


@dataclass(frozen=True, slots=True)
class _Dataset:
    described: Mapping[str, str]
    context: str


@dataclass(frozen=True, slots=True)
class _End:
    status: RunStatus
    at_ms: int


_Entry = _Batch | _Upload | _Dataset | _End


@dataclass(frozen=True, slots=True)
class _Run:
    run_id: str
    artifact_uri: str
    started_ms: int
    last_steps: Mapping[str, int]
    """Newest step of each curve when this attempt took the run over: what comes again up to there is a replay."""


class RunSink:
    """Buffers everything a job tells MLflow and sends it from a daemon thread, for as long as MLflow may be away.

    No method but ``flush``, ``publish`` and ``close`` ever waits. Order is kept. What MLflow refuses is dropped, logged and
    named in ``lost``; what it did not answer is sent again, which adds nothing: points carry their own time.
    A job that is resumed goes on in the same run; points that an earlier attempt has sent already are left out.
    """

    def __init__(
        self,
        url: str,
        identity: RunIdentity,
        *,
        spool: Path,
        on_run: Callable[[str], None] | None = None,
        system_every_s: float | None = 10,
    ) -> None:
        """``spool``: a folder of the sink's own for files that wait; ``on_run`` is called once with the run's id."""
        self._api, self._identity, self._on_run = MlflowApi(url), identity, on_run
        self._spool, self._begun_ms = spool, _now_ms()
        shutil.rmtree(spool, ignore_errors=True)
        self._waiting: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._taken = self._settled = self._hurried = self._weight = 0
        self._stopping = False
        self._lost: list[str] = []
        self._run: _Run | None = None
        self._thread = threading.Thread(target=self._send_all, name="mlflow-sink", daemon=True)
        self._thread.start()
        if system_every_s is not None:
            threading.Thread(target=self._sample, args=(system_every_s,), name="system-metrics", daemon=True).start()

    @property
    def run_id(self) -> str | None:
        """The run's id; None until MLflow has answered for the first time."""
        return self._run.run_id if self._run else None

    @property
    def lost(self) -> tuple[str, ...]:
        """What MLflow refused, or found no room here, each with the reason."""
        return tuple(self._lost)

    def params(self, values: Mapping[str, Any], *, prefix: str = "") -> None:
        """Log parameters; nested mappings become ``recipe.learning_rate``. MLflow never changes a logged parameter."""
        flat = {key: text[:_PARAM_CHARS] for key, text in _flat(values, prefix)}
        for part in _parts(flat):
            self._put(_Batch(params=part))

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Log one point on each named curve. NaN and infinity are kept: they are worth seeing."""
        now_ms = _now_ms()
        self._put(_Batch(metrics=tuple(Metric(key, float(value), step, now_ms) for key, value in values.items())))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; a later value replaces an earlier one."""
        for part in _parts({key: value[:_TAG_CHARS] for key, value in values.items()}):
            self._put(_Batch(tags=part))

    def dataset(self, name: str, digest: str, *, context: str, source: str) -> None:
        """Name a dataset as the run's input; ``context`` as in training, validation. The UI lists and filters by it."""
        short = digest.removeprefix("sha256:")[:_DIGEST_CHARS]
        described = {"name": name[:500], "digest": short, "source_type": "picofleet", "source": json.dumps({"uri": source})}
        self._put(_Dataset(described, context))

    def artifact(self, content: bytes | str | Path, path: str) -> None:
        """Log a file under ``path``, as in ``evaluations/step_000250/samples.png``; it is copied now and may change."""
        try:
            waiting = self._spooled(content)
        except OSError as exc:
            self._lose(f"artifact {path}: {exc}")
            return
        self._put(_Upload(waiting, path))

    def artifact_json(self, content: Any, path: str) -> None:
        """Log a JSON document, readable in the UI."""
        self.artifact(json.dumps(content, indent=2, sort_keys=True, default=str), path)

    def artifact_folder(self, folder: Path, path: str) -> None:
        """Log every file below a folder."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.artifact(file, f"{path}/{file.relative_to(folder).as_posix()}")

    def publish(self, folder: Path, path: str, *, timeout_s: float, stop_requested: Callable[[], bool] | None = None) -> str:
        """Log a folder and wait until MLflow has all of it; gives the run's id. `TrackingFailed` if it cannot be had."""
        self.artifact_folder(folder, path)
        give_up = time.monotonic() + timeout_s
        while not self.flush(0.2):
            if stop_requested is not None and stop_requested():
                raise TrackingFailed(f"stopped while {path} was being uploaded to MLflow")
            if time.monotonic() > give_up:
                raise TrackingFailed(f"MLflow at {self._api.url} did not take {path} within {timeout_s:.0f} s")
        refused = [entry for entry in self._lost if entry.startswith(f"artifact {path}/")]
        if refused or self.run_id is None:
            raise TrackingFailed(f"MLflow refused {path}: {'; '.join(refused) or 'it has no run for it'}")
        return self.run_id

    def flush(self, timeout_s: float) -> bool:
        """Wait until the run exists and all that was logged before is in it, or is lost; False if that took too long."""
        with self._changed:
            wanted = self._taken
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._settled >= wanted and bool(self._run or self._stopping), timeout_s)
            finally:
                self._hurried -= 1

    def close(self, status: RunStatus, *, timeout_s: float) -> bool:
        """End the run and stop the thread; False if MLflow did not take everything in time."""
        self._put(_End(status, _now_ms()))
        done = self.flush(timeout_s)
        self._stop()
        return done and not self._lost

    def abandon(self) -> None:
        """Stop without ending the run: another attempt goes on with it."""
        self._stop()

    # The trainer's side

    def _put(self, entry: _Entry) -> None:
        with self._changed:
            if self._stopping:
                return
            if self._weight >= _MAX_WAITING and not isinstance(entry, _End):
                self._lose(f"all beyond the {_MAX_WAITING} values that were waiting for MLflow")
                return
            self._waiting.append(entry)
            self._taken += 1
            self._weight += _weight(entry)
            self._changed.notify_all()

    def _spooled(self, content: bytes | str | Path) -> Path:
        self._spool.mkdir(parents=True, exist_ok=True)
        waiting = self._spool / uuid.uuid4().hex
        if isinstance(content, Path):
            shutil.copyfile(content, waiting)
        else:
            waiting.write_bytes(content.encode() if isinstance(content, str) else content)
        return waiting

    def _stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(1)
        self._api.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _sample(self, every_s: float) -> None:
        sampler = SystemSampler()
        while not self._pause(every_s):
            # Seconds since the run began: goes on where an earlier attempt ended.
            run_start = self._run.started_ms if self._run else self._begun_ms
            self.metrics(sampler.sample(), step=max(0, (_now_ms() - run_start) // 1000))

    # The thread's side

    def _send_all(self) -> None:
        tries = internal = 0
        while not self._stopping:
            try:
                self._send_next(self._run or self._open(), drop_internal=internal >= _MAX_INTERNAL)
                tries = internal = 0
            except MlflowAway as exc:
                tries, internal = tries + 1, internal + 1 if exc.internal else 0
                self._back_off(tries, exc)
            except MlflowRefused as exc:  # no run can be had: nothing will ever be sent
                self._give_up(f"run of job {self._identity.job_id}: {exc}")
            except Exception as exc:
                if not self._stopping:  # a client that `close` took away under a call is no news
                    self._give_up(f"tracking failed: {exc!r}")

    def _back_off(self, tries: int, exc: MlflowAway) -> None:
        first_s, longest_s = _BACK_OFF_S
        wait_s = min(first_s * 2 ** min(tries, 10), longest_s)
        log.warning("tracking.mlflow_away: %s; next try in about %.1f s, %d waiting", exc, wait_s, len(self._waiting))
        self._pause(wait_s * random.uniform(0.7, 1.3))  # not all workers at once when it is back

    def _open(self) -> _Run:
        run = self._found() or self._created()
        data, info = run.get("data", {}), run["info"]
        last_steps = {metric["key"]: int(metric.get("step", 0)) for metric in data.get("metrics", [])}
        self._run = _Run(info["run_id"], info["artifact_uri"], int(info["start_time"]), last_steps)
        if self._on_run is not None:
            self._on_run(self._run.run_id)
        with self._changed:
            self._changed.notify_all()
        return self._run

    def _found(self) -> dict[str, Any] | None:
        """The run of an earlier attempt, or of a creation whose answer was lost, set to running again."""
        run = self._hinted()
        if run is None:
            experiment = self._api.experiment_id(self._identity.experiment)
            run = next(iter(self._api.find_runs(experiment, {JOB_TAG: self._identity.job_id})), None)
        if run is not None:
            self._api.update_run(run["info"]["run_id"], status="RUNNING")
            self._api.log_batch(run["info"]["run_id"], tags=self._identity.tags)
        return run

    def _hinted(self) -> dict[str, Any] | None:
        if self._identity.run_id is None:
            return None
        with contextlib.suppress(MlflowMissing):
            run = self._api.get_run(self._identity.run_id)
            if run["info"]["lifecycle_stage"] == "active":
                return run
        return None

    def _created(self) -> dict[str, Any]:
        experiment = self._api.experiment_id(self._identity.experiment)
        tags = {**self._identity.tags, JOB_TAG: self._identity.job_id}
        return self._api.create_run(experiment, name=self._identity.name, tags=tags, started_ms=self._begun_ms)

    def _send_next(self, run: _Run, *, drop_internal: bool) -> None:
        entries = self._next()
        if not entries:
            return
        try:
            self._send(run, entries)
        except (MlflowRefused, MlflowAway) as exc:
            if not _is_final(exc, drop_internal):
                raise
            self._send_singly(run, entries, drop_internal)
        with self._changed:
            for _ in entries:
                self._weight -= _weight(self._waiting.popleft())
            self._settled += len(entries)
            self._changed.notify_all()

    def _next(self) -> list[_Entry]:
        """The head of the queue: all that fits into one call. Waits up to half a second so that calls are not tiny."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._changed.wait_for(lambda: self._hurried or self._stopping or len(self._waiting) > _BATCH_PAIRS, _GATHER_S)
            entries: list[_Entry] = []
            whole = _Batch()
            for entry in self._waiting:
                joined = whole.joined(entry) if isinstance(entry, _Batch) else None
                if joined is None:
                    return entries or [entry]
                whole = joined
                entries.append(entry)
            return entries

    def _send(self, run: _Run, entries: list[_Entry]) -> None:
        match entries[0]:
            case _Batch():
                self._send_batch(run, [entry for entry in entries if isinstance(entry, _Batch)])
            case _Upload(file, path):
                self._upload(run, file, path)
            case _Dataset(described, context):
                self._api.log_dataset(run.run_id, described, context=context)
            case _End(status, at_ms):
                self._api.update_run(run.run_id, status=status, ended_ms=at_ms)

    def _upload(self, run: _Run, file: Path, path: str) -> None:
        try:
            with file.open("rb") as content:
                self._api.upload(run.artifact_uri, path, content, size_bytes=file.stat().st_size)
            file.unlink()
        except OSError as exc:  # somebody cleaned the disk up; the other entries can still be sent
            raise MlflowRefused(f"the waiting file is gone: {exc}", code="SPOOL", status=0) from exc

    def _send_batch(self, run: _Run, batches: list[_Batch]) -> None:
        whole = _Batch()
        for batch in batches:
            whole = whole.joined(_without_replays(batch, run.last_steps)) or whole
        if whole.weight:
            self._api.log_batch(run.run_id, metrics=whole.metrics, params=whole.params, tags=whole.tags)

    def _send_singly(self, run: _Run, entries: Iterable[_Entry], drop_internal: bool) -> None:
        """One bad name must not cost its neighbours: send each thing alone and drop those that are refused."""
        for entry in chain.from_iterable(map(_singles, entries)):
            try:
                self._send(run, [entry])
            except (MlflowRefused, MlflowAway) as exc:
                if not _is_final(exc, drop_internal):
                    raise
                self._lose(f"{_name_of(entry)}: {exc}")

    def _lose(self, what: str) -> None:
        if what not in self._lost:  # an outage amid several refusals repeats the first ones
            log.warning("tracking.lost: %s", what)
            self._lost.append(what)

    def _give_up(self, why: str) -> None:
        self._lose(why)
        with self._changed:
            self._stopping = True
            self._settled = self._taken
            self._waiting.clear()
            self._changed.notify_all()

    def _pause(self, seconds: float) -> bool:
        """Sleep; True, and early, if the sink is being stopped."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, seconds)


def end_run(url: str, run_id: str, status: RunStatus) -> bool:
    """End the run of a process that died without doing so. False if MLflow is away or has no such run."""
    try:
        with MlflowApi(url, timeout_s=3) as api:
            api.update_run(run_id, status=status, ended_ms=_now_ms())
    except (MlflowAway, MlflowRefused) as exc:
        log.warning("tracking.run_not_ended: %s: %s", run_id, exc)
        return False
    return True


def _weight(entry: _Entry) -> int:
    return entry.weight if isinstance(entry, _Batch) else 1


def _is_final(exc: MlflowRefused | MlflowAway, drop_internal: bool) -> bool:
    return isinstance(exc, MlflowRefused) or (drop_internal and exc.internal)


def _without_replays(batch: _Batch, last_steps: Mapping[str, int]) -> _Batch:
    return replace(batch, metrics=tuple(m for m in batch.metrics if m.step > last_steps.get(m.key, -1)))


def _singles(entry: _Entry) -> Iterable[_Entry]:
    if not isinstance(entry, _Batch):
        return [entry]
    params = [_Batch(params={key: value}) for key, value in entry.params.items()]
    tags = [_Batch(tags={key: value}) for key, value in entry.tags.items()]
    return [*(_Batch(metrics=(metric,)) for metric in entry.metrics), *params, *tags]


def _name_of(entry: _Entry) -> str:
    match entry:
        case _Upload(_, path):
            return f"artifact {path}"
        case _Dataset(described, _):
            return f"dataset {described['name']}"
        case _End(status, _):
            return f"status {status}"
        case _Batch(metrics, params, tags):
            return f"entry {', '.join([*(m.key for m in metrics), *params, *tags])}"


def _flat(values: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def _parts(values: Mapping[str, str]) -> Iterable[dict[str, str]]:
    pairs = list(values.items())
    for start in range(0, len(pairs), _BATCH_PAIRS):
        yield dict(pairs[start : start + _BATCH_PAIRS])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
