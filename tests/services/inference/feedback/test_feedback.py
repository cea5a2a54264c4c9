"""Corrected masks: kept where a deployment asks for them, and a dataset for the next training."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from services.inference.feedback.service import forget_old
from shared.kit.database import db_now

COLLECTING = {"enabled": True, "retention_days": 30}


def jpeg(seed=0, orientation=None):
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def mask_of(shape=(120, 160), box=(20, 30, 60, 80)):
    mask = np.zeros(shape, np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def as_png(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask * 255).save(buffer, "PNG")
    return {"png": base64.b64encode(buffer.getvalue()).decode()}


def as_rle(mask):
    return {"counts": coco.encode(np.asfortranarray(mask))["counts"].decode()}


@pytest.fixture
def send(client, viewer):
    """Sends a correction as a form."""

    def post(image=None, *, key=None, **request):
        body = {"prompt": {"point": [40, 50]}, "mask": as_rle(mask_of())} | request
        files = {"image": ("photo.jpg", image or jpeg()), "request": (None, json.dumps(body), "application/json")}
        return client.post("/v1/feedback", files=files, headers=viewer | ({"Idempotency-Key": key} if key else {}))

    return post


@pytest.fixture
def collecting(deployed):
    return deployed(feedback=COLLECTING)


def kept(client, operator):
    return client.get("/v1/feedback", headers=operator).json()["items"]


def test_a_deployment_that_does_not_ask_for_corrections_keeps_none(send, deployed, client, operator):
    deployed()
    answer = send()
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/feedback-disabled")
    assert "enabled" in answer.json()["hint"]
    assert kept(client, operator) == []


@pytest.mark.parametrize("form", [as_png, as_rle])
def test_a_correction_comes_back_as_it_was_sent(send, collecting, client, operator, form):
    made = send(mask=form(mask_of()), label="cup", note="handle was missing", model="net/1").json()
    (found,) = kept(client, operator)
    assert found == made
    assert (found["label"], found["area"], found["width"], found["height"]) == ("cup", 40 * 50, 160, 120)
    assert (coco.decode({"size": [120, 160], "counts": found["counts"]}) == mask_of()).all()
    assert client.get(f"/v1/feedback/{made['id']}/image", headers=operator).content == jpeg()


def test_json_with_the_image_inside_is_the_same(client, viewer, collecting):
    body = {"image": base64.b64encode(jpeg()).decode(), "prompt": {"box": [20, 30, 60, 80]}, "mask": as_rle(mask_of())}
    assert client.post("/v1/feedback", json=body, headers=viewer).status_code == 201


def test_an_image_that_exif_turns_is_kept_upright(send, collecting, client, operator):
    made = send(jpeg(orientation=6), mask=as_rle(mask_of((160, 120)))).json()
    assert (made["width"], made["height"]) == (120, 160)
    stored = Image.open(io.BytesIO(client.get(f"/v1/feedback/{made['id']}/image", headers=operator).content))
    assert stored.size == (120, 160)
    assert stored.getexif().get(0x0112) in (None, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mask": {}}, "mask"),
        ({"mask": {"png": "!"}}, None),
        ({"mask": {"png": base64.b64encode(jpeg()).decode()}}, None),
        ({"mask": as_png(mask_of((12, 16)))}, None),
        ({"mask": {"counts": "0" * 100}}, None),
        ({"mask": {"counts": "\u20ac"}}, None),
        ({"prompt": {"point": [400, 50]}}, "body.prompt.point"),
        ({"prompt": {"box": [5, 5, 5, 9]}}, "body.prompt.box"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_correction_is_refused_and_nothing_is_kept(send, collecting, client, operator, services, change, field):
    answer = send(**change)
    assert answer.status_code == 422, answer.text
    assert field is None or field in answer.json()["detail"]
    assert kept(client, operator) == []


@pytest.mark.parametrize("content", [b"", b"GIF89a", jpeg()[:500]])
def test_an_image_that_cannot_be_decoded_is_refused(send, collecting, content):
    assert send(content or b" ").status_code == 422


def test_the_same_key_and_body_store_once(send, collecting, client, operator):
    first, second = send(key="k"), send(key="k")
    assert first.content == second.content
    assert len(kept(client, operator)) == 1
    assert send(jpeg(1), key="k").status_code == 409


def test_what_is_past_its_retention_goes_with_its_image(send, collecting, client, operator, services):
    old, new = send().json(), send(jpeg(1)).json()
    with services.sessions.begin() as session:
        from services.inference.feedback.models import Feedback

        session.get(Feedback, old["id"]).expires_at = db_now(session)
    forget_old(services)
    assert [item["id"] for item in kept(client, operator)] == [new["id"]]
    assert not services.feedback.exists(old["image"])
    assert services.feedback.exists(new["image"])


def test_above_the_limit_the_oldest_go(send, deployed, client, operator, services):
    deployed(feedback=COLLECTING | {"max_items": 2})
    made = [send(jpeg(seed)).json()["id"] for seed in range(4)]
    forget_old(services)
    assert [item["id"] for item in kept(client, operator)] == made[:1:-1]


def test_an_image_goes_with_the_last_of_its_corrections(send, collecting, client, operator, services):
    first, second = send().json(), send(prompt={"point": [30, 40]}).json()
    assert first["image"] == second["image"]
    for each, still in ((first, True), (second, False)):
        assert client.delete(f"/v1/feedback/{each['id']}", headers=operator).status_code == 204
        assert services.feedback.exists(first["image"]) is still
    assert client.delete(f"/v1/feedback/{first['id']}", headers=operator).status_code == 404


def test_corrections_become_a_dataset_that_the_jobs_service_has(send, collecting, client, operator, jobs):
    for seed in range(3):
        send(jpeg(seed), label="cup" if seed else "plate")
    send(jpeg(0), mask=as_rle(mask_of(box=(0, 0, 10, 10))), label="plate")  # the same prompt, corrected once more
    answer = client.post("/v1/feedback/datasets", json={"name": "corrected", "validation_share": 0.5}, headers=operator)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["corrections"], made["images"], made["dataset"]["state"]) == (3, 3, "importing")
    assert made["dataset"]["split_rule"]["fractions"] == {"train": 0.5, "val": 0.5}
    with jobs.app.state.services.blobs.open(made["dataset"]["source"]["blob"]) as file, zipfile.ZipFile(file) as archive:
        coco_file = json.loads(archive.read("instances.json"))
        assert len([name for name in archive.namelist() if name.startswith("images/")]) == 3
    assert sorted(annotation["area"] for annotation in coco_file["annotations"]) == [100, 2000, 2000]
    assert [category["name"] for category in coco_file["categories"]] == ["cup", "plate"]


def test_a_dataset_needs_corrections_and_a_free_name(send, collecting, client, operator):
    refused = client.post("/v1/feedback/datasets", json={"name": "corrected"}, headers=operator)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/no-feedback")
    send()
    assert client.post("/v1/feedback/datasets", json={"name": "corrected"}, headers=operator).status_code == 201
    again = client.post("/v1/feedback/datasets", json={"name": "corrected"}, headers=operator)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/dataset-refused")


def test_a_viewer_sends_corrections_and_reads_none(send, collecting, client, viewer):
    assert send().status_code == 201
    assert client.get("/v1/feedback", headers=viewer).status_code == 403
