"""Classes: a configuration makes those of shipped options, and nothing else runs that a file names."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clm_dl.classes import MOVED, shipped
from clm_dl.config import CONFIG_DIR, build
from clm_dl.errors import UserError
from clm_dl.evaluate import main as evaluate_command
from clm_dl.predict import main as predict_command
from clm_dl.run import Run, load_run

KNOWN = "sklearn.neighbors.KNeighborsClassifier"
MODULES = (
    pytest.param("torch", marks=pytest.mark.slow),  # thousands
    *("torch.serialization", "torch.hub", "torch.utils", "torch.utils.cpp_extension", "torch.jit"),
    *("joblib", "numpy", "runpy", "shutil", "subprocess", "pandas", "hydra.utils", "builtins", "os", "importlib"),
    *("sklearn.utils", "sklearn.datasets", "lightgbm", "pytorch_lightning", "clm_dl.config", "clm_dl.run"),
)


def reachable(module: ModuleType, depth: int = 1) -> Iterator[str]:
    """Dotted names of every callable in a module, in its submodules and behind its classes."""
    for name in dir(module):
        found = vars(module).get(name)
        full = f"{module.__name__}.{name}"
        if issubclass(type(found), ModuleType) and depth and found.__name__ == full:
            yield from reachable(found, depth - 1)
        elif callable(found):
            yield full
            if issubclass(type(found), type):
                yield from (f"{full}.{method}" for method in vars(found) if not method.startswith("__"))


def disguised(target: str) -> Iterator[Any]:
    yield {"_target_": target}
    yield {"_target_": KNOWN, "metric": {"_target_": target}}
    yield {"_target_": KNOWN, "metric": [[{"deep": {"_target_": target, "command": "true"}}]]}
    yield {"_target_": target, "_partial_": True}
    yield {"_target_": KNOWN, "_args_": [{"_target_": target}]}


@pytest.mark.parametrize("name", MODULES)
def test_no_callable_of_these_modules_is_called(name: str) -> None:
    names = [one for one in reachable(importlib.import_module(name)) if one not in shipped(CONFIG_DIR)]
    assert len(names) > 3
    for target in names:
        for config in disguised(target):
            with pytest.raises(UserError, match=re.escape(target) + "|by name"):
                build(config)


@pytest.mark.parametrize("name", MODULES)
def test_what_is_no_class_is_not_called_though_its_package_is_trusted(name: str) -> None:
    root = name.split(".")[0]
    for target in reachable(importlib.import_module(name), depth=0):
        module, _, last = target.rpartition(".")
        if not isinstance(getattr(sys.modules.get(module), last, None), type):
            with pytest.raises((UserError, ImportError)):
                build({"_target_": target}, trusted=[root])


@given(st.from_regex(r"[\w.${}:,]{1,20}", fullmatch=True) | st.integers() | st.lists(st.text(max_size=3)))
def test_a_name_that_would_have_to_be_worked_out_is_refused(target: Any) -> None:
    with pytest.raises(UserError):
        build({"_target_": target})


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "os.${x}", "${oc.decode:os.system}", ".os.system", "os", ""])
def test_an_interpolation_is_no_name(text: str) -> None:
    with pytest.raises(UserError, match="must be the full name of a class"):
        build({"_target_": text, "x": "system"})


def test_shipped_classes_are_classes_and_are_made() -> None:
    for name in shipped(CONFIG_DIR):
        module, _, last = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), last), type)
    made = build({"_target_": KNOWN, "n_neighbors": 3, "metric_params": {"a": [1, {"b": 2}]}})
    assert (made.n_neighbors, made.metric_params) == (3, {"a": [1, {"b": 2}]})


def test_a_wrong_option_is_one_sentence() -> None:
    with pytest.raises(UserError, match="unexpected keyword argument 'neighbours'"):
        build({"_target_": KNOWN, "neighbours": 3})


def test_a_name_of_an_older_run_is_the_class_of_today() -> None:
    assert type(build({"_target_": "clm_dl.baselines.popularity.Popular"})).__name__ == "Popular"
    assert not set(MOVED) & {name.rpartition(".")[0] for name in shipped(CONFIG_DIR)}


def test_all_strangers_are_named_with_the_remedy() -> None:
    config = {"_target_": "sklearn.ensemble.BaggingClassifier", "estimator": {"_target_": "os.system"}}
    with pytest.raises(UserError, match=r"BaggingClassifier, os\.system.*trusted=\[sklearn,os\]"):
        build(config)


@pytest.mark.parametrize("trusted", [["fractions"], ["fractions.Fraction"]])
def test_trusted_is_a_package_or_a_class(trusted: list[str]) -> None:
    config = {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}
    with pytest.raises(ValueError, match=r"trusted=\[fractions\]"):
        build(config)
    assert float(build(config, trusted=trusted)) == 0.5


def test_a_package_is_not_trusted_with_what_it_borrows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mypackage.py").write_text("from subprocess import Popen\nimport os\nclass Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(build({"_target_": "mypackage.Mine"}, trusted=["mypackage"])).__name__ == "Mine"
    for name in ("mypackage.Popen", "mypackage.os.system", "mypackage.Mine.mro", "mypackage.nothing"):
        with pytest.raises((UserError, ImportError)):
            build({"_target_": name, "args": "true"}, trusted=["mypackage"])
    with pytest.raises(UserError, match=r"names os\.system, which"):
        build({"_target_": "os.system"}, trusted=["mypackage_", "o"])


# --- a stranger's run


@pytest.fixture
def stranger(run: Run, tmp_path: Path) -> Callable[..., Path]:
    """Function (baseline's options) -> the folder of a run whose configuration names them, and trusts everything."""

    def make(**options: Any) -> Path:
        folder = run.save(tmp_path / "stranger").path
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["baseline"]["logistic"] |= options
        config["trusted"] = ["os", "sys", "torch", "builtins"]
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "manifest.json").unlink()  # a stranger may write one that fits
        return folder

    return make


