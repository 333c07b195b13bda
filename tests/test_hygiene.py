"""House rules that a linter cannot know: first lines, no machine's paths, notebooks without outputs."""

import json
import re
import subprocess
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parent.parent


def tracked(*patterns: str) -> list[Path]:
    """Files under version control that match; all of them without a pattern."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


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
