"""References in the specs of steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.pipelines.references import BadReference, Parameter, StepValue, dig, find, parse, replace

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("inside", "meant"),
    [
        ("parameters.samples", Parameter("samples")),
        ("parameters.train.0.dataset", Parameter("train", "0.dataset")),
        ("steps.train.model", StepValue("train", "model")),
        ("steps.distil-2.job", StepValue("distil-2", "job")),
        ("steps.train.result.miou_96", StepValue("train", "result", "miou_96")),
        ("steps.evaluate.result.models.picosam2/3.miou_96", StepValue("evaluate", "result", "models.picosam2/3.miou_96")),
    ],
)
def test_a_reference_is_read_and_written_as_it_was(inside, meant):
    assert parse(inside) == meant
    assert str(meant) == inside


@pytest.mark.parametrize(
    "inside",
    ["", "samples", "parameters", "parameters.", "parameters.X", "steps.train", "steps.train.result", "steps.train.result.",
     "steps.train.models", "steps.train.model.x", "steps.train.job ", " parameters.a", "env.HOME"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_its_place(inside):
    with pytest.raises(BadReference, match="no reference") as caught:
        find({"recipe": [1, "${" + inside + "}"]})
    assert caught.value.path == ("recipe", 1)


def test_a_reference_without_an_end_is_refused():
    with pytest.raises(BadReference, match="no end"):
        find(["x ${parameters.a"])


def test_one_reference_becomes_the_value_itself_and_text_is_written_out():
    values = {"parameters.n": 5, "parameters.on": [{"dataset": "coco"}], "steps.train.model": "picosam2/3"}
    document = {"samples": "${parameters.n}", "train": "${parameters.on}", "name": "${steps.train.model} x${parameters.n}"}
    assert replace(document, lambda reference: values[str(reference)]) == {
        "samples": 5,
        "train": [{"dataset": "coco"}],
        "name": "picosam2/3 x5",
    }


def test_inside_text_values_are_written_as_json_has_them():
    values = iter([True, None, 0.1, ["a"]])
    text = " ".join(["${parameters.x}"] * 4)
    assert replace(text, lambda _: next(values)) == 'true null 0.1 ["a"]'


def test_values_are_not_looked_into():
    assert replace(["${parameters.a}"], lambda _: "${steps.x.model}") == ["${steps.x.model}"]


def test_an_escaped_mark_is_plain():
    assert find("$${parameters.a}") == []
    assert replace("cost $${parameters.a} ${parameters.a}", lambda _: 3) == "cost ${parameters.a} 3"


@given(JSON)
def test_a_document_without_references_is_not_changed(document):
    if "${" not in repr(document):
        assert replace(document, lambda _: pytest.fail("there is none")) == document


@given(JSON, st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4))
def test_a_value_arrives_whole_wherever_its_reference_stands(value, place):
    document = "${parameters.x}"
    for key in place:
        document = {key: [document]}
    arrived = replace(document, lambda _: value)
    for key in reversed(place):
        arrived = arrived[key][0]
    assert arrived == value


def test_a_path_leads_through_lists_and_keys_with_dots():
    result = {"models": [{"miou_96": 0.5}], "picosam2.int8/1": {"miou_96": 0.4}, "a": {"b": 1}, "a.b": {"c": 2}}
    assert dig(result, "models.0.miou_96") == 0.5
    assert dig(result, "picosam2.int8/1.miou_96") == 0.4
    assert dig(result, "a.b") == 1
    assert dig(result, "a.b.c") == 2


@pytest.mark.parametrize("path", ["missing", "models.1", "models.x", "models.0.x.y", "models.-1", "models.²"])
def test_a_path_to_nothing_is_a_key_error(path):
    with pytest.raises(KeyError):
        dig({"models": [{"x": 1}]}, path)
