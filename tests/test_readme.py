"""README snippets: the Python runs, the command lines compose, the files it names exist."""

import re
import shlex
from pathlib import Path

import pytest

from clm_dl.overrides import check_overrides

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
LINES = re.findall(r"^ +(clm-\w+ .*?)(?:  +#.*)?$", README.replace("\\\n", ""), flags=re.MULTILINE)
COMMANDS = [line for line in LINES if "=" in line]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_snippet_runs_and_prints_its_result(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README", "exec"), {})
    printed = capsys.readouterr().out
    promised = re.findall(r"# (\(\d.*\))$", snippet, flags=re.MULTILINE)
    assert promised
    assert all(result in printed for result in promised)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_line_composes(line: str) -> None:
    name, *arguments = shlex.split(line)
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    assert check_overrides(name.removeprefix("clm-"), overrides) == overrides


def test_there_are_snippets_and_commands() -> None:
    assert len(SNIPPETS) >= 2
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w./]+)\)", README))
def test_linked_file_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_architecture_lists_every_module() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text().partition("    clm_dl/")[2].partition("\n\n")[0]
    missing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "clm_dl").rglob("*.py")
        if path.name != "__init__.py" and not re.search(rf"\b{path.stem}\b", tree)
    ]
    assert not missing, f"docs/architecture.md does not name {missing}"
