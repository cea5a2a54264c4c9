import errno
import signal

import numpy as np
import pytest

from shared.contracts.training import Recipe
from shared.picosam.data.errors import DatasetGone, ImportRefused
from shared.picosam.errors import BadWeights
from shared.picosam.fit import Diverged
from workers.harness import errors
from workers.harness.protocol import DigestMismatch, ProtocolError, ServiceAway


def numpy_memory_error() -> BaseException:
    with pytest.raises(MemoryError) as caught:
        np.empty(2**50)
    return caught.value


@pytest.mark.parametrize(
    ("exc", "kind", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "Free space"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk_full", "Free space"),
        (MemoryError(), "out_of_memory", "batch_size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", "batch_size"),
        (Diverged(3, "loss nan", Recipe()), "diverged", "learning_rate"),
        (DatasetGone("a.jpg is missing"), "dataset_gone", "back where they were"),
        (DigestMismatch("blob"), "damaged_download", "Retry"),
        (ServiceAway("refused"), "service_away", "JOBS_URL"),
        (ProtocolError("422"), "refused", "update both"),
        (PermissionError(13, "denied"), "permission_denied", "user"),
        (FileNotFoundError(2, "gone"), "file_missing", "back"),
        (ValueError("batch_size 3 cannot be shared out"), "bad_value", "Correct"),
        (ImportRefused("no such folder"), "import_refused", "paths"),
        (KeyError("surprise"), "internal_error", "report it"),
    ],
)
def test_what_ends_a_job_is_told_with_a_type_and_what_to_do(exc, kind, advice):
    error = errors.translate(exc)
    assert error.type == kind
    assert advice in error.hint
    assert error.message
    assert "Traceback" not in error.message


def test_a_real_allocation_failure_is_out_of_memory():
    assert errors.translate(numpy_memory_error()).type == "out_of_memory"


def test_an_authors_own_hint_comes_first():
    assert errors.translate(BadWeights("no", hint="Do this.")).hint == "Do this."


@pytest.mark.parametrize(
    ("returncode", "word"),
    [(-signal.SIGKILL, "SIGKILL"), (-signal.SIGBUS, "SIGBUS"), (-signal.SIGSEGV, "SIGSEGV"), (3, "exit status 3"), (-99, "99")],
)
def test_a_silent_end_names_what_ended_it(returncode, word):
    error = errors.describe_exit(returncode)
    assert error.type == "worker_lost"
    assert word in error.message
    assert error.hint
