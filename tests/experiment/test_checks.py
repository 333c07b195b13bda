"""What needs no data is said, in one sentence, before they are read: whoever writes a configuration may mean harm."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from clm_dl.config import compose, plain
from clm_dl.errors import UserError
from clm_dl.experiment.experiment import run_experiment

LOG = ["data=events", "data.path=nowhere.csv", "data.roles.item=i", "data.roles.amount=a", "baselines=none"]
TASKS = {
    "churn": ["experiment=churn_events"],
    "propensity": ["experiment=churn_events", "task=propensity", "labels=event"],
    "next_item": ["experiment=next_item_events"],
    "leave_one_out": ["experiment=next_item_events", "protocol=leave_one_out"],
    "next_order": ["experiment=next_order_events", "protocol=rolling"],
    **{
        name: ["experiment=churn_events", f"task={name}"]
        for name in ("value", "survival", "pretrain", "multitask", "basket_value")
    },
}
OWN = ("task", "labels", "protocol", "policy")  # groups that differ by task; churn goes through all
HARM: tuple[Any, ...] = (None, 0, -1, 0.5, 1.5, 10**12, float("nan"), float("inf"), "text", "", True, [], [1, -2], {})
HARM = (*HARM, {"a": 1}, ["x"])


class Read(Exception):
    """The log would be read now."""


@cache
def _config(task: str) -> dict[str, Any]:
    config = plain(compose("train", [*TASKS[task], *LOG]))
    config["baseline"] = {}
    return config


def _leaves(group: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in group.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    def read(*_: object, **__: object) -> None:
        raise Read

    monkeypatch.setattr("clm_dl.data.open.source_fingerprint", read)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(config: dict[str, Any], key: tuple[str, ...], value: Any) -> str | None:
    """The sentence, or None where the log would be read."""
    changed = copy.deepcopy(config)
    group = changed
    for name in key[:-1]:
        group = group[name]
    group[key[-1]] = value
    try:
        run_experiment(OmegaConf.create(changed))
    except Read:
        return None
    except UserError as error:
        return str(error)
    raise AssertionError("the log was read")


def test_every_key_is_one_sentence_or_fine(unread: Path) -> None:
    for place, key in enumerate(key for key in _leaves(_config("churn")) if key[0] != "baseline"):
        for value in HARM[place % 8 :: 8]:  # each key meets two kinds, its neighbours the others
            said = run(_config("churn"), key, value)
            assert said is None or "\n" not in said, (key, value)
    assert list(unread.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_key_with_all_harms(unread: Path, task: str) -> None:
    for key in _leaves(_config(task)):
        if (task == "churn" or key[0] in OWN) and key[0] != "baseline":
            for value in HARM:
                said = run(_config(task), key, value)
                assert said is None or "\n" not in said, (key, value)


@pytest.mark.parametrize(
    ("task", "key", "value", "message"),
    [
        ("churn", "sequence.token", "word", "sequence.token must be order or line"),
        ("churn", "snapshots.horizon_days", 1e12, "snapshots.horizon_days must be ≤ 100,000"),
        ("churn", "snapshots.horizon_days", float("nan"), "snapshots.horizon_days must be a finite number"),
        ("churn", "snapshots.train", ["yesterday"], "a date of snapshots.train must be an ISO date"),
        ("churn", "snapshots.test", "soon", "snapshots.test must be auto or a list of dates"),
        ("churn", "snapshots.test", [], "snapshots.test has no dates"),
        ("churn", "bootstrap", 10**9, "bootstrap is the number of resamples"),
        ("churn", "k", 0, "k must be ≥ 1, got 0"),
        ("churn", "k", "ten", "k must be a whole number"),
        ("churn", "threshold", None, "threshold must be a number"),
        ("churn", "overwrite", "yes", "overwrite must be true or false"),
        ("churn", "baselines", 3, "baselines must be all, none or a list of names"),
        ("churn", "ckpt", "nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
        ("churn", "init", 7, "init must be text"),
        ("churn", "encoder", "lstm", "encoder must be a group of settings"),
        ("churn", "encoder.hidden_size", 10**12, "encoder.hidden_size must be at most 65,536"),
        ("churn", "encoder.num_layers", 1.5, "encoder.num_layers must be a whole number"),
        ("churn", "encoder.projection_size", -1, "encoder.projection_size must be ≥ 1"),
        ("churn", "encoder.frozen", "no", "encoder.frozen must be true or false"),
        ("churn", "task.embedding.numeric_size", 0, "task.embedding.numeric_size must be in [1, 65,536], got 0"),
        ("churn", "task.embedding.unknown_rate", 2, "task.embedding.unknown_rate must be in [0, 1), got 2"),
        ("churn", "task.embedding.calendar", ["moon"], "calendar must be of hour, weekday, month"),
        ("churn", "task.num_workers", -1, "task.num_workers must be in [0, 1,024]"),
        ("churn", "task.label_smoothing", 1.5, "task.label_smoothing must be in [0, 1)"),
        ("churn", "callbacks.patience", 0, "callbacks.patience must be ≥ 1, got 0"),
        ("churn", "vocabulary.fields", {"item": {"min_count": 0}}, "vocabulary.fields.item.min_count must be"),
        ("churn", "vocabulary.fields", {"item": 5}, "vocabulary.fields.item takes min_count and max_size, got 5"),
        ("churn", "labels", {"name": "contractual", "grace_days": 30}, "but the log has no data.roles.expiry"),
        ("churn", "labels", {"name": "churn_event"}, "but the log has no data.roles.churn_event"),
        ("churn", "labels", {"name": "given", "path": "none.csv"}, "labels.path: no file none.csv"),
        ("churn", "labels", {"name": "no_event", "evnt_types": []}, "did you mean 'event_types'"),
        ("churn", "labels.event_types", "buy", "labels.event_types must be a list"),
        ("propensity", "labels.values", ["buy"], "labels.field and labels.values belong together"),
        ("propensity", "labels.first", True, "labels.first=true needs the event"),
        ("propensity", "labels.dormant_days", 0, "labels.dormant_days must be > 0 days, got 0"),
        ("churn", "trainer.max_epochs", "many", "trainer.max_epochs must be a whole number"),
        ("churn", "trainer.devices", 10**12, "trainer.devices must be -1 (all) or a number of devices"),
        ("churn", "trainer.deterministic", "sometimes", "trainer.deterministic must be true, false or warn"),
        ("churn", "paths.output_dir", "", "paths.output_dir must name a folder"),
        ("churn", "data.roles", "cust", "data.roles must give each role its column"),
        ("churn", "data.roles.time", 5, "data.roles.time must be the name of a column, got 5"),
        ("churn", "data.encoding", "utf-9", "data.encoding: there is no 'utf-9'"),
        ("churn", "data.timezone", "Mars", "unknown time zone 'Mars'"),
        ("churn", "data.end", "soon", "data.end must be a date"),
        ("churn", "data.memory_limit", "much", "data.memory_limit must be an amount such as 2.5GB"),
        ("churn", "data.dedupe", "maybe", "data.dedupe must be true or false"),
        ("churn", "data.categorical", [5], "data.categorical must be text, got 5"),
        ("churn", "data.joins", [{"path": "x.csv"}], "data.joins[].on must be one column name"),
        ("churn", "data.joins", [{"path": "x.csv", "on": "i", "to": "shop"}], "data.joins[].to must be one of"),
        ("churn", "data.joins", ["x.csv"], "data.joins[0] must be a group of settings"),
        ("churn", "data.calendar", {"columns": []}, "data.calendar.path is not set"),
        ("next_item", "k", -3, "k must be ≥ 1"),
        ("next_item", "task.loss.name", "softmx", "ranking loss must be one of"),
        ("next_item", "task.loss", {"name": "bpr", "num_negatives": 0}, "task.loss.num_negatives must be at least 1"),
        ("next_item", "task.objective", "masked", "needs an encoder with causal=false"),
        ("next_item", "task.content.vectors", "none.parquet", "no file of item vectors at none.parquet"),
        ("next_item", "task.tower.temperature", 0, "item temperature must be > 0"),
        ("next_item", "task.size", 10**9, "task.size must be ≤ 65,536"),
        ("next_item", "sequence.max_tokens", 1, "sequence.max_tokens must be at least 2"),
        ("next_item", "protocol", {"name": "leave_one_out", "min_events": 2}, "protocol.min_events must be at least 3"),
        ("next_item", "protocol", {"name": "global_time", "val": "soon"}, "protocol.val must be an ISO date"),
        ("next_item", "protocol", {"name": "global_time", "val": "2021-05-01", "test": "2021-04-01"}, "must ascend"),
        ("next_item", "protocol", {"name": "global_time", "quantiles": [0.9, 0.8]}, "two ascending shares"),
        ("survival", "task.horizons_days", [0, 10**12], "task.horizons_days must be days ≥ 0"),
        ("pretrain", "task.held_out", 1, "task.held_out must be in (0, 1), got 1"),
        ("pretrain", "task.objective", "masked_event", "needs an encoder that sees both sides"),
        ("multitask", "encoder", {"name": "transformer", "causal": False, "frozen": False}, "needs a causal encoder"),
        ("value", "task.orders_weight", -1, "task.orders_weight must be ≥ 0"),
    ],
)
def test_the_sentence_names_the_key(unread: Path, task: str, key: str, value: Any, message: str) -> None:
    said = run(_config(task), tuple(key.split(".")), value)
    assert said is not None
    assert message in said


def test_cutoffs_of_later_splits_come_later(unread: Path) -> None:
    config = copy.deepcopy(_config("churn"))
    config["snapshots"] |= {"val": ["2021-03-01"], "test": ["2021-05-01"]}
    said = run(config, ("snapshots", "train"), ["2021-01-01", "2021-04-01"])
    assert said is not None
    assert "the last date of snapshots.train, 2021-04-01, does not lie before the first of snapshots.val" in said


def test_an_option_of_a_baseline_is_checked_as_its_fit_would(unread: Path) -> None:
    config = plain(compose("train", [*TASKS["churn"], *LOG]))
    config["baselines"] = ["logistic"]
    said = run(config, ("baseline", "logistic", "C"), -1)
    assert said is not None
    assert said.startswith("baseline.logistic: The 'C' parameter")


def test_a_folder_below_a_file_cannot_be_a_runs(unread: Path) -> None:
    (unread / "file").write_text("")
    said = run(_config("churn"), ("paths", "output_dir"), "file/run")
    assert said is not None
    assert "paths.output_dir=file/run lies below the file" in said


def test_a_folder_that_may_not_be_written_to(unread: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    said = run(_config("churn"), ("paths", "output_dir"), "here/run")
    assert said is not None
    assert "may not be written to" in said
