"""`python -m tests.bench [NAME ...]`: runs each bench_NAME.py beside this file and prints their tables; by default all but
those that take hours."""

import importlib
import sys
from pathlib import Path
from typing import Final

HOURS: Final = {"bench_gain"}


def main(chosen: list[str]) -> None:
    names = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = [name for name in chosen if f"bench_{name}" not in names]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(name.removeprefix('bench_') for name in names)}")
    for name in [f"bench_{name}" for name in chosen] or [name for name in names if name not in HOURS]:
        importlib.import_module(f"tests.bench.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
