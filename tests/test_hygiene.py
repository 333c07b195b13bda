"""House rules that a linter cannot know: first lines, direction of imports, no machine's paths, notebooks without
outputs.
"""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "clm_dl"
COMMANDS = {f"clm_dl.{name}" for name in ("prepare", "train", "evaluate", "predict", "embed", "report")}
FRAMEWORKS = ("pytorch_lightning", "lightning", "hydra", "omegaconf")
FORBIDDEN = {  # folder: what its modules may not import; pyproject.toml has the layers, for import-linter
    "nn": (*FRAMEWORKS, "clm_dl.tasks", "clm_dl.evaluation", "clm_dl.baselines"),
    "data": (*FRAMEWORKS, "clm_dl.config", "clm_dl.nn", "clm_dl.tasks", "clm_dl.evaluation"),
    "evaluation": (*FRAMEWORKS, "clm_dl.config", "clm_dl.nn", "clm_dl.tasks", "clm_dl.baselines"),
    "baselines": (*FRAMEWORKS, "clm_dl.config", "clm_dl.nn", "clm_dl.tasks"),
    "visual": (*FRAMEWORKS, "clm_dl.config", "clm_dl.tasks", "clm_dl.experiment"),
    "tasks": ("hydra", "omegaconf", "clm_dl.config", "clm_dl.training", "clm_dl.experiment"),
}


def tracked(*patterns: str) -> list[Path]:
    """Files under version control that match; all of them without a pattern."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def imports(path: Path) -> set[str]:
    """Absolute dotted names that a module imports, also inside functions; `from a import b` gives `a` and `a.b`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
                if node.level
                else node.module or ""
            )
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_imports_are_read_as_python_reads_them(tmp_path, monkeypatch):
    module = tmp_path / "clm_dl" / "nn" / "x.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import torch.nn as nn\nfrom . import heads\nfrom ..data.files import EventStore\ndef f():\n    from clm_dl "
        "import train\n"
    )
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert imports(module) == {
        "torch.nn",
        "clm_dl.nn",
        "clm_dl.nn.heads",
        "clm_dl.data.files",
        "clm_dl.data.files.EventStore",
        "clm_dl",
        "clm_dl.train",
    }


def test_every_module_starts_by_saying_what_it_is():
    modules = tracked("*.py")
    assert len(modules) > 10
    silent = [str(path.relative_to(ROOT)) for path in modules if not path.read_text().startswith('"""')]
    assert not silent, f"first line is not a docstring: {silent}"


def test_every_config_starts_with_a_comment():
    configs = tracked("configs/*.yaml")
    assert len(configs) > 10
    silent = [str(path.relative_to(ROOT)) for path in configs if not path.read_text().startswith("#")]
    assert not silent, f"first line is not a comment: {silent}"


def test_nobody_imports_a_command():
    modules = tracked("clm_dl/*.py")
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules
        for name in imports(path)
        if any(within(name, command) for command in COMMANDS)
    ]
    assert not wrong, f"commands are entry points, not libraries: {wrong}"


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_flow_one_way(folder):
    modules = tracked(f"clm_dl/{folder}/*.py")
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules
        for name in imports(path)
        if any(within(name, other) for other in FORBIDDEN[folder])
    ]
    assert not wrong, f"{folder}/ may not import: {wrong}"


def test_no_path_of_a_machine():
    files = tracked()
    assert files
    machine = re.compile(r"(?<![\w.}])/(?:work|root|home|Users|opt)/\w")
    assert machine.search("see /wo" + "rk/main")
    wrong = [str(path.relative_to(ROOT)) for path in files if machine.search(path.read_text(errors="ignore"))]
    assert not wrong, f"absolute paths of somebody's machine: {wrong}"


def test_continuous_integration_tries_the_same_examples_each_time():
    assert "\nexport CI=1" in (ROOT / ".ci" / "run").read_text()
    assert settings.get_profile("ci").derandomize
    assert settings.get_profile("ci").deadline is None


def test_notebooks_carry_no_outputs():
    notebooks = tracked("notebooks/*.ipynb")
    assert notebooks
    full = [
        path.name
        for path in notebooks
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"] is not None)
    ]
    assert not full, f"clear the outputs of {sorted(set(full))}"
