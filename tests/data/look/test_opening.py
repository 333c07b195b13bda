"""Opening: separators and headers of files whose suffix and first line do not tell."""

from pathlib import Path

import pytest

from clm_dl.data.look.opening import reading_keys


def keys(path: Path, content: str, **more: object) -> dict[str, object]:
    path.write_text(content, encoding="utf-8")
    return reading_keys({"path": str(path), **more})


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", "cust,when\n1,2024-01-01\n", {}),
        ("a.csv", "cust;when;spend\n1;2024-01-01;3,5\n", {}),
        ("a.csv", "C1,2024-01-01,3.5\nC2,2024-01-02,1\n", {"columns": ["c1", "c2", "c3"]}),
        ("a.tsv", "1\t10\t964982703\n2\t11\t964981247\n", {"columns": ["c1", "c2", "c3"]}),
        ("a.csv", "year,2021,2022,2023\nx,1,2,3\n", {"columns": ["c1", "c2", "c3", "c4"]}),
        ("a.dat", "user::item\n1::5\n", {"separator": "::"}),
        ("a.dat", "1::5::3.5\n2::6::1\n", {"separator": "::", "columns": ["c1", "c2", "c3"]}),
        ("a.data", "user|item\n1|5\n", {"separator": "|"}),
        ("log", "user;spend\n1;5,5\n2;6,5\n", {"separator": ";"}),
        ("a.csv", "user::item\n1::5\n", {"separator": "::"}),
        ("a.txt", "00001 19970101  1   11.77\n", {"columns": ["c1", "c2", "c3", "c4"]}),
    ],
)
def test_what_a_file_needs_to_be_read(tmp_path: Path, name: str, content: str, found: dict[str, object]) -> None:
    assert keys(tmp_path / name, content) == found


def test_what_is_said_is_not_found_out_again(tmp_path: Path) -> None:
    assert keys(tmp_path / "a.dat", "1;2,5\n2;3,5\n", separator=";", columns=["a", "b"]) == {}
    assert keys(tmp_path / "a.csv", "1,2\n", format="sequences") == {}


@pytest.mark.parametrize(("content", "sentence"), [("", "is empty"), ("one\ntwo words\n", "cannot tell what divides")])
def test_what_cannot_be_opened_is_said(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        keys(tmp_path / "a.dat", content)
