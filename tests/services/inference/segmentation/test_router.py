"""Prompts in, masks out, over HTTP with real networks and real image files."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from services.inference.engine.served import Part
from shared.contracts.serving import Calibration
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.prompt import extract, paste, point_window
from tests.services.inference.segmentation.conftest import decoded, file_of, picture


def test_a_point_gives_the_network_s_mask_of_its_window_pasted_back(ask, deployed, photo):
    served = deployed(seed=3)
    answer = ask(photo, prompts=[{"point": [160.5, 120.9], "id": "cup", "label": "a cup"}]).json()
    image = np.asarray(Image.open(io.BytesIO(photo)))
    window = point_window((160, 120), image.shape[:2])
    logits = served.parts[0].loaded.logits(extract(image, window)[None])[0]
    (found,) = answer["objects"]
    mask = decoded(found["mask"])
    assert (mask == paste(logits > 0, window, image.shape[:2])).all()
    assert (found["id"], found["label"], found["area"]) == ("cup", "a cup", mask.sum())
    assert (answer["model"], answer["generation"], answer["deployment"]) == ("net/4", 1, "default")
    assert answer["image"] == {"width": 320, "height": 240, "format": "JPEG"}
    assert found["window"] == {"x0": 112, "y0": 72, "x1": 208, "y1": 168, "border": "pad", "clipped": False}


def test_every_form_of_a_mask_says_the_same(ask, deployed, photo):
    deployed(seed=3)
    prompts = [{"point": [5, 230]}, {"point": [200, 100], "side": 40}, {"point": [200, 100], "side": 300}]
    drawn = ask(photo, prompts=prompts, view="window").json()["objects"]
    for output in ("rle", "logits"):
        found = ask(photo, prompts=prompts, output=output, view="window").json()["objects"]
        for one, other in zip(found, drawn, strict=True):
            assert (decoded(one["mask"]) == decoded(other["mask"])).all()
            assert one | {"mask": None} == other | {"mask": None}


def test_json_and_a_form_get_the_same_answer(client, viewer, ask, deployed, photo):
    deployed(seed=3)
    prompts = [{"point": [100, 100]}, {"box": [20, 30, 150, 140]}]
    form = ask(photo, prompts=prompts).json()
    body = {"prompts": prompts, "image": base64.b64encode(photo).decode()}
    assert client.post("/v1/segment", json=body, headers=viewer).json()["objects"] == form["objects"]


def test_the_image_s_format_is_found_from_its_content(ask, deployed):
    deployed(seed=3)
    for format in ("JPEG", "PNG", "WEBP"):
        answer = ask(file_of(picture(), format), prompts=[{"point": [1, 1]}])
        assert answer.json()["image"] == {"width": 320, "height": 240, "format": format}


def test_fifty_prompts_are_fifty_answers_in_their_order(ask, deployed, photo):
    deployed(seed=3)
    prompts = [{"point": [6 * n, 4 * n], "id": f"p{n}"} for n in range(50)]
    together = ask(photo, prompts=prompts, output="rle").json()["objects"]
    assert [found["id"] for found in together] == [f"p{n}" for n in range(50)]
    alone = ask(photo, prompts=[prompts[31]], output="rle").json()["objects"][0]
    assert together[31]["window"] == alone["window"]
    assert together[31]["area"] == pytest.approx(alone["area"], abs=20)


def test_where_nothing_is_there_the_mask_is_null(ask, deployed, photo):
    deployed(seed=0)  # a network whose logits are all below 0
    (found,) = ask(photo, prompts=[{"point": [100, 100]}]).json()["objects"]
    assert (found["mask"], found["area"], found["box"], found["confidence"]) == (None, 0, None, 0)


def test_a_model_without_calibration_says_so(ask, deployed, photo):
    deployed(seed=3)
    (found,) = ask(photo, prompts=[{"point": [100, 100]}]).json()["objects"]
    assert found["calibrated"] is False
    assert 0 < found["confidence"] <= 1


def test_a_calibrated_model_s_confidence_is_the_iou_to_expect(ask, services, deployed, photo):
    served = deployed(seed=3)
    (plain,) = ask(photo, prompts=[{"point": [100, 100]}]).json()["objects"]
    curve = Calibration(
        soft_iou=[0, 1], expected_iou=[0.2, 0.6], windows=1, rank_correlation=1, mean_abs_error=0, calibration_error=0
    )
    loaded = served.parts[0].loaded
    loaded = replace(loaded, card=loaded.card.model_copy(update={"calibration": curve}))
    services.table.put(replace(served, parts=(Part(loaded, 100),)))
    (found,) = ask(photo, prompts=[{"point": [100, 100]}]).json()["objects"]
    assert found["calibrated"] is True
    assert found["confidence"] == pytest.approx(0.2 + 0.4 * plain["confidence"], abs=1e-3)


def test_prompts_of_either_kind_work_on_models_of_either_kind(ask, deployed, photo):
    deployed("points", seed=3, window=WindowPolicy(border=Border.CLAMP))
    deployed("boxes", seed=3, window=WindowPolicy(prompt="box", box_margin=0.5))
    prompts = [{"point": [2, 2]}, {"box": [100, 50, 140, 90]}]
    point, box = (found["window"] for found in ask(photo, prompts=prompts, deployment="points").json()["objects"])
    assert (point["x0"], point["y0"], point["x1"]) == (0, 0, 96)
    assert box["x1"] - box["x0"] == 48
    point, box = (found["window"] for found in ask(photo, prompts=prompts, deployment="boxes").json()["objects"])
    assert (point["x0"], point["x1"], point["clipped"]) == (2 - 48, 2 + 48, True)
    assert box["x1"] - box["x0"] == 80


def test_a_sideways_photo_is_answered_in_the_coordinates_that_a_viewer_shows(ask, deployed):
    deployed(seed=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = ask(file_of(picture(), exif=exif), prompts=[{"point": [230, 310]}]).json()
    assert (answer["image"]["width"], answer["image"]["height"]) == (240, 320)
    assert answer["objects"][0]["mask"]["size"] == [320, 240]


def test_everything_is_a_grid_whose_overlapping_masks_leave_the_most_confident(ask, deployed, photo):
    deployed(seed=3)
    wide = ask(photo, everything={"points_per_side": 4, "nms_iou": 1, "min_confidence": 0}, output="rle").json()["objects"]
    assert [found["point"] for found in sorted(wide, key=lambda found: int(found["id"]))][:2] == [[40, 40], [120, 40]]
    assert len(wide) == 4 * 3
    few = ask(photo, everything={"points_per_side": 4, "nms_iou": 0.05, "min_confidence": 0}, output="rle").json()["objects"]
    confidences = [found["confidence"] for found in few]
    assert confidences == sorted(confidences, reverse=True)
    assert few[0] == wide[0]
    assert 0 < len(few) < len(wide)
    rles = [{"size": found["mask"]["size"], "counts": found["mask"]["counts"]} for found in few]
    overlaps = coco.iou(rles, rles, [0] * len(rles))
    assert (overlaps[~np.eye(len(few), dtype=bool)] <= 0.05).all()
    assert len(ask(photo, everything={"points_per_side": 4, "nms_iou": 1, "max_objects": 3}).json()["objects"]) <= 3
    assert ask(photo, everything={"min_confidence": 1}).json()["objects"] == []


def test_the_same_key_gets_the_same_version(ask, services, deployed, photo):
    one, other = deployed(seed=3), deployed(seed=5)
    halves = tuple(Part(served.parts[0].loaded, 50) for served in (one, other))
    services.table.put(replace(other, parts=halves))

    def models(**headers):
        return {ask(photo, headers, prompts=[{"point": [1, 1]}]).json()["model"] for _ in range(6)}

    assert len(models()) == 2
    assert all(len(models(**{"X-Picofleet-Key": f"camera-{n}"})) == 1 for n in range(4))


def test_metrics_tell_stages_outcomes_and_masks(client, viewer, ask, deployed, photo):
    deployed(seed=3)
    ask(photo, prompts=[{"point": [100, 100]}, {"point": [50, 50]}])
    ask(b"no image", prompts=[{"point": [100, 100]}])
    text = client.get("/metrics", headers=viewer).text
    for stage in ("queue", "decode", "window", "run", "encode"):
        assert f'picofleet_inference_stage_seconds_count{{deployment="default",stage="{stage}"}} 1.0' in text
    assert 'picofleet_inference_requests_total{deployment="default",model="net/4",outcome="answered"} 1.0' in text
    assert 'picofleet_inference_requests_total{deployment="default",model="net/4",outcome="invalid"} 1.0' in text
    assert 'picofleet_inference_windows_sum{deployment="default"} 2.0' in text
    assert 'picofleet_inference_mask_area_count{deployment="default",model="net/4"} 2.0' in text


def test_timings_cover_the_stages(ask, deployed, photo):
    deployed(seed=3)
    timings = ask(photo, prompts=[{"point": [100, 100]}]).json()["timings_ms"]
    assert set(timings) == {"queue", "decode", "window", "run", "encode"}
    assert all(took >= 0 for took in timings.values())
    assert timings["run"] > 0
