"""Hydra's sweepers of clm_dl, where Hydra looks for plugins; what they do stands in clm_dl/experiment/sweep/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

if TYPE_CHECKING:  # every application of Hydra in the environment imports this file
    from hydra.core.override_parser.types import Override

    from clm_dl.experiment.sweep.search import Search


class _Drawing(BasicSweeper):
    """Hydra's own sweeper, but for which jobs there are."""

    def _search(self, overrides: Sequence[Override]) -> Search:
        from clm_dl.experiment.sweep.search import read_search

        assert self.config is not None
        return read_search(self.config, overrides)


class Sobol(_Drawing):
    """All jobs at once, as the launcher takes them."""

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> Any:  # type: ignore[override]
        from clm_dl.experiment.sweep.search import sobol_jobs

        return [sobol_jobs(self._search(overrides))]


class Optuna(_Drawing):
    """Batches of as many jobs as run at once, each asked for when the one before is over."""

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> Any:  # type: ignore[override]
        from clm_dl.experiment.sweep.search import at_once
        from clm_dl.experiment.sweep.study import Asking

        assert self.config is not None
        hydra = self.config.hydra
        self.asking = Asking(Path(hydra.sweep.dir), self._search(overrides), at_once=at_once(hydra.launcher) or 1)
        return []

    def is_done(self) -> bool:
        return self.asking.over

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        return self.asking.batch()
