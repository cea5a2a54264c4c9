import re
from pathlib import Path

import shared.picosam.data

FOLDER = Path(shared.picosam.data.__file__).parent
PROBLEM = re.compile(r'(?:ImageProblem|MaskProblem)\(\s*"(\w+)"|bad_row\(\s*[\w.]+, "(\w+)"|_bad\(raw, "(\w+)"')
WARNING = re.compile(r'(?<!\w)\["(\w+_\w+)"\]|append\("(\w+)"\)')


def kinds(pattern: re.Pattern[str]) -> set[str]:
    sources = "".join(path.read_text() for path in sorted(FOLDER.glob("*.py")))
    return {group for match in pattern.finditer(sources) for group in match.groups() if group}


def test_every_word_of_the_report_is_explained():
    explained = (Path(__file__).parents[4] / "docs/datasets.md").read_text()
    assert len(kinds(PROBLEM)) > 15
    assert len(kinds(WARNING)) > 4
    assert {kind for kind in kinds(PROBLEM) | kinds(WARNING) if f"`{kind}`" not in explained} == set()
