"""`python -m tests.fuzz`: random changes to rpk files, packages and zips, each target in a process of its own.

FUZZ_SECONDS in all (600), FUZZ_SEED for the changes. Fails for any exception that a reader does not promise, for an input that
takes 2 s, for a process that grows by 256 MB; the input is kept in .fuzz. With atheris half of the inputs follow the branches
that the code takes.
"""

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

NAMES = ("rpk", "package", "converted")
LIMIT_S = 2
GROWTH_BYTES = 256 * 1024**2
COVERED = ["shared.archives", "shared.kit.packages", "shared.kit.rpk", "zipfile", "tarfile", "gzip"]
FOUND = Path(".fuzz")


class TooSlow(Exception):
    pass


def main() -> int:
    if len(sys.argv) == 5:
        return fuzz(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    manners = ["structure", "coverage"] if find_spec("atheris") else ["structure"]
    seconds = float(os.environ.get("FUZZ_SECONDS") or 600) / len(NAMES) / len(manners)
    seed = int(os.environ.get("FUZZ_SEED") or time.time())
    print(f"seed {seed}, {seconds:.0f} s for each of {', '.join(NAMES)} by {' and by '.join(manners)}", flush=True)
    ended = [run(name, manner, seconds, seed) for name in NAMES for manner in manners]
    return int(any(ended))


def run(*arguments: object) -> int:
    return subprocess.run([sys.executable, "-m", "tests.fuzz", *map(str, arguments)], check=False).returncode


def fuzz(name: str, manner: str, seconds: float, seed: int) -> int:
    """By structure: changes that know the formats. By coverage: those that reach new branches, with atheris."""
    warnings.simplefilter("ignore")  # zipfile warns of doubled names
    atheris = _atheris() if manner == "coverage" else None
    with atheris.instrument_imports(include=COVERED) if atheris else nullcontext():
        from tests.fuzz.targets import targets

    target = next(each for each in targets() if each.name == name)
    with tempfile.TemporaryDirectory(prefix="picofleet-fuzz-") as folder:
        tempfile.tempdir = folder
        _guard(more=512 * 1024**2 if atheris else 0)  # atheris maps counters into the same process
        if atheris:
            _by_coverage(atheris, target, seconds, seed)
        done = _by_structure(target, seconds, seed)
    print(f"{name}: {done:,} inputs changed by structure, {done / seconds:,.0f} per second", flush=True)
    return 0


def _atheris() -> Any:
    import atheris

    return atheris


def _by_structure(target: "Target", seconds: float, seed: int) -> int:
    from tests.fuzz.seeds import mutated

    chance, pool, done = random.Random(seed), list(target.seeds), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        content = mutated(chance.choice(pool), chance)
        _checked(target.run, content)
        done += 1
        if done % 50 == 0:  # changes on top of changes reach further
            pool = [*target.seeds, *pool[len(target.seeds) :][-20:], content]
    return done


def _by_coverage(atheris: Any, target: "Target", seconds: float, seed: int) -> None:
    """Ends the process."""
    FOUND.mkdir(exist_ok=True)
    corpus = Path(tempfile.mkdtemp())
    for content in target.seeds:
        (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)
    options = {
        "max_total_time": max(1, int(seconds)),
        "seed": seed % 2**31,
        "timeout": LIMIT_S * 10,
        "rss_limit_mb": 0,
        "max_len": 4 * max(len(content) for content in target.seeds),
        "print_final_stats": 1,
        "artifact_prefix": f"{FOUND}/",
    }
    arguments = [f"fuzz-{target.name}", *(f"-{key}={value}" for key, value in options.items()), str(corpus)]
    atheris.Setup(arguments, lambda content: _checked(target.run, content))
    print(f"{target.name}, by coverage:", flush=True)
    atheris.Fuzz()


def _checked(run: Callable[[bytes], None], content: bytes) -> None:
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        run(content)
    except BaseException:
        FOUND.mkdir(exist_ok=True)
        path = FOUND / hashlib.sha256(content).hexdigest()[:16]
        path.write_bytes(content)
        print(f"the input is {path} ({len(content):,} bytes)", file=sys.stderr, flush=True)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _guard(*, more: int) -> None:
    """More memory or time than allowed becomes an exception where it happens."""

    def too_slow(*_: object) -> None:
        raise TooSlow(f"more than {LIMIT_S} s")

    signal.signal(signal.SIGALRM, too_slow)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    allowed = now + GROWTH_BYTES + more
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


if __name__ == "__main__":
    sys.exit(main())
