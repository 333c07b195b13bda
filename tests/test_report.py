"""clm-report: runs that have not finished are named and left out."""

import json
import sys
from pathlib import Path

import pytest

from clm_dl.report import main
from clm_dl.run import Run


def test_a_failed_run_is_left_out_by_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = tmp_path / "broken"
    failed.mkdir()
    (failed / "status.json").write_text(json.dumps({"version": 1, "state": "failed", "reason": "no"}))
    monkeypatch.setattr(
        sys,
        "argv",
        ["clm-report", f"runs=[{run.path},{run.path}/../{run.path.name},{failed}]", f"output={tmp_path}/report.html"],
    )
    main()
    assert "1 of 2 runs finished" in capsys.readouterr().out
    assert "broken (failed)" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(sys, "argv", ["clm-report", f"runs={failed}", f"output={tmp_path}/none.html"])
    with pytest.raises(SystemExit):
        main()
    assert f"error: no finished run among {failed}" in capsys.readouterr().err
    assert not (tmp_path / "none.html").exists()
