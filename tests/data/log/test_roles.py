"""A `data` mapping with a mistake in it is refused in one sentence that names the nearest valid word."""

from __future__ import annotations

import pytest

from clm_dl.data.log.roles import parse_data

GOOD = {"path": "log.csv", "roles": {"customer": "id", "time": "when"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rolls": {}}, "unknown key of data 'rolls' \\(did you mean 'roles'\\?\\)"),
        ({"roles": {"customer": "id", "tme": "when"}}, "unknown role in data.roles 'tme' \\(did you mean 'time'\\?\\)"),
        ({"roles": {"customer": "id", "time": None}}, "data.roles.time is not set"),
        ({"roles": {"time": "when"}}, "data.roles.customer is not set"),
        ({"path": None}, "data.path is not set"),
        ({"engine": "sparc"}, "data.engine must be one of duckdb, spark, got 'sparc' \\(did you mean 'spark'\\?\\)"),
        ({"tie": "fil"}, "data.tie must be one of sort, file"),
        ({"engine": "spark", "tie": "file"}, "needs data.engine=duckdb"),
        ({"joins": [{"on": "sku"}]}, "has no path"),
        ({"joins": [{"path": "a.csv"}]}, "data.joins\\[\\].on must be"),
        ({"joins": [{"path": "a.csv", "on": "sku", "to": "items"}]}, "did you mean 'item'"),
        ({"joins": [{"path": "a.csv", "no": "sku"}]}, "unknown key of data.joins 'no'"),
        ({"categorical": ["time"]}, "cannot be stored under that name"),
        ({"categorical": ["a"], "numeric": ["a"]}, "both data.categorical and data.numeric"),
        ({"sources": [{"path": "a.csv", "name": "x"}, {"path": "b.csv", "name": "x"}]}, "need different names"),
        (
            {"sources": [{"path": "a.csv", "categorical": ["c"]}, {"path": "b.csv", "numeric": ["c"]}]},
            "categorical in one source and numeric in another",
        ),
    ],
)
def test_mistakes_are_one_sentence(change: dict, words: str):
    with pytest.raises(ValueError, match=words) as error:
        parse_data({**GOOD, **change})
    assert "\n" not in str(error.value)


def test_sources_take_what_they_do_not_say_from_data():
    spec = parse_data(
        {
            **GOOD,
            "timezone": "Europe/Berlin",
            "sources": [{"path": "a.csv"}, {"path": "b.csv", "roles": {"item": "sku"}}],
        }
    )
    assert [log.roles for log in spec.logs] == [
        {"customer": "id", "time": "when"},
        {"customer": "id", "time": "when", "item": "sku"},
    ]
    assert {log.timezone for log in spec.logs} == {"Europe/Berlin"}
    assert list(spec.kinds) == ["item", "source"]


def test_an_unquoted_on_of_yaml_is_understood():
    join = parse_data({**GOOD, "joins": [{"path": "items.csv", True: "sku"}]}).logs[0].joins[0]
    assert (join.left, join.right, join.to) == ("sku", "sku", "item")
