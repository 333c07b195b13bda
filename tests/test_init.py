"""clm-init: a file becomes a data set and experiments of one's own, which clm-train takes as they are."""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from clm_dl.config import compose, plain
from clm_dl.experiment.settings import read_plan
from clm_dl.init import main

QUICK = ["trainer.max_epochs=1", "baselines=[recency]", "bootstrap=20", "encoder.hidden_size=8", "task.head_size=8"]
QUICK += ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]


@pytest.fixture
def init(exits: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors."""
    return partial(exits, main)


@pytest.mark.slow
def test_what_it_prints_is_a_command_that_runs(
    shop_csv: Path, call: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "my log=1, [2] it's.csv"
    shutil.copy(shop_csv, tmp_path / name)
    python = [sys.executable, "-m"]
    shown = call(*python, "clm_dl.init", name, cwd=tmp_path)
    told = ["customers   200", "2021-01-02 to 2021-10-27", "customer    cust", "time        ts", "amount      spend"]
    assert all(text in shown for text in told)
    [line] = [line.removeprefix("next:").strip() for line in shown.splitlines() if line.startswith("next:")]
    assert line == "clm-train experiment=mine --config-dir configs"
    run = call(*python, "clm_dl.train", *line.split()[1:], *QUICK, "paths.output_dir=run", cwd=tmp_path)
    assert "network" in run
    monkeypatch.chdir(tmp_path)
    for task in ("value", "survival"):
        assert read_plan(plain(compose("train", ["experiment=mine", f"task={task}"]))).data["path"] == str(
            tmp_path / name
        )


@pytest.fixture
def basket_csv(ring_csv: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(ring_csv, tmp_path / "ring.csv"))


def test_an_item_brings_the_recipes_that_recommend(basket_csv: Path, init: Callable[..., tuple[int, str, str]]) -> None:
    code, out, said = init(str(basket_csv), "name=shop", "output=elsewhere", "snapshots.horizon_days=9")
    assert (code, said) == (0, "")
    assert "also:       clm-train experiment=shop --config-dir elsewhere task=next_item" in out
    shutil.move("elsewhere", "configs")
    for words, task in {
        "experiment=shop": "churn",
        "experiment=shop task=next_item": "next_item",
        "data=shop task=next_order": "next_order",
        "data=shop": "churn",
    }.items():
        config = plain(compose("train", words.split()))
        assert (config["task"]["name"], config["data"]["name"]) == (task, "shop")
        assert config["snapshots"]["horizon_days"] == 9
        assert read_plan(config)


def test_what_the_command_line_says_is_written_as_it_says_it(
    shop_csv: Path, init: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(shop_csv))
    words = ["data.path=${oc.env:PLACE}", "data.roles.customer=dept", "data.roles.amount=null", "data.numeric=[spend]"]
    code, _, said = init(*words, "data.timezone=Europe/Berlin", "snapshots.active_days=null", "data.dedupe=true")
    assert (code, said) == (0, "")
    text = Path("configs/data/mine.yaml").read_text()
    assert 'path: "${oc.env:PLACE}"' in text
    assert str(shop_csv) not in text
    config = plain(compose("train", ["experiment=mine"]))
    data = config["data"]
    assert data["path"] == str(shop_csv)
    assert {role: name for role, name in data["roles"].items() if name} == {"customer": "dept", "time": "ts"}
    assert (data["numeric"], data["timezone"], data["dedupe"]) == (["spend"], "Europe/Berlin", True)
    assert config["snapshots"]["active_days"] is None


def test_a_table_is_an_experiment_too(init: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(40), "plan": ["a", "b"] * 20, "Churn": ["No", "No", "No", "Yes"] * 10})
    frame.to_csv(tmp_path / "table.csv", index=False)
    assert init("table.csv")[0] == 0
    plan = read_plan(plain(compose("train", ["experiment=mine"])))
    assert plan.is_table
    assert (plan.data["label"], plan.data["roles"]["customer"], plan.data["positive"]) == ("Churn", "id", None)


@pytest.mark.slow
def test_a_file_that_somebody_else_wrote_or_changed_is_left_alone(
    shop_csv: Path, init: Callable[..., tuple[int, str, str]]
) -> None:
    assert init(str(shop_csv))[0] == 0
    assert init(str(shop_csv))[0] == 0  # its own
    for name in ("data", "experiment"):
        path = Path("configs") / name / "mine.yaml"
        before = path.read_text()
        path.write_text(before + "# and I\n")
        others = {one: one.stat().st_mtime_ns for one in Path("configs").rglob("*.yaml")}
        code, out, said = init(str(shop_csv))
        assert code == 2
        assert f"output={path} exists" in said
        assert "written" not in out
        assert {one: one.stat().st_mtime_ns for one in Path("configs").rglob("*.yaml")} == others
        path.write_text(before)
    path.write_text("mine")
    assert init(str(shop_csv), "overwrite=true")[0] == 0
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "which file"),
        (["a.csv", "b.csv"], "one file, got a.csv, b.csv"),
        (["nowhere.csv"], "no file at nowhere.csv"),
        (["{csv}", "name=cdnow"], "data=cdnow is an option of clm_dl"),
        (["{csv}", "name=a/b"], "use letters, digits"),
        (["{csv}", "data.roles.custmer=cust"], "did you mean 'data.roles.customer'"),
        (["{csv}", "data.roles.customer=custt"], "did you mean 'cust'"),
        (["postgres://me:secret@host/db", "data.table=log"], "a password is not written into a file"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    shop_csv: Path, init: Callable[..., tuple[int, str, str]], words: list[str], sentence: str
) -> None:
    code, out, said = init(*[word.format(csv=shop_csv) if "{csv}" in word else word for word in words])
    assert (code, out) == (2, "")
    assert said.startswith("error: ")
    assert sentence in said
    assert "secret" not in said
    assert not Path("configs").exists()
