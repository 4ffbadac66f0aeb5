"""Compiled rules find what the rules themselves say: compared with the plain walk of a locator, over any JSON tree."""

from hypothesis import given
from hypothesis import strategies as st

from hookseal.catalogue.event_rules import Condition, Field, Operator
from hookseal.catalogue.locator import Locator
from hookseal.identity import rule_compiler
from hookseal.model import Json

NAMES = st.sampled_from(["a", "b", "0", "1", "", "00", "ä"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)
PARTS = NAMES | st.just("*")
PATHS = st.lists(PARTS, max_size=5).map(lambda parts: "body:" + "".join(f"/{part}" for part in parts))
PLACES = PATHS.map(lambda text: Locator.read(text, "acme.toml", "event.id"))


@given(place=PLACES, tree=TREES)
def test_a_compiled_place_finds_what_the_locator_finds(place: Locator, tree: Json) -> None:
    assert rule_compiler._get(place)(tree, ()) is place.first(tree, ())


@given(places=st.lists(PLACES, max_size=3).map(tuple), tree=TREES)
def test_several_places_are_searched_in_their_order(places: tuple[Locator, ...], tree: Json) -> None:
    found = list(rule_compiler._get_all(places)(tree, ()))
    assert found == [value for place in places for value in place.every(tree, ())]


@given(places=st.lists(PLACES, min_size=1, max_size=2).map(tuple), tree=TREES, wanted=st.booleans())
def test_presence_and_content_are_what_the_places_hold(places: tuple[Locator, ...], tree: Json, wanted: bool) -> None:
    values = [value for place in places for value in place.every(tree, ())]
    present = rule_compiler._condition(Condition(places, Operator.PRESENT, wanted))
    assert present(tree, ()) is (bool(values) is wanted)
    filled = rule_compiler._condition(Condition(places, Operator.FILLED, wanted))
    assert filled(tree, ()) is (any(value not in (None, "", [], {}) for value in values) is wanted)


@given(tree=TREES, otherwise=st.none() | st.just("x"))
def test_a_template_without_any_found_field_is_absent_and_fixed_text_stays(tree: Json, otherwise: str | None) -> None:
    missing = Field((Locator.read("body:/no/such/place/here", "acme.toml", "claims.fields"),), otherwise=otherwise)
    fill = rule_compiler._template({"a": missing, "b": "text", "c": ["text"], "d": {"e": "text"}})
    assert fill(tree, ()) == (None, False)
    assert rule_compiler._template({"b": "text", "c": ["text"]})(tree, ()) == ({"b": "text", "c": ["text"]}, False)
