"""Catalogue: what is known of each item and from which rows, the round trip through Parquet, vectors from a file, bad
input.
"""

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.ranking.catalogue import Catalogue

LOG = pd.DataFrame(
    [  # customer, day, item, kind, price, title
        ("abe", 9, "pear", "late", 8.0, "late"),
        ("ann", 1, "pear", "fruit", 1.0, "green pear"),
        ("ann", 2, "apple", None, 2.0, "red apple"),
        ("ann", 3, "apple", "fruit", 4.0, "red apple"),
        ("ann", 4, "rope", "tool", 9.0, "long rope"),
        ("bob", 1, "apple", "food", 3.0, "other words"),
        ("bob", 2, None, "fruit", 5.0, None),
        ("bob", 3, "saw", "tool", 7.0, "long red saw"),
        ("bob", 4, "apple", "late", 99.0, "late"),
        ("bob", 5, "void", None, 1.0, None),
    ],
    columns=["cust", "day", "item", "kind", "price", "title"],
)
TRAINING = np.array([False, True, True, True, False, True, True, False, False, False])
ITEMS = ["apple", "pear", "rope", "saw", "void"]


@pytest.fixture(scope="module")
def store(store_of):
    return store_of(
        LOG.assign(ts=pd.Timestamp("2020-01-01") + pd.to_timedelta(LOG["day"], unit="D")).drop(columns="day")
    )


@pytest.fixture
def full(store, vectors_of):
    path = vectors_of({"apple": [1.0, 2.0], "saw": [0.5, 0.0], "stranger": [7.0, 7.0]})
    return Catalogue.from_store(
        store, TRAINING, categorical=["kind"], numeric=["price"], text="title", vectors=path, text_size=3
    )


@pytest.fixture
def vectors_of(tmp_path):
    def write(vectors, **names):
        path = tmp_path / "vectors.parquet"
        pd.DataFrame({"item_id": list(vectors), "vector": list(vectors.values())}).rename(columns=names).to_parquet(
            path
        )
        return path

    return write


def test_ids_and_counts(store):
    catalogue = Catalogue.from_store(store, TRAINING)
    assert catalogue.item_ids.tolist() == ITEMS == store.dictionary("item").tolist()
    assert catalogue.count.tolist() == [3, 1, 0, 0, 0]
    assert (catalogue.vectors.shape, catalogue.numeric.shape, catalogue.missing) == ((5, 0), (5, 0), 0)


def test_content_comes_from_the_first_known_line_and_training_first(full):
    """pear's first line is not for training, apple's has no kind; cold items have their own lines but no mean."""
    assert full.values == {"kind": ["fruit", "tool"]}
    assert full.categorical["kind"].tolist() == [0, 0, 1, 1, -1]
    assert full.categorical["kind"].dtype == np.int32
    assert full.numeric["price"].tolist()[:2] == [3.0, 1.0]
    assert full.numeric["price"].isna().tolist() == [False, False, True, True, True]
    assert full.missing == 1  # void


def test_text_vectors_are_near_where_words_are_shared(full):
    text = full.vectors[:, :-2]
    assert not text[4].any()
    assert np.isfinite(text).all()
    apple, pear, rope, saw = text[:4]
    assert saw @ apple > 0.1  # "red"
    assert saw @ pear == pytest.approx(0, abs=1e-6)
    assert rope @ apple == pytest.approx(0, abs=1e-6)  # "long" is no word of the training period


def test_vectors_of_a_file_follow_by_item_id(full):
    assert full.vectors.dtype == np.float32
    assert full.vectors[:, -2:].tolist() == [[1.0, 2.0], [0, 0], [0, 0], [0.5, 0.0], [0, 0]]


def test_schema_counts_values_and_scales_numbers_of_the_training_items(full):
    schema = full.schema()
    assert (schema["num_items"], schema["categorical"], schema["vector_size"]) == (
        5,
        {"kind": 2},
        full.vectors.shape[1],
    )
    assert schema["numeric"]["price"]["center"] == pytest.approx((np.log1p(3) + np.log1p(1)) / 2)


@pytest.mark.parametrize("content", [True, False])
def test_round_trip_through_parquet(store, full, content, tmp_path):
    catalogue = full if content else Catalogue.from_store(store, TRAINING)
    catalogue.to_frame().to_parquet(tmp_path / "items.parquet")
    other = Catalogue.from_frame(pd.read_parquet(tmp_path / "items.parquet"))
    assert other.item_ids.tolist() == ITEMS
    assert np.array_equal(other.count, catalogue.count)
    assert other.values == catalogue.values
    assert other.categorical.keys() == catalogue.categorical.keys()
    assert all(np.array_equal(other.categorical[name], codes) for name, codes in catalogue.categorical.items())
    pd.testing.assert_frame_equal(other.numeric, catalogue.numeric, check_column_type=False)
    assert np.array_equal(other.vectors, catalogue.vectors)
    assert other.vectors.dtype == np.float32
    assert other.schema() == catalogue.schema()


