"""Masking: no password of an address or a setting is printed or kept; the environment's names stay."""

import json
import re
import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clm_dl.config import compose
from clm_dl.errors import MissingFile, UserError
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.run_files import read_results
from clm_dl.masking import STARS, masked, masked_config
from clm_dl.prepare import main as prepare_command
from clm_dl.run import Run, load_run
from clm_dl.train import main as train_command

SECRET = "hun7er2"
SHOWN = [
    f"postgres://user:{SECRET}@host:5432/db",
    f"postgresql+psycopg://user:{SECRET}@host/db?sslmode=require",
    f"mysql://:{SECRET}@host",
    f"postgres://user:a@b/{SECRET}:c@host/db",
    f"snowflake://user:{SECRET}@account/db/schema?warehouse=w",
    f"https://{SECRET}@example.org/log.csv",
    f"https://example.org/log.csv?password={SECRET}",
    f"https://example.org/log.csv?a=1&token={SECRET}&b=2",
    f"https://example.org/log.csv?X-Amz-Credential=me;sig={SECRET}",
    f"postgres://host/db?user=me&pwd={SECRET}",
    f"cannot open mssql://sa:{SECRET}@host/db: login failed (postgres://user:{SECRET}@host/db)",
    f"connection to host=db user=me password={SECRET} failed",
    f"api_key = '{SECRET} and more'",
    f"data.path=postgres://user:{SECRET}@host/db",
    f"postgres://user:geh'{SECRET}@host/db",
    shlex.join([f"data.path=postgres://user:geh'{SECRET}@host/db"]),
    f"postgres://host/db?password=geh'{SECRET}&user=me",
    *(f"snowflake://user@account/db?{key}={SECRET}&warehouse=w" for key in ("private_key", "passcode", "ssl_key_pass")),
    f"bigquery://project?credentials_base64={SECRET}",
    f"cannot open 'postgres://host/db?user=me&password=a {SECRET}', see there",
    rf"#0 : data.path=postgres\://user\:{SECRET}@localhost\:1/db data.table=log",
    rf"#0 : data.path=https\://h/log.csv?token\={SECRET}",
]
PLAIN = [
    "sequence.token=line",
    "sqlite:///folder/file.db",
    "postgres://user@host/db",
    "https://example.org:8080/path/log.csv?user=me",
    "write to me@example.org: it is 12:30@noon",
    "s3://bucket/key.parquet",
    "task.tokens=3, token=order",
    "the folder 'sqlite:///my folder/file.db', or 'me@example.org'",
]


@pytest.mark.parametrize("text", SHOWN)
def test_no_password_is_left(text: str) -> None:
    assert SECRET not in masked(text)
    assert STARS in masked(text)
    assert masked(masked(text)) == masked(text)
    for error in (UserError, MissingFile):
        assert str(error(text)) == masked(text)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_password_stays(text: str) -> None:
    assert masked(text) == text


@given(
    st.from_regex(r"[a-z][a-z0-9+]{0,8}", fullmatch=True),
    st.from_regex(r"[\w.%-]{0,8}", fullmatch=True),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"<>`'), min_size=3),
)
def test_any_password_of_an_address(scheme: str, user: str, password: str) -> None:
    found = masked(f"see {scheme}://{user}:QQ{password}@host/db now")
    assert "QQ" not in found
    assert found.endswith("@host/db now")


def test_the_name_of_a_variable_stays() -> None:
    for text in ("postgres://user:${oc.env:PW}@host/db", "https://h/?token=${oc.env:PW,none}"):
        assert masked(text) == text
    config = {"api_key": "${oc.env:KEY}", "password": SECRET, "a": [{"db_password": SECRET}], "token": "order", "n": 3}
    expected = {"api_key": "${oc.env:KEY}", "password": STARS, "a": [{"db_password": STARS}], "token": "order", "n": 3}
    assert masked_config(config) == expected
    assert masked_config({"path": f"postgres://h/my db?password=a {SECRET}"}) == {
        "path": f"postgres://h/my db?password={STARS}"
    }


# --- a run


@pytest.fixture(scope="module")
def secret_run(shop_log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a database whose folder is a password of the environment, and whose settings hold others."""
    folder = tmp_path_factory.mktemp("secret")
    (folder / SECRET).mkdir()
    with sqlite3.connect(folder / SECRET / "log.db") as connection:
        shop_log.assign(ts=shop_log["ts"].astype(str)).to_sql("log", connection, index=False)
    connection.close()
    words = ["experiment=churn_events", "data.path=sqlite:///${oc.env:FOLDER_OF_MINE}/log.db", "data.table=log"]
    words += ["data.roles.customer=cust", "data.roles.time=ts", "encoder=none", "baselines=[base_rate]", "bootstrap=5"]
    words += [f"paths.output_dir={folder / 'run'}", f"paths.data_dir={folder / 'data'}", "snapshots.horizon_days=28"]
    words += [f"logger.tensorboard.name=https://me:{SECRET}@host"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOLDER_OF_MINE", str(folder / SECRET))
        said: list[str] = []
        run_experiment(compose("train", words), log=said.append)
    assert said
    assert not any(SECRET in line for line in said)
    return Run(folder / "run")


def test_no_file_of_a_run_or_store_holds_a_secret(secret_run: Run) -> None:
    folder = secret_run.path.parent
    files = [path for part in ("run", "data") for path in (folder / part).rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    kept = yaml.safe_load((secret_run.path / "config.yaml").read_text())
    assert kept["data"]["path"] == "sqlite:///${oc.env:FOLDER_OF_MINE}/log.db"
    assert kept["paths"]["data_dir"] == str(folder / "data")
    assert kept["logger"]["tensorboard"]["name"] == f"https://me:{STARS}@host"
    assert "${oc.env:FOLDER_OF_MINE}" in (secret_run.path / "model_card.md").read_text()


def test_a_run_is_applied_with_the_log_at_hand(secret_run: Run, shop_log: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"FOLDER_OF_MINE.* holds what a run does not keep.*input="):
        load_run(secret_run.path).predict(cutoff="2021-09-01")
    assert len(load_run(secret_run.path).predict(shop_log, cutoff="2021-09-01"))


def test_an_older_run_that_kept_a_password_does_not_show_it(run: Run, tmp_path: Path) -> None:
    old = run.save(tmp_path / "old")
    config = (old.path / "config.yaml").read_text()
    config = re.sub(r"\n  path: .*", f"\n  path: postgres://user:{SECRET}@host/db", config)
    (old.path / "config.yaml").write_text(config)
    (old.path / "manifest.json").unlink()
    assert load_run(old.path).config["data"]["path"].endswith(f":{SECRET}@host/db")
    [results] = read_results(old.path)
    assert SECRET not in json.dumps(results.config)


@pytest.mark.parametrize("words", [[], ["-m"]])
def test_what_a_command_prints_of_a_database(
    here: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    def refuses(url: str) -> None:
        raise RuntimeError(f"login failed: {url}")

    monkeypatch.setattr("ibis.connect", refuses)
    command = train_command if words else prepare_command
    more = ["experiment=churn_events", f"hydra.sweep.dir={tmp_path / 'sweep'}"] if words else ["data=events"]
    more += ["data.roles.customer=c", "data.roles.time=t", "data.table=log"]
    with pytest.raises(SystemExit):
        here(command, *words, *more, f"data.path=postgres://user:{SECRET}@localhost:1/db")
    said = capsys.readouterr()
    assert f"postgres://user:{STARS}@localhost:1/db" in said.err
    assert SECRET not in said.out + said.err
    assert "Traceback" not in said.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_text()
