"""What tests build on: the options of configs/ as dataclasses, snapshots and batches with single options changed."""

from typing import Any

from omegaconf import OmegaConf

from clm_dl.config import CONFIG_DIR
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.sequences.options import BatchOptions, SequenceOptions, VocabularyOptions
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.snapshots.snapshots import Snapshots, build_snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.options import parse

VOCABULARY = ("min_count", "max_size", "fields")
BATCHES = {"batch_size": None, "max_tokens_per_batch": 8192, "num_workers": 0, "seed": 0}


def options(cls: type[Any], group: str, **changes: Any) -> Any:
    """The dataclass of a file of configs/, with some of its values changed."""
    return parse(cls, OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / f"{group}.yaml")) | changes, group)


def rule(**changes: Any) -> SnapshotRule:
    """The rule of snapshots/events."""
    return options(SnapshotRule, "snapshots/events", **({"active_days": None} | changes))


def snapshots_of(store: EventStore, **changes: Any) -> Snapshots:
    """Labelled snapshots by `rule`; fold, labels, follow_days and seed as in `build_snapshots`."""
    further = {name: changes.pop(name) for name in ("fold", "labels", "follow_days", "seed") if name in changes}
    return build_snapshots(store, rule(**changes), **further)


def inputs_of(store: EventStore, snapshots: Snapshots, **changes: Any) -> SequenceInputs:
    """Batches of orders, everything of sequence/order and vocabulary/default; `vocabulary` and `schema` of a run."""
    batches = {name: changes.pop(name, default) for name, default in BATCHES.items()}
    further = {name: changes.pop(name, None) for name in ("schema", "calendar", "targets", "history")}
    vocabulary = changes.pop("vocabulary", None)
    words = {name: changes.pop(f"vocabulary_{name}") for name in VOCABULARY if f"vocabulary_{name}" in changes}
    if vocabulary is None:
        vocabulary = options(VocabularyOptions, "vocabulary/default", **({"min_count": 1} | words))
    sequence = options(SequenceOptions, "sequence/order", **({"features": False, "exclude": []} | changes))
    chosen = {"sequence": sequence, "batches": BatchOptions(**batches), "vocabulary": vocabulary}
    return SequenceInputs(store, snapshots, **chosen, **further)
