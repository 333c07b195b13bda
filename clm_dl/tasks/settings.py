"""Settings: what a task is told, read once from the configuration and typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clm_dl.baselines.spec import Spec
from clm_dl.data.sequences.options import SequenceOptions, VocabularyOptions
from clm_dl.data.snapshots.rule import SnapshotRule


@dataclass(frozen=True)
class ProfitOptions:
    """What contacting earns: benefit of a positive reached, cost of a contact."""

    benefit: float
    cost: float


@dataclass(frozen=True)
class Settings:
    """The groups of train.yaml that a task reads; its own group is `task`, which it types itself.

    Attributes:
        rule: the group `snapshots`; None of a table without time.
        calendar: of the group `data`, known-future covariates. log: its name. timezone: of its dates.
        specs: the chosen baselines that answer the task. named: whether each of them was asked for by name.
    """

    task: Mapping[str, Any]
    encoder: Mapping[str, Any]
    sequence: SequenceOptions
    vocabulary: VocabularyOptions
    rule: SnapshotRule | None
    labels: Mapping[str, Any]
    protocol: Mapping[str, Any]
    policy: Mapping[str, Any]
    calendar: Mapping[str, Any] | None
    log: str
    timezone: str
    k: int
    seed: int
    threshold: float
    profit: ProfitOptions
    impute: str
    imbalance: str
    specs: tuple[Spec, ...] = ()
    named: bool = False

    @property
    def has_network(self) -> bool:
        return bool(self.encoder["name"] != "none")
