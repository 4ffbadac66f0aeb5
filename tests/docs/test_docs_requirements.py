"""The page of requirements is what the tests say today."""

from requirements_page import PAGE, page, proofs, requirements


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_tests_name_only_requirements_that_exist() -> None:
    known = {id for group in requirements().values() for id in group}
    assert set(proofs()) - known == set()
    assert len(known) == 100
