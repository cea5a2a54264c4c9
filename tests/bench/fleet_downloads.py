"""What it takes of the service's memory to hand a large package to many cameras at a time."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx

from tests.bench.fleet_ours import Device, Fleet
from tests.bench.fleet_packages import add_package, assign
from tests.bench.serving_peers import peak_mb
from tests.bench.table import print_goal

PACKAGE_MB: Final = 60
_RESET_PEAK: Final = "5"
"""Of /proc/<pid>/clear_refs: the peak of resident memory counts from now on (proc(5))."""


def print_memory(fleet: Fleet, devices: Sequence[Device]) -> None:
    """Each device downloads the package, all at the same time."""
    content = os.urandom(PACKAGE_MB << 20)
    assign(fleet, add_package(fleet, 1, content))
    links = [_link(fleet, number, device) for number, device in enumerate(devices)]
    for pid in fleet.pids:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    before = [peak_mb(pid) for pid in fleet.pids]
    with ThreadPoolExecutor(len(devices)) as pool:
        digests = set(pool.map(_download, links, devices))
    if digests != {hashlib.sha256(content).hexdigest()}:
        raise RuntimeError("not all cameras got what was stored")
    after = [peak_mb(pid) for pid in fleet.pids]
    grown = max(now - then for now, then in zip(after, before, strict=True))
    print_goal(
        f"{len(devices)} downloads of {PACKAGE_MB} MB at a time take less memory than one package",
        f"each process {max(before):.0f} MB before, at most {max(after):.0f} MB while they ran",
        grown < PACKAGE_MB,
    )


def _link(fleet: Fleet, number: int, device: Device) -> str:
    """Where the device's package is."""
    root = f"http://127.0.0.1:{fleet.ports[number % len(fleet.ports)]}"
    with httpx.Client(headers={"Authorization": device.authorization}, timeout=60) as client:
        poll = client.get(root + device.path).raise_for_status().json()
        deployment = client.get(poll["_links"]["deploymentBase"]["href"]).raise_for_status().json()
    (chunk,) = deployment["deployment"]["chunks"]
    (artifact,) = chunk["artifacts"]
    link: str = artifact["_links"]["download-http"]["href"]
    return link


def _download(link: str, device: Device) -> str:
    """The SHA-256 of what comes."""
    digest = hashlib.sha256()
    with httpx.stream("GET", link, headers={"Authorization": device.authorization}, timeout=60) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            digest.update(piece)
    return digest.hexdigest()
