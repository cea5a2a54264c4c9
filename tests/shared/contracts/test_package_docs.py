"""docs/package-format.md and its schema say what the code does."""

import json
import os
from pathlib import Path

from shared.contracts import packages
from shared.contracts.packages import PackageManifest

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = DOCS / "package-manifest.schema.json"


def test_the_schema_is_that_of_the_model():
    """`PICOFLEET_REWRITE=1` writes the file anew; look at the difference."""
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema = json.dumps(header | PackageManifest.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("PICOFLEET_REWRITE") == "1":
        SCHEMA.write_text(schema)
    assert SCHEMA.read_text() == schema


def test_every_file_and_field_is_explained():
    text = (DOCS / "package-format.md").read_text()
    for place in (packages.MANIFEST, packages.SIGNATURE, packages.RPK, *packages.ALWAYS_THERE):
        assert f"`{place}`" in text, place
    for field in PackageManifest.model_fields:
        assert f"`{field}`" in text, field
