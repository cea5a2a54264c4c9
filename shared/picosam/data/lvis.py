"""What LVIS says beside its objects, and what its evaluation needs.

LVIS is federated: of its 1203 categories an image is annotated for some only. Categories that it has objects of were looked
for, and those that it names as absent; of the others nothing is known. And of some categories not all objects are annotated.
"""

from collections.abc import Iterable, Mapping

import msgspec

from shared.picosam.data.manifest import Category, Frequency, ImageRow


class Federation(msgspec.Struct, frozen=True, kw_only=True):
    """Of a dataset in LVIS layout, or of some of its images."""

    frequencies: dict[int, Frequency]
    """By category id. Never empty: it is what tells LVIS from COCO."""
    negative: dict[int, tuple[int, ...]]
    """By image id, where there are any: categories that were looked for and are not there."""
    unfinished: dict[int, tuple[int, ...]]
    """By image id, where there are any: categories whose objects are not all annotated."""


def frequencies_of(categories: Iterable[Category]) -> dict[int, Frequency]:
    """By category id, of the categories that have one; empty unless they are LVIS's."""
    return {category.id: category.frequency for category in categories if category.frequency is not None}


def federation_of(frequencies: Mapping[int, Frequency], images: Iterable[ImageRow]) -> Federation | None:
    """What these images say; None where ``frequencies`` is empty."""
    if not frequencies:
        return None
    rows = {row.image_id: row for row in images}
    return Federation(
        frequencies=dict(frequencies),
        negative={key: row.negative_categories for key, row in rows.items() if row.negative_categories},
        unfinished={key: row.unfinished_categories for key, row in rows.items() if row.unfinished_categories},
    )


_decoder = msgspec.json.Decoder(Federation)


def encode_federation(federation: Federation) -> bytes:
    """As JSON, all in the dataset's order: the same images give the same bytes."""
    return msgspec.json.encode(federation)


def decode_federation(content: bytes) -> Federation:
    """The inverse of ``encode_federation``; ``msgspec.DecodeError`` for anything else."""
    return _decoder.decode(content)