@pytest.mark.parametrize("command", [predict_command, evaluate_command])
def test_a_run_that_trusts_itself_is_not_trusted(
    stranger: Callable[..., Path],
    here: Callable[..., None],
    command: Callable[[], Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = stranger(_target_="os.mkdir", C=str(tmp_path / "marker"))
    with pytest.raises(SystemExit):
        here(command, f"run={folder}")
    assert "names os.mkdir" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        here(command, f"run={folder}", "trusted=[os]")
    assert "os.mkdir is no class" in capsys.readouterr().err
    assert not (tmp_path / "marker").exists()


def test_a_class_of_ones_own_in_a_run_is_trusted_by_whoever_reads_it(
    stranger: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "myestimators.py").write_text(
        "from sklearn.linear_model import LogisticRegression\nclass Mine(LogisticRegression):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = stranger(_target_="myestimators.Mine")
    with pytest.raises(UserError, match=r"trusted=\[myestimators\]"):
        load_run(folder).predict(cutoff="2021-09-01")
    assert len(load_run(folder, trusted=["myestimators"]).predict(cutoff="2021-09-01"))


def test_a_run_does_not_read_the_environment(stranger: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "s3cret")
    folder = stranger(C="${oc.env:SECRET_OF_MINE}")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub(r"\n  path: .*", "\n  path: '${oc.env:SECRET_OF_MINE}'", text))
    opened = load_run(folder)
    assert opened.config["data"]["path"] == "${oc.env:SECRET_OF_MINE}"
    with pytest.raises(UserError) as raised:  # C is no number
        opened.predict(cutoff="2021-09-01")
    assert "${oc.env:SECRET_OF_MINE}" in str(raised.value)
    assert "s3cret" not in str(raised.value)
