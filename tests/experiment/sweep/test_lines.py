"""Lines of trials side by side: whole, and each with the number of its trial in front."""

import sys

import pytest

from clm_dl.experiment.sweep.lines import prefixed


def test_every_line_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with prefixed(3):
        print("one\ntwo", end="")
        sys.stdout.write(" and more\n")
        print("0 %\r50 %\r100 %", file=sys.stderr)
        print("no end", end="")
    print("after")
    said = capsys.readouterr()
    assert said.out == "[3] one\n[3] two and more\n[3] no end\nafter\n"
    assert said.err == "[3] 100 %\n"


def test_the_last_line_comes_though_the_trial_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with prefixed(0):
            print("half", end="")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert capsys.readouterr().out == "[0] half\n"
