"""pycocotools' index of annotations, made from rows instead of a file."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO


def coco_index(images: Mapping[int, Sequence[int]], categories: Collection[int], rows: Sequence[dict[str, Any]]) -> Any:
    """A COCO index; the library prints a line. images: (height, width) by id.

    Made by hand: COCO.loadRes would derive the size bands of prompted objects from the masks.
    """
    index = COCO()
    index.dataset = {
        "images": [{"id": image_id, "height": size[0], "width": size[1]} for image_id, size in sorted(images.items())],
        "categories": [{"id": category_id} for category_id in sorted(categories)],
        "annotations": list(rows),
    }
    index.createIndex()
    return index
