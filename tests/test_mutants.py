"""The list of mutants keeps up with the code: what is replaced stands there once, and the tests that are to fail exist.

`make mutants` runs them.
"""

from pathlib import Path

from mutants import Mutant, read_mutants

ROOT = Path(__file__).parent.parent
MUTANTS = read_mutants()


def test_there_are_mutants_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 60
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


def test_what_is_replaced_stands_in_its_file_once() -> None:
    def place(mutant: Mutant) -> int:
        return (ROOT / mutant.file).read_text().count(mutant.old)

    wrong = {mutant.name: place(mutant) for mutant in MUTANTS if place(mutant) != 1 or mutant.old == mutant.new}
    assert not wrong, f"found so many times, or replaced by itself: {wrong}"


def test_the_tests_that_are_to_fail_exist() -> None:
    def exists(test: str) -> bool:
        file, _, function = test.partition("[")[0].partition("::")
        return (ROOT / file).is_file() and f"def {function}(" in (ROOT / file).read_text()

    assert all(mutant.tests for mutant in MUTANTS)
    missing = [test for mutant in MUTANTS for test in mutant.tests if not exists(test)]
    assert not missing, f"tests/mutants.yaml names {missing}"
