"""Text files are read whole or refused, in the encoding they are in, and a name is no pattern where its file exists."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.store.store import EventStore
from clm_dl.data.tables import read_table
from clm_dl.data.text import detect
from clm_dl.errors import UserError

ROLES = {"customer": "id", "time": "when"}
TEXT = "id,when,city\n" + "".join(f"c{i},2024-01-{i % 28 + 1:02d},Köln\n" for i in range(3000))


def stored(path: Path, said: list[str] | None = None, **data: Any) -> EventStore:
    log: Callable[[str], None] = (lambda line: None) if said is None else said.append
    return prepare_store(
        {"path": str(path), "roles": ROLES, "categorical": ["city"], **data}, path.parent / "store", log=log
    )


def compressed(path: Path, content: bytes) -> Path:
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(content)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("log.csv", content)
    else:
        path.write_bytes({".gz": gzip.compress, ".bz2": bz2.compress}[path.suffix](content))
    return path


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst", ".zip"])
def test_compressed_text_is_read_whole_or_refused(suffix: str, tmp_path: Path):
    path = compressed(tmp_path / f"log.csv{suffix}", TEXT.encode())
    assert stored(path).num_events == 3000
    content = path.read_bytes()
    for keep in (len(content) // 2, len(content) - 4):
        path.write_bytes(content[:keep])
        with pytest.raises(ValueError, match=r"is cut short or damaged .*: get it again, whole") as error:
            stored(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zip"])
def test_a_flipped_bit_in_compressed_text_is_no_shorter_log(suffix: str, tmp_path: Path):
    path = compressed(tmp_path / f"log.csv{suffix}", TEXT.encode())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is cut short or damaged"):
        stored(path)


def test_several_gzip_members_are_one_text(tmp_path: Path):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(TEXT.encode()) + gzip.compress(b"z,2024-01-01,Bonn\n"))
    assert stored(tmp_path / "log.csv.gz").num_events == 3001


def test_an_archive_of_several_files_names_them(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(ValueError, match=r"holds 2 files \(a.csv, b.csv\): unpack it"):
        stored(tmp_path / "log.zip")


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("latin-1", "cp1252"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_the_encoding_is_found_out_and_said(encoding: str, found: str, tmp_path: Path):
    (tmp_path / "log.csv").write_bytes(TEXT.encode(encoding))
    said: list[str] = []
    store = stored(tmp_path / "log.csv", said)
    assert detect(tmp_path / "log.csv") == found
    assert (store.num_events, store.dictionary("city").tolist()) == (3000, ["Köln"])
    told = [line for line in said if "(data.encoding)" in line]
    assert told == ([] if "utf-8" in found else [f"log.csv is no UTF-8: read as {found} (data.encoding)"])


def test_other_bytes_far_down_are_found(tmp_path: Path):
    lines = b"".join(b"c%d,2024-01-15,Bonn\n" % (i % 99) for i in range(80_000))
    (tmp_path / "log.csv").write_bytes(b"id,when,city\n" + lines + "c1,2024-01-16,Köln\n".encode("cp1252"))
    store = stored(tmp_path / "log.csv")
    assert store.counts["quarantined"] == 0
    assert store.dictionary("city").tolist() == ["Bonn", "Köln"]


def test_a_damaged_line_of_utf8_is_quarantined_and_changes_no_other(tmp_path: Path):
    (tmp_path / "log.csv").write_bytes(TEXT.encode() + b"c1,2024-01-16,K\xf6ln\n")
    store = stored(tmp_path / "log.csv")
    assert store.counts["quarantine_reasons"] == {"row of the wrong shape": 1}
    assert store.dictionary("city").tolist() == ["Köln"]


def test_the_encoding_that_is_given_decides(tmp_path: Path):
    (tmp_path / "log.csv").write_bytes("id,when,city\na,2024-01-15,Łódź\n".encode("iso8859_2"))
    assert stored(tmp_path / "log.csv", encoding="iso8859_2").dictionary("city").tolist() == ["Łódź"]
    with pytest.raises(ValueError, match="not written in utf-16"):
        stored(tmp_path / "log.csv", encoding="utf-16")
    with pytest.raises(ValueError, match=r"data\.encoding: there is no 'klingon'"):
        stored(tmp_path / "log.csv", encoding="klingon")


@pytest.mark.parametrize("name", ["log[1].csv", "log*.csv", "log?.csv", "[ab].parquet", "log[1].csv.gz", "a[b]c.txt"])
def test_a_file_that_exists_is_no_pattern(name: str, tmp_path: Path):
    decoys = {"log1.csv", "logs.csv", "a.parquet", "log1.csv.gz", "abc.txt"}
    for file, who in ((name, "right"), *((decoy, "wrong") for decoy in decoys)):
        frame = pd.DataFrame({"id": [who], "when": ["2024-01-15"], "city": ["x"]})
        if file.endswith(".parquet"):
            frame.to_parquet(tmp_path / file)
        else:
            frame.to_csv(tmp_path / file, index=False)
    assert stored(tmp_path / name).customer_ids.tolist() == ["right"]


def test_a_pattern_reads_all_that_fit(tmp_path: Path):
    for i in range(3):
        (tmp_path / f"log{i}.csv").write_text(f"id,when,city\nc{i},2024-01-15,x\n")
    assert stored(tmp_path / "log[0-1].csv").customer_ids.tolist() == ["c0", "c1"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("log.xlsx", r"is a spreadsheet, which is not read: give CSV or Parquet, or a pandas table \(pd.read_excel"),
        ("log.json", "is JSON, which is not read"),
        ("log.jsonl.gz", "is JSON, which is not read"),
        ("log.feather", "is a Feather file, which is not read"),
        ("log.dat", "cannot tell the format of .*: set data.separator, or data.format"),
    ],
)
def test_what_is_not_read_is_named_with_its_remedy(name: str, words: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(ValueError, match=words):
        stored(tmp_path / name)


def test_a_folder_of_csv_and_parquet_leaves_nothing_out_unsaid(tmp_path: Path):
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text("id,when,city\na,2024-01-15,x\n")
    compressed(folder / "b.csv.gz", b"id,when,city\nb,2024-01-15,x\n")
    assert stored(folder).customer_ids.tolist() == ["a", "b"]
    pd.DataFrame({"id": ["c"], "when": ["2024-01-15"], "city": ["x"]}).to_parquet(folder / "c.parquet")
    with pytest.raises(ValueError, match="holds Parquet and CSV files: give a pattern"):
        stored(folder)


def test_files_with_other_headers_are_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("id,when,city\na,2024-01-15,x\n")
    (tmp_path / "b.csv").write_text("when,id,city\n2024-01-15,b,x\n")
    with pytest.raises(ValueError, match=r"different headers \(id, when, city and when, id, city\)"):
        stored(tmp_path / "*.csv")


def test_the_separator_is_found_out_and_said(tmp_path: Path):
    said: list[str] = []
    (tmp_path / "log.csv").write_text(TEXT.replace(",", ";"))
    assert stored(tmp_path / "log.csv", said).num_events == 3000
    assert "log.csv is divided by ';' (data.separator)" in said


def test_a_small_table_is_read_as_it_is_written(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes("id;plan;who\n007;NA;Jörg\n08;None;\n".encode("cp1252"))
    table = read_table(tmp_path / "t.csv")
    assert table.iloc[:, :2].to_numpy().tolist() == [["007", "NA"], ["08", "None"]]
    assert table["who"][0] == "Jörg"
    assert np.array_equal(table["who"].isna(), [False, True])
    (tmp_path / "t.csv").write_text("id,id\n1,2\n")
    with pytest.raises(ValueError, match="has two columns 'id'"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("lines", ["\r\n \r\n \n", "\r\n \n \r\n", "\n \r\n \r\n", "\r\n \r\n \r\n", "\r \r \r"])
def test_lines_end_in_several_ways(lines: str, tmp_path: Path):
    ends = lines.split(" ")
    body = "".join(line + end for line, end in zip(("id,when", "a,2024-01-15", "b,2024-01-16"), ends, strict=True))
    (tmp_path / "log.csv").write_bytes(body.encode())
    store = prepare_store({"path": str(tmp_path / "log.csv"), "roles": ROLES}, tmp_path / "s")
    assert store.customer_ids.tolist() == ["a", "b"]


def test_line_ends_in_quotes_are_part_of_the_cell(tmp_path: Path):
    rows = [(f"c{i}", "2024-01-05", ["a\r\nb", "a\nb", "plain"][i % 3]) for i in range(30)]
    lines = "".join(f'{who},{when},"{item}"\n' for who, when, item in rows)
    (tmp_path / "log.csv").write_bytes(f"id,when,item\r\n{lines}".encode())
    store = stored(tmp_path / "log.csv", roles=ROLES | {"item": "item"}, categorical=[])
    assert sorted(store.dictionary("item").tolist()) == ["a\nb", "a\r\nb", "plain"]


def test_a_cell_that_goes_on_behind_its_quote_names_its_line(tmp_path: Path):
    rows = "".join(f"c{i % 9},2024-01-{i % 28 + 1:02d},thing\n" for i in range(60))
    (tmp_path / "log.csv").write_text(f'id,when,item\n{rows}c1,2024-01-05,"TV 40" black\n{rows}')
    with pytest.raises(UserError, match="in line 62, 'c1,2024-01-05,"):
        stored(tmp_path / "log.csv")


@pytest.mark.parametrize(("mark", "first"), [(";", "sep=;"), ("|", '"sep=|"'), (",", "sep=,")])
def test_the_line_for_excel_names_the_separator(mark: str, first: str, tmp_path: Path):
    lines = ["id,when,label", "007,2024-01-15,1", "8,2024-01-16,0"]
    file = tmp_path / "log.csv"
    file.write_text("\r\n".join([first, *(line.replace(",", mark) for line in lines), ""]))
    store = prepare_store({"path": str(file), "roles": ROLES}, tmp_path / "store")
    assert store.customer_ids.tolist() == ["007", "8"]
    assert read_table(file)["label"].tolist() == ["1", "0"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"encoding": "hex"}, "data.encoding must be a name such as utf-8"),
        ({"separator": ""}, "data.separator must be the"),
    ],
)
def test_options_of_text_that_cannot_be_are_one_sentence(option: dict[str, str], words: str, tmp_path: Path):
    (tmp_path / "log.csv").write_text("id,when\na,2024-01-15\n")
    data = {"path": str(tmp_path / "log.csv"), "roles": ROLES, **option}
    with pytest.raises(UserError, match=words):
        prepare_store(data, tmp_path / "store")
