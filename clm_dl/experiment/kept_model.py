"""Fitted baselines as data: a skops file, of which nothing is made before every node of it was found to be known.

skops asks which types a file names and lets its caller trust them. A name is not enough: getattr finds whatever a
module has imported, and a method or a partial function calls it. So the file is walked first. It may hold plain data,
objects of exactly the classes below, of options that clm_dl ships, and of classes that modules of clm_dl define.
"""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clm_dl.baselines.spec import Fitted
from clm_dl.classes import shipped
from clm_dl.config import CONFIG_DIR
from clm_dl.errors import UserError
from clm_dl.tasks.base import ScoredTask

FORMAT = 1
OWN = ("clm_dl.baselines.", "clm_dl.tasks.")  # where classes of clm_dl live that a file may name
PREPROCESSING = "clm_dl.baselines.tabular.preprocessing"
OBJECTS = frozenset(  # of the preprocessors, and what shipped options hold inside
    {
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.impute._base.MissingIndicator",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.impute._iterative.IterativeImputer",
        "sklearn.linear_model._bayes.BayesianRidge",
        "sklearn.neighbors._classification.KNeighborsClassifier",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._encoders.OneHotEncoder",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
    }
)
SCALARS = frozenset(f"numpy.{scalar.__name__}" for scalar in set(np.sctypeDict.values()))
NODES: Mapping[str, frozenset[str]] = {  # loader of skops -> what it may make; objects are looked up one by one
    "DictNode": frozenset({"builtins.dict"}),
    "ListNode": frozenset({"builtins.list"}),
    "TupleNode": frozenset({"builtins.tuple", "sklearn.impute._iterative._ImputerTriplet"}),
    "JsonNode": frozenset({"builtins.str", "builtins.int", "builtins.float", "builtins.bool", "builtins.NoneType"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "TypeNode": SCALARS | {"builtins.str", "builtins.int", "builtins.float", "builtins.bool"},
    "NdArrayNode": SCALARS | {"numpy.ndarray"},
    "DTypeNode": frozenset({"numpy.dtype"}),
    "RandomStateNode": frozenset({"numpy.random.mtrand.RandomState"}),
    "SparseMatrixNode": frozenset({"scipy.sparse._csr.csr_array"}),
    "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),  # checked after it was read
    "FunctionNode": frozenset({f"{PREPROCESSING}.signed_log", f"{PREPROCESSING}._as_text"}),
}


def as_data(model: Any, calibration: Any) -> bytes | None:
    """The file of a fitted model and its calibration; None where it holds what no file may."""
    import skops.io  # imports all of scikit-learn

    state = None if calibration is None else calibration.to_dict()
    content = skops.io.dumps({"format": FORMAT, "model": model, "calibration": state})
    return content if not unknown_nodes(content) else None


def from_data(content: bytes) -> dict[str, Any]:
    """{"format", "model", "calibration"} of a file in which `unknown_nodes` found none.

    Raises:
        IndexError: a tree that points out of itself. Whatever skops meets in a file that is corrupt, or that asks for
            more than the walk has seen.
    """
    import skops.io

    asked = skops.io.get_untrusted_types(data=content)
    trusted = [name for name in asked if any(_is_known(loader, name) for loader in ("ObjectNode", *NODES))]
    known: dict[str, Any] = skops.io.loads(content, trusted=trusted)
    for owner in _owners(known, set()):
        _check_tree(owner)
    return known


def read_model(path: Path, question: ScoredTask, name: str, again: str) -> Fitted:
    """The baseline `name` of a question from the file that `as_data` made.

    Raises:
        ValueError: it holds more than data, or cannot be read; `again` says what to do.
    """
    try:
        content = path.read_bytes()
        if strangers := unknown_nodes(content):
            raise UserError(f"{path} holds more than data ({', '.join(strangers)}): {again}")
        known = from_data(content)
    except UserError:
        raise
    except Exception as error:  # skops raises whatever it meets
        raise UserError(f"{path} is corrupt ({type(error).__name__}): {again}") from error
    if not isinstance(known, dict) or known.get("format") != FORMAT:
        raise UserError(f"{path} is of another version of clm_dl: {again}")
    state = known["calibration"]
    calibration = None if state is None else question.read_calibration(state)
    return Fitted(question.spec(name), known["model"], calibration)


def unknown_nodes(content: bytes) -> list[str]:
    """Loader and full name of every node that is neither plain data nor of a known class; sorted."""
    from skops.io._protocol import PROTOCOL

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
    if schema["protocol"] != PROTOCOL:  # loaders of older ones read their names elsewhere
        return [f"protocol {schema['protocol']}"]
    return sorted({f"{loader} {name}" for loader, name in _nodes(schema) if not _is_known(loader, name)})


def _nodes(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if {"__loader__", "__class__", "__module__"} & set(value):
            yield str(value.get("__loader__")), f"{value.get('__module__')}.{value.get('__class__')}"
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _nodes(one)


def _is_known(loader: str, name: str) -> bool:
    if loader != "ObjectNode":
        return name in NODES.get(loader, ())
    return name in OBJECTS or _is_shipped(name) or _is_own(name)


def _is_shipped(name: str) -> bool:
    """Whether a shipped option names this class, which its package may define in a module below."""
    for option in shipped(CONFIG_DIR):
        module, _, last = option.rpartition(".")
        if name.rpartition(".")[2] == last and name.startswith(f"{module}."):
            found = getattr(importlib.import_module(module), last, None)
            return isinstance(found, type) and f"{found.__module__}.{found.__qualname__}" == name
    return False


def _is_own(name: str) -> bool:
    """Whether a module of clm_dl defines this class, rather than having imported it."""
    module, _, last = name.rpartition(".")
    if not module.startswith(OWN):
        return False
    try:
        found = getattr(importlib.import_module(module), last, None)
    except ImportError:
        return False
    return isinstance(found, type) and (found.__module__, found.__qualname__) == (module, last)


def _owners(value: Any, seen: set[int]) -> Iterator[Any]:
    """Everything in a model that has one of scikit-learn's trees, however deep it lies."""
    if id(value) in seen or isinstance(value, (str, bytes, int, float, type(None))):
        return
    seen.add(id(value))
    if hasattr(value, "tree_"):
        yield value
    if isinstance(value, Mapping):
        parts: Any = [*value.keys(), *value.values()]
    elif isinstance(value, np.ndarray):
        parts = value.ravel().tolist() if value.dtype == object else ()
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, type) else ()
    for part in parts:
        yield from _owners(part, seen)


def _check_tree(owner: Any) -> None:
    """Raise IndexError where a node of a tree points out of it, or back: scikit-learn would follow it anywhere."""
    tree = owner.tree_
    node = np.arange(tree.node_count)
    for child in (tree.children_left, tree.children_right):
        if (((child <= node) | (child >= tree.node_count)) & (child != -1)).any():
            raise IndexError("a node points out of its tree")
    splits = tree.children_left != -1
    if (splits != (tree.children_right != -1)).any():
        raise IndexError("a node has one child")
    outside = (tree.feature < 0) | (tree.feature >= min(tree.n_features, owner.n_features_in_))
    if (splits & outside).any() or tree.n_features != owner.n_features_in_:
        raise IndexError("a node asks for a feature that there is not")