def test_lookup(full):
    assert full.lookup(["saw", "nothing", "apple"]).tolist() == [3, -1, 0]
    assert full.lookup(pd.Series([7])).tolist() == [-1]


def test_statistics_look_at_training_rows_only(store, store_of, full, vectors_of):
    """Other values in the rows after training: counts, means and the content of the warm items stay bit-equal."""
    later = LOG.assign(ts=pd.Timestamp("2020-01-01") + pd.to_timedelta(LOG["day"], unit="D")).drop(columns="day")
    columns = ["kind", "price", "title"]
    later.loc[~TRAINING, columns] = np.roll(later.loc[~TRAINING, columns].to_numpy(), 2, axis=0)
    path = vectors_of({"apple": [1.0, 2.0], "saw": [0.5, 0.0]})
    other = Catalogue.from_store(
        store_of(later), TRAINING, categorical=["kind"], numeric=["price"], text="title", vectors=path, text_size=3
    )
    warm = full.count > 0
    assert np.array_equal(other.count, full.count)
    pd.testing.assert_frame_equal(other.numeric, full.numeric)
    assert np.array_equal(other.vectors[warm], full.vectors[warm])
    assert [other.values["kind"][c] for c in other.categorical["kind"][warm]] == ["fruit", "fruit"]
    assert not np.array_equal(other.vectors[~warm], full.vectors[~warm])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categorical": ["kinds"]}, "no categorical field 'kinds' to describe items by .did you mean 'kind'"),
        ({"numeric": ["kind"]}, "no numeric field 'kind' .* the store has price"),
        ({"text": "titel"}, "did you mean 'title'"),
        ({"text": "title", "text_size": 0}, "text_size must be at least 1"),
    ],
)
def test_bad_fields(store, options, message):
    with pytest.raises(ValueError, match=message):
        Catalogue.from_store(store, TRAINING, **options)


@pytest.mark.parametrize(
    ("vectors", "names", "message"),
    [
        ({"stranger": [1.0]}, {}, "vector of none of the 5 items"),
        ({"apple": [1.0], "saw": [1.0, 2.0]}, {}, "vectors of 1, 2 numbers"),
        ({"apple": [1.0, np.nan]}, {}, "not finite"),
        ({"apple": 1.0}, {}, "holds double: give every item a list of numbers"),
        ({"apple": ["1.0"]}, {}, "give every item a list of numbers"),
        ({"apple": [1.0]}, {"vector": "vectors"}, "lacks the column 'vector' .did you mean 'vectors'"),
    ],
)
def test_bad_vectors(store, vectors_of, vectors, names, message):
    with pytest.raises(ValueError, match=message):
        Catalogue.from_store(store, TRAINING, vectors=vectors_of(vectors, **names))


def test_two_vectors_of_an_item(store, tmp_path):
    path = tmp_path / "vectors.parquet"
    pd.DataFrame({"item_id": ["apple", "saw", "apple"], "vector": [[1.0], [2.0], [3.0]]}).to_parquet(path)
    with pytest.raises(ValueError, match="several vectors of item apple"):
        Catalogue.from_store(store, TRAINING, vectors=path)


def test_vectors_that_are_no_parquet(store, tmp_path):
    (tmp_path / "vectors.csv").write_text("item_id,vector\napple,1\n")
    with pytest.raises(ValueError, match=r"vectors\.csv is no Parquet file"):
        Catalogue.from_store(store, TRAINING, vectors=tmp_path / "vectors.csv")


def test_missing_file_of_vectors(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of item vectors"):
        Catalogue.from_store(store, TRAINING, vectors=tmp_path / "none.parquet")


def test_text_without_words(store):
    with pytest.raises(ValueError, match="'title' holds no words in the training period"):
        Catalogue.from_store(store, np.zeros(len(LOG), bool), text="title")


def test_reserved_names(store_of):
    frame = pd.DataFrame({"cust": ["a"], "ts": [pd.Timestamp("2020-01-01")], "item": ["x"], "count": [1.0]})
    with pytest.raises(ValueError, match="cannot be called 'count'"):
        Catalogue.from_store(store_of(frame), np.ones(1, bool), numeric=["count"])


def test_a_log_without_items(small_store):
    with pytest.raises(ValueError, match=r"has no items, .* name the column with data.roles.item"):
        Catalogue.from_store(small_store, np.ones(small_store.num_events, bool))
