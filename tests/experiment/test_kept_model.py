"""What the file of a fitted baseline may hold: data and known classes; nothing else is made, whatever it is called."""

from __future__ import annotations

import io
import json
import zipfile
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skops.io._protocol import PROTOCOL
from skops.io.exceptions import UntrustedTypesFoundException

from clm_dl.baselines.tabular.preprocessing import signed_log
from clm_dl.experiment.kept_model import as_data, from_data, unknown_nodes

OWN = "clm_dl.baselines.tabular.classifier"  # a module of clm_dl that has imported pandas
fresh = count(10**6)


def node(loader: str, module: str, name: str, **more: Any) -> dict[str, Any]:
    return {"__loader__": loader, "__module__": module, "__class__": name, "__id__": next(fresh), **more}


def method(owner: dict[str, Any], name: str) -> dict[str, Any]:
    """An attribute of what a node makes: skops' bound method, which claims to be of any class."""
    return node("MethodNode", OWN, "TabularClassifier", content={"func": name, "obj": owner})


def walked(module: str, first: str, *rest: str) -> dict[str, Any]:
    """module.first.rest… as nodes."""
    found = node("FunctionNode", module, first)
    for name in rest:
        found = method(found, name)
    return found


def with_func(func: dict[str, Any], protocol: int = PROTOCOL) -> bytes:
    """A model of which one transformer calls `func`, however skops would write that."""
    model = make_pipeline(FunctionTransformer(signed_log), LogisticRegression()).fit(frame(), [0, 1, 0, 1])
    content = skops.io.dumps({"format": 1, "model": model, "calibration": None})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"])

    def put(value: Any) -> None:
        for key, one in value.items() if isinstance(value, dict) else ():
            if isinstance(one, dict) and one.get("__loader__") == "FunctionNode":
                value[key] = func
            put(one)
        for one in value if isinstance(value, list) else ():
            put(one)

    put(schema)
    schema["protocol"] = protocol
    files["schema.json"] = json.dumps(schema).encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, held in files.items():
            archive.writestr(name, held)
    return written.getvalue()


def frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"x": [1.0, 5, 2, 7]})


@pytest.mark.parametrize(
    "func",
    [
        walked(OWN, "pd", "io", "common", "os", "system"),
        walked(OWN, "pd", "DataFrame", "eval"),
        walked(OWN, "pd"),
        walked("clm_dl.experiment.experiment", "subprocess", "run"),
        walked("clm_dl.tasks.base", "Task"),
        walked("numpy", "exp"),
        walked("os", "system"),
        node("TypeNode", OWN, "TabularClassifier"),
        node("TypeNode", "subprocess", "Popen"),
        node("ObjectNode", OWN, "Pipeline", content=None),
        node("ObjectNode", "sklearn.pipeline", "Pipeline.__class__", content=None),
        node("OperatorFuncNode", "operator", "methodcaller", attrs={}),
        node("ConstructorFromReduceNode", "zoneinfo", "ZoneInfo", content={}),
        node("PartialNode", "functools", "partial", content={}),
        node("LossNode", "subprocess", "Popen", content={}),
    ],
    ids=lambda func: f"{func['__loader__']}-{func['__module__']}.{func['__class__']}",
)
def test_names_that_lead_to_code_are_no_data(func: dict[str, Any]) -> None:
    assert unknown_nodes(with_func(func))


@pytest.mark.parametrize("protocol", range(PROTOCOL))
def test_an_older_protocol_reads_names_elsewhere(protocol: int) -> None:
    known = node("FunctionNode", signed_log.__module__, "signed_log")
    content = with_func({**known, "content": {"module_path": "subprocess", "function": "Popen"}}, protocol)
    assert unknown_nodes(content) == [f"protocol {protocol}"]
    if protocol == 0:  # were the walk to miss it
        with pytest.raises(UntrustedTypesFoundException, match=r"subprocess\.Popen"):
            from_data(content)


@pytest.mark.parametrize(
    "model",
    [
        FunctionTransformer(np.exp),
        FunctionTransformer(partial(print, "read")),
        FunctionTransformer(LogisticRegression().fit),
        SelectFromModel(LogisticRegression()),  # scikit-learn's, trusted by skops, of no shipped option
        {"a": [{"b": (StandardScaler, np.exp)}]},
    ],
    ids=["ufunc", "partial", "method", "estimator", "nested"],
)
def test_a_model_that_holds_more_is_not_kept(model: Any) -> None:
    assert as_data(model, None) is None


def test_what_a_shipped_option_names_comes_back(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(signed_log), StandardScaler(), LogisticRegression())
    model.fit(frame(), [0, 1, 0, 1])
    content = as_data(model, None)
    assert content is not None
    again = from_data(content)
    assert again["format"] == 1
    np.testing.assert_array_equal(again["model"].predict_proba(frame()), model.predict_proba(frame()))


@pytest.mark.parametrize("harm", ["feature", "child", "cycle", "one child", "features"])
@pytest.mark.parametrize("inside", ["bare", "pipeline", "array"])
def test_a_tree_whose_nodes_lead_nowhere_is_no_model(harm: str, inside: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 4))
    model = DecisionTreeClassifier(max_depth=2).fit(values, values[:, 0] > 0)
    state = model.tree_.__getstate__()
    nodes = state["nodes"].copy()
    if harm == "feature":
        nodes["feature"][0] = -2_000_000_000
    elif harm in ("child", "cycle"):
        nodes["left_child"][0] = nodes["right_child"][0] = 500_000_000 if harm == "child" else 0
    elif harm == "one child":
        nodes["left_child"][0] = -1
    else:
        model.n_features_in_ = 3
    state["nodes"] = nodes
    model.tree_.__setstate__(state)
    held = {"bare": model, "pipeline": Pipeline([("a", model)]), "array": np.array([model, None], dtype=object)}[inside]
    content = as_data(held, None)
    assert content is not None
    with pytest.raises(IndexError):
        from_data(content)
