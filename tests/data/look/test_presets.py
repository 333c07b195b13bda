"""Presets: values are written so that YAML reads them back, whatever letters they have."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from clm_dl.data.look.presets import value

WORDS = st.text().filter(lambda text: "${" not in text and not any("\ud800" <= c <= "\udfff" for c in text))


@given(st.one_of(WORDS, st.lists(WORDS), st.dictionaries(st.just("key"), WORDS)))
def test_a_value_is_read_back(given_value: Any) -> None:
    assert OmegaConf.to_container(OmegaConf.create(f"key: {value(given_value)}\n"))["key"] == given_value


@pytest.mark.parametrize(
    "word", ["yes", "No", "null", "1e3", "007", "2024-01-01", "a: b", "x #1", "on", "~", "", "Größe"]
)
def test_words_that_yaml_takes_for_something_else_stay_words(word: str) -> None:
    assert OmegaConf.create(f"key: {value(word)}\n")["key"] == word


@pytest.mark.parametrize("number", [28, 0.5, True, None, 45.5])
def test_numbers_and_switches_stay_what_they_are(number: Any) -> None:
    assert OmegaConf.create(f"key: {value(number)}\n")["key"] == number
