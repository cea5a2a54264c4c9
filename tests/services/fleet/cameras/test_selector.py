"""Label selectors: what they mean, and where they are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.fleet.cameras.selector import MOST_TERMS, Operator, Selector, SelectorInvalid, Term, parse
from shared.contracts.cameras import Labels

KEYS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True)
SETS = st.sets(VALUES, min_size=1, max_size=4).map(lambda values: tuple(sorted(values)))
TERMS = st.one_of(
    st.builds(Term, KEYS, st.sampled_from([Operator.IN, Operator.NOT_IN]), SETS | st.just(("",))),
    st.builds(Term, KEYS, st.sampled_from([Operator.EXISTS, Operator.MISSING])),
)
SELECTORS = st.builds(Selector, st.lists(TERMS, max_size=4).map(tuple))
EXAMPLE = "site=berlin,model in (a, b),env!=test,gpu,!old,x notin (a,b)"


@pytest.mark.parametrize(
    ("change", "selected"),
    [
        ({}, True),
        ({"site": "paris"}, False),
        ({"model": "b"}, True),
        ({"model": "c"}, False),
        ({"env": "test"}, False),
        ({"env": "live"}, True),
        ({"gpu": ""}, True),
        ({"old": ""}, False),
        ({"x": "a"}, False),
        ({"x": "c"}, True),
    ],
)
def test_every_term_must_hold(change, selected):
    labels = {"site": "berlin", "model": "a", "gpu": "yes"} | change
    assert parse(EXAMPLE).matches(labels) is selected


@pytest.mark.parametrize("key", ["site", "model", "gpu"])
def test_a_label_that_is_asked_for_must_be_there(key):
    labels = {"site": "berlin", "model": "a", "gpu": "yes"}
    del labels[key]
    assert not parse(EXAMPLE).matches(labels)


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_an_empty_selector_selects_everything(text):
    assert parse(text) == Selector()
    assert parse(text).matches({})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a==b", "a=b"),
        ("a in (b)", "a=b"),
        ("a notin(b)", "a != b"),
        ("a in (c, b,c)", "a in (b, c)"),
        (" a , ! b ", "a,!b"),
        ("in in (in, notin)", "in  in(notin,in)"),
        ("a=,b", "a =  , b"),
    ],
)
def test_several_ways_to_write_one_thing(one, other):
    assert parse(one) == parse(other)


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("a,", 3, "expected a label's key, found the end"),
        (",a", 1, "expected a label's key, found ','"),
        ("a b", 3, "expected a comma, =, !=, in or notin, found 'b'"),
        ("a=b c", 5, "expected a comma or the end"),
        ("a=/", 3, "'/' is not a value"),
        ("a=b/c", 3, "'b/c' is not a value"),
        ("-a", 1, "'-a' is not a label's key"),
        ("a in b", 6, "expected an opening bracket"),
        ("a in ()", 7, "expected a value"),
        ("a in (b,)", 9, "expected a value"),
        ("a in (b", 8, "expected a comma or a closing bracket, found the end"),
        ("a in ((b))", 7, "expected a value, found '('"),
        ("!", 2, "expected a label's key"),
        ("!a=b", 3, "expected a comma or the end"),
        ("a=\u00e9", 3, "cannot stand in a selector"),
        ("a\0", 2, "cannot stand in a selector"),
        ("a=b;drop", 4, "cannot stand in a selector"),
        ("x" * 64, 1, "is not a label's key"),
        ("a=" + "x" * 64, 3, "is not a value"),
        ("," * 1024, 1, "expected a label's key"),
        ("a" * 1025, 1025, "at most 1024 characters"),
        (",".join("a" * 33), 65, "at most 32 conditions"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, at, told):
    with pytest.raises(SelectorInvalid) as caught:
        parse(text)
    assert (caught.value.at, told in str(caught.value)) == (at, True), caught.value
    assert str(caught.value).startswith(f"at character {at}: ")


def test_as_many_terms_as_a_camera_has_labels():
    assert len(parse(",".join(["a"] * MOST_TERMS)).terms) == MOST_TERMS


@given(SELECTORS)
def test_what_is_written_is_read_again(selector):
    text = str(selector)
    if len(text) <= 1024:
        assert parse(text) == selector


@given(st.text(alphabet="ab=!,() \tin/.-\0\u20ac", max_size=40) | st.text())
def test_any_text_is_a_selector_or_a_named_mistake(text):
    try:
        selector = parse(text)
    except SelectorInvalid as exc:
        place = exc.at
    else:
        place = 1
        assert parse(str(selector)) == selector
    assert 1 <= place <= len(text) + 1


@given(TERMS, st.dictionaries(KEYS, VALUES | st.just(""), max_size=4))
def test_a_term_and_its_opposite_part_all_cameras(term, labels):
    opposite = {"in": "notin", "notin": "in", "exists": "missing", "missing": "exists"}[term.operator]
    assert term.holds(labels) is not Term(term.key, Operator(opposite), term.values).holds(labels)


@given(st.dictionaries(KEYS, VALUES | st.just(""), min_size=1, max_size=8))
def test_a_camera_is_found_by_all_its_labels(labels):
    TypeAdapter(Labels).validate_python(labels)
    terms = [Term(key, Operator.IN, (value,)) for key, value in labels.items()]
    assert Selector(tuple(terms)).matches(labels)
    assert not Selector((*terms, Term(next(iter(labels)), Operator.MISSING))).matches(labels)
