"""Vocabulary: ids by count, limits, missing and unseen values, and that it depends on the training rows alone."""

import json

import numpy as np
import pandas as pd
import pytest
from support import options

from clm_dl.data.sequences.options import VocabularyOptions
from clm_dl.data.sequences.vocabulary import UNK, Vocabulary


@pytest.fixture(scope="module")
def store(store_of):
    day = pd.Timestamp("2020-01-01")
    values = ["b", "b", "a", "a", "c", None, "z", "z", "z", "z"]  # the z come late
    frame = pd.DataFrame(
        {"cust": "c0", "ts": [day + pd.Timedelta(days=i) for i in range(10)], "dept": values, "spend": 1.0}
    )
    return store_of(frame)


EARLY = np.arange(10) < 6


def fit(store, **changes):
    """Fitted on the early rows; every value is kept unless `changes` say otherwise."""
    chosen = options(VocabularyOptions, "vocabulary/default", **({"min_count": 1} | changes))
    return Vocabulary.fit(store, ["dept"], rows=EARLY, options=chosen)


def test_ids_by_count_then_value(store):
    vocabulary = fit(store)
    assert vocabulary.fields == {"dept": ["a", "b", "c"]}
    assert vocabulary.sizes == {"dept": 5}


def test_late_values_and_missing_are_unknown(store):
    vocabulary = fit(store)
    ids = vocabulary.lookup("dept", store.dictionary("dept"))[store.column("dept")]
    assert ids.tolist() == [3, 3, 2, 2, 4, UNK, UNK, UNK, UNK, UNK]


def test_ids_follow_the_value_and_not_the_code(store):
    vocabulary = fit(store)
    dictionary = np.array(["z", "b", "new", "a"], dtype=object)
    assert vocabulary.lookup("dept", dictionary).tolist() == [UNK, 3, UNK, 2, UNK]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"min_count": 2}, ["a", "b"]),
        ({"max_size": 1}, ["a"]),
        ({"min_count": 2, "fields": {"dept": {"min_count": 1}}}, ["a", "b", "c"]),
        ({"fields": {"dept": {"max_size": 2}}}, ["a", "b"]),
    ],
)
def test_limits(store, limits, kept):
    assert fit(store, **limits).fields["dept"] == kept


def test_json_round_trip(store):
    vocabulary = fit(store)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    with pytest.raises(ValueError, match="version 99"):
        Vocabulary.from_json({"version": 99, "fields": {}})


@pytest.mark.parametrize("fields", [{"dpt": {"min_count": 2}}, {"dept": {"min": 2}}, {"dept": {"min_count": 0}}])
def test_bad_fields(store, fields):
    with pytest.raises(ValueError, match=r"vocabulary"):
        fit(store, fields=fields)
