import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
import torch
from shared.picosam.allocator import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
for _ in range(20):
    torch.ones(8 << 20)  # 32 MB each; the first few find their place
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    ran = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator only")
def test_freed_buffers_are_used_again_without_page_faults():
    assert page_faults("keep") < 100 < page_faults()
