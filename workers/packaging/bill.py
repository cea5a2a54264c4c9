"""The bill of materials: CycloneDX with its model card, in JSON, checked against the format's own schema.

The library has no classes for CycloneDX's model cards, which are put in as JSON; its schema knows them.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from shared.contracts.base import digest_of_file
from workers.packaging.history import Data
from workers.packaging.made import Made, memory_figures

LIBRARIES: Final = ("model-compression-toolkit", "mct-quantizers", "onnx", "onnxruntime", "torch")
"""Of those that were installed where the network was quantized, the ones that shape it."""
_NAMESPACE: Final = uuid.UUID("6f2a1b58-2a3c-5f7e-9d44-0d4b7c1f3e90")
_MODEL: Final = "model"


class BillRefused(Exception):
    """The document is not CycloneDX: a defect, never to be shipped."""

    hint = "This is a fault of the program or of a library's version, not of your settings: please report it."


def bill_of(made: Made) -> bytes:
    """ml-bom.json. The same parts give the same bytes. BillRefused."""
    reference = digest_of_file(made.model.reference)
    model = _model(made, reference)
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, f"{made.model.name} {reference}"))
    bom.metadata.component = model
    parts = [*_data(made), *_libraries(made), _converter(made)]
    bom.components.update(parts)
    bom.register_dependency(model, parts)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]  # when a package was made is no part of what it is
    document["metadata"]["component"]["modelCard"] = _card(made)
    return _checked(document)


def _checked(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise BillRefused(f"the bill of materials is not CycloneDX: {str(error)[:500]}")
    return text.encode()


def _model(made: Made, reference: str) -> Component:
    name, _, version = made.model.name.partition("/")
    return Component(
        name=name,
        version=version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=_MODEL,
        description=f"{made.model.config.architecture} for the Sony IMX500",
        hashes=[_hash(reference)],
        properties=[Property(name="picofleet:line", value=made.spec.line), *_properties(made)],
    )


def _properties(made: Made) -> Iterator[Property]:
    memory = memory_figures(made.conversion.memory)
    yield Property(name="picofleet:memory_used_bytes", value=str(memory.used_bytes))
    yield Property(name="picofleet:memory_available_bytes", value=str(memory.available_bytes))
    for number, version in enumerate(made.history.versions[1:], start=1):
        yield Property(name=f"picofleet:ancestor:{number}", value=version.name)


def _data(made: Made) -> list[Component]:
    """A component per dataset: what it was used for, in its properties."""
    by_digest: dict[str, list[Data]] = {}
    for each in made.history.data:
        by_digest.setdefault(each.digest, []).append(each)
    return [_dataset(digest, uses) for digest, uses in by_digest.items()]


def _dataset(digest: str, uses: list[Data]) -> Component:
    return Component(
        name=uses[0].name.partition("/")[0],
        type=ComponentType.DATA,
        bom_ref=digest,
        hashes=[_hash(digest)],
        properties=[Property(name=f"picofleet:{use.role}", value=use.name) for use in uses],
    )


def _libraries(made: Made) -> list[Component]:
    found = made.history.packages
    return [_package(name, found[name]) for name in LIBRARIES if name in found]


def _converter(made: Made) -> Component:
    component = _package("imx500-converter", made.conversion.converter)
    component.type = ComponentType.APPLICATION
    component.properties.add(Property(name="picofleet:toolchain", value=made.conversion.toolchain_digest))
    component.properties.add(Property(name="picofleet:java", value=made.conversion.java))
    return component


def _package(name: str, version: str) -> Component:
    purl = PackageURL(type="pypi", name=name, version=version)
    return Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl))


def _hash(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))


def _card(made: Made) -> dict[str, Any]:
    """CycloneDX's model card."""
    figures = made.history.quantized.figures
    shown = sorted(name for name in figures if name.startswith(("miou", "hit_rate", "agreement")))
    return {
        "modelParameters": {
            "task": "segmentation",
            "architectureFamily": "convolutional encoder and decoder",
            "modelArchitecture": made.model.config.architecture,
            "datasets": [{"ref": digest} for digest in dict.fromkeys(each.digest for each in made.history.data)],
            "inputs": [{"format": f"uint8, {made.spec.input_format}"}],
            "outputs": [{"format": made.frames.codes.dtype.name}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [{"type": name, "value": f"{figures[name]:.6g}"} for name in shown]},
        "considerations": {
            "useCases": ["Masks of single objects that a point or a box names, inside the image sensor."],
            "technicalLimitations": ["The network has an answer for every window, also for one without an object."],
        },
    }
