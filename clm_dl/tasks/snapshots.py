"""SnapshotTask: tasks that answer for a (customer, cutoff): one network head, estimators on the feature table,
calibration.

Shapes: N snapshots, M rows of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Fitted, Spec
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.snapshots.scoring import later_snapshots, scoring_snapshots
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots, check_classes
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import Zone
from clm_dl.evaluation.summary import dates_of
from clm_dl.tasks.base import Answers, ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork, SnapshotNetwork, apply
from clm_dl.tasks.options import HeadOptions
from clm_dl.tasks.question import Question
from clm_dl.tasks.settings import Settings


class SnapshotTask(ScoredTask):
    """What churn, survival, value and their like share; they say what comes true, and what is made of an answer."""

    options: HeadOptions
    starts_from_vectors = True
    follow_days: float = 0.0  # how much further than its label window a snapshot is followed
    num_targets: int = 0  # K of the network's targets

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.vectors: Callable[[Cases], pd.DataFrame] | None = None  # of the network that the run starts from

    def start_from(self, vectors: Callable[[Cases], pd.DataFrame]) -> None:
        self.vectors = vectors

    # --- what a subclass says

    @abstractmethod
    def outcome(self, store: EventStore, snapshots: Snapshots) -> tuple[np.ndarray, np.ndarray | None]:
        """What comes true `[N, …]`, NaN unknown, and the float32 targets `[N, K]` of the network beside the label."""

    @abstractmethod
    def question(self, schema: Mapping[str, Any], *, columns: slice = slice(None)) -> Question:
        """What the network is asked; `columns` of the targets are its truth."""

    @abstractmethod
    def estimator(self, spec: Spec) -> Any:
        """The unfitted model of a baseline: `fit(X, y, X_val, y_val, groups)` and `answers(X)`."""

    @abstractmethod
    def learnt(self, cases: Cases) -> np.ndarray:
        """What baselines learn from, `[N]` or `[N, K]`."""

    def check_cases(self, cases: Cases) -> None:
        """Raise ValueError where a split has nothing to learn or to measure."""
        check_classes(cases.snapshots)

    # --- cases

    def _cases(self, store: EventStore, snapshots: Snapshots) -> Cases:
        return Cases(store, snapshots, *self.outcome(store, snapshots))

    def cases(self, store: EventStore, *, fold: int = 0) -> Cases:
        assert self.settings.rule is not None
        snapshots = build_snapshots(
            store, self.settings.rule, fold=fold, labels=self.settings.labels, follow_days=self.follow_days
        )
        return self.of_snapshots(store, snapshots)

    def of_snapshots(self, store: EventStore, snapshots: Snapshots) -> Cases:
        """The cases of these snapshots, found to be fit for learning and measuring."""
        check_classes(snapshots)
        cases = self._cases(store, snapshots)
        self.check_cases(cases)
        return cases

    def cases_at(self, store: EventStore, cutoff: int) -> Cases:
        assert self.settings.rule is not None
        snapshots, in_population = scoring_snapshots(store, cutoff, self.settings.rule, labels=self.settings.labels)
        return Cases(store, snapshots, in_population=in_population)

    def later_cases(self, store: EventStore, cutoffs: np.ndarray) -> Cases:
        assert self.settings.rule is not None
        snapshots = later_snapshots(store, cutoffs, self.settings.rule, labels=self.settings.labels)
        return self._cases(store, snapshots)

    # --- network

    def network(self, schema: Mapping[str, Any]) -> SequenceNetwork:
        settings = self.settings
        return SnapshotNetwork(
            self.question(schema), schema, encoder=settings.encoder, options=self.options, seed=settings.seed
        )

    def answers(self, network: SequenceNetwork, inputs: SequenceInputs, rows: np.ndarray) -> Answers:
        raw = apply(network, inputs, rows, lambda batch: network.answer(self.name, batch))
        return self.told(raw.astype(np.float64), inputs, rows)

    def told(self, output: np.ndarray, inputs: SequenceInputs, rows: np.ndarray) -> np.ndarray:
        """What is made of the network's output for some rows, before calibration."""
        return output

    # --- baselines

    def fit_baseline(self, spec: Spec, cases: Cases, others: Mapping[str, Answers]) -> tuple[Any, Answers]:
        X, y, model, snapshots = self.table(spec, cases), self.learnt(cases), self.estimator(spec), cases.snapshots
        train, stopping = snapshots.training, snapshots.early_stopping
        model.fit(X[train], y[train], X[stopping], y[stopping], groups=snapshots.customer[train])
        return model, model.answers(X.iloc[cases.held_out])

    def baseline_answers(self, fitted: Fitted, cases: Cases, others: Mapping[str, Answers]) -> Answers:
        return fitted.model.answers(self.table(fitted.spec, cases))

    def draws(self, spec: Spec) -> bool:
        settings = self.settings
        prepared = settings.impute == "iterative" or settings.imbalance not in ("none", "class_weight")
        return prepared or spec.max_rows is not None or "random_state" in spec.make().get_params()

    def table(self, spec: Spec, cases: Cases) -> pd.DataFrame:
        """The columns that a baseline may see, a row a snapshot."""
        tables = {"features": lambda: cases.features, "embedding": lambda: self._embedding(cases)}
        X = pd.concat([tables[name]() for name in spec.sees], axis=1)
        return X.loc[:, ~X.columns.duplicated()]

    def _embedding(self, cases: Cases) -> pd.DataFrame:
        if "embedding" not in cases.memo:
            assert self.vectors is not None, "only a run with init has baselines that see its vectors"
            cases.memo["embedding"] = self.vectors(cases)
        return cases.memo["embedding"]

    # --- figures

    def parts(self, table: Any) -> dict[str, Any]:
        return {"overall": table, "recent": table.select(table.recent)}

    def by_cutoff(self, table: Any) -> dict[str, Any]:
        return dates_of(table, Zone(self.settings.timezone))
