"""Baselines that the trials of a sweep share: fitted by the first that needs one, read by all whose own would be equal
to the last bit.

A baseline has a folder named after all that it depends on: data, cases, settings, versions, machine. There are its rows
of the Scores table, the fitted model as data and, written last, their checksums. A run keeps a copy of what it needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Fitted, Spec
from clm_dl.errors import UserError
from clm_dl.evaluation.summary import Drawn
from clm_dl.experiment.kept_model import as_data, read_model
from clm_dl.experiment.manifest import MANIFEST, read_manifest, sound, write_manifest
from clm_dl.locks import exclusive
from clm_dl.tasks.base import ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.writing import replacing, write_text

SHARED = ".shared"  # in the folder of a sweep, none of whose trials is called so
ROWS, MODEL, CALIBRATION, DRAWN = "rows.parquet", "model.skops", "calibration.json", "resampled.npz"


@dataclass(frozen=True)
class Shared:
    """The baselines in `folder`; versions: what the program and the machine are, see `experiment.environment`."""

    folder: Path
    versions: Mapping[str, Any]

    def drawn(self, question: ScoredTask, cases: Cases, *, resamples: int, seed: int) -> dict[str, Path]:
        """Where the resamples of the baselines are that are kept or were read; by their names."""
        places = {spec.name: self._path(question, cases, spec) for spec in question.settings.specs if _alone(spec)}
        kept = {name: place for name, place in places.items() if (place / MANIFEST).is_file()}
        return {name: place.with_name(f"{place.name}_{resamples}_{seed}") for name, place in kept.items()}

    @contextmanager
    def place(self, question: ScoredTask, cases: Cases, spec: Spec) -> Iterator[Path | None]:
        """The folder of a baseline, this process's alone in the block; None for one that sees a network."""
        if not _alone(spec):
            yield None
            return
        place = self._path(question, cases, spec)
        place.mkdir(parents=True, exist_ok=True)
        with exclusive(place):
            yield place

    def _path(self, question: ScoredTask, cases: Cases, spec: Spec) -> Path:
        settings, data = question.baseline_settings(spec), [cases.store.fingerprint, question.fingerprint(cases)]
        text = json.dumps([dict(self.versions), data, settings], sort_keys=True, default=_as_json)
        key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return self.folder / f"{question.name}_{spec.name}_{key}"


def read_shared(
    place: Path, question: ScoredTask, spec: Spec, *, with_model: bool
) -> tuple[Fitted, pd.DataFrame] | None:
    """The baseline and its rows; None where nobody has fitted it, or what is there is damaged."""
    try:
        if read_manifest(place) is None:
            return None
        content, rows = sound(place, MODEL).read_bytes(), pd.read_parquet(sound(place, ROWS))
        state = json.loads(sound(place, CALIBRATION).read_text(encoding="utf-8"))
        model = read_model(place / MODEL, question, spec.name, "it is fitted again").model if with_model else None
    except (UserError, OSError):
        return None
    return Fitted(spec, model, None if state is None else question.read_calibration(state), content), rows


def write_shared(place: Path, fitted: Fitted, rows: pd.DataFrame) -> None:
    """Keep a baseline for the next trial, where it is nothing but data."""
    (place / MANIFEST).unlink(missing_ok=True)
    if (content := as_data(fitted.model, fitted.calibration)) is None:
        return
    with replacing(place / MODEL) as temporary:
        temporary.write_bytes(content)
    with replacing(place / ROWS) as temporary:
        rows.to_parquet(temporary, index=False)
    state = None if fitted.calibration is None else fitted.calibration.to_dict()
    write_text(place / CALIBRATION, json.dumps(state))
    write_manifest(place)


def read_drawn(places: Mapping[str, Path]) -> Drawn:
    """The resamples that are there, undamaged: part -> model -> figures [R, K]."""
    found: Drawn = {}
    for name, place in places.items():
        with suppress(UserError, OSError):
            if read_manifest(place) is not None:
                with np.load(sound(place, DRAWN), allow_pickle=False) as parts:
                    for part in parts:
                        found.setdefault(part, {})[name] = parts[part]
    return found


def write_drawn(places: Mapping[str, Path], drawn: Drawn) -> None:
    """Keep the resamples of baselines that were not there."""
    for name, place in places.items():
        parts: dict[str, Any] = {part: models[name] for part, models in drawn.items() if name in models}
        place.mkdir(parents=True, exist_ok=True)
        with exclusive(place):
            if not parts or name in {model for models in read_drawn({name: place}).values() for model in models}:
                continue
            (place / MANIFEST).unlink(missing_ok=True)
            with replacing(place / DRAWN) as temporary, temporary.open("wb") as file:
                np.savez(file, **parts)
            write_manifest(place)


def _alone(spec: Spec) -> bool:
    """Whether a baseline sees no network."""
    return not spec.is_hybrid and "embedding" not in spec.sees


def _as_json(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
