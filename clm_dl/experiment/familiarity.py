"""What a run is told of an input that its training did not know: values out of its vocabulary, numbers of another size,
a cutoff long after.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clm_dl.data.sequences.tokens import sums
from clm_dl.data.sequences.vocabulary import UNK
from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.store.store import EventStore
from clm_dl.tasks.trained import Trained

NOTABLE = 0.05  # share of unknown values
FAR = 10  # times greater or smaller


def notes(trained: Trained, store: EventStore, cutoff: int) -> Iterator[str]:
    """Sentences on `store` at a cutoff (microseconds UTC), where there is something to say."""
    for name, values in (trained.vocabulary.fields if trained.vocabulary else {}).items():
        codes = np.asarray(store.column(name))
        codes = codes[codes >= 0]
        if not len(codes) or not values:
            continue
        known = trained.vocabulary.lookup(name, store.dictionary(name))  # type: ignore[union-attr]
        share = float((known[codes] == UNK).mean())
        if share > NOTABLE:
            yield (
                f"note: {share:.0%} of the values of {name} are unknown to the run, or were rare in training, such as "
                f"{store.dictionary(name)[codes[known[codes] == UNK][0]]!r}"
            )
    schema = trained.schema or {}
    for name, scale in schema.get("numeric", {}).items():
        if not store.has(name):  # made of others
            continue
        values = np.abs(sums(store.column(name), np.flatnonzero(store.order_start), schema["token"]))
        size = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
        before = float(np.expm1(abs(scale["center"])))
        if min(size, before) > 0 and max(size, before) > FAR * min(size, before):
            yield (
                f"note: half of the values of {name} are within {size:.3g}, in training within "
                f"{before:.3g}: are they written as they were then (data.decimal, data.thousands)?"
            )
    rule = trained.task.settings.rule
    last = int(np.asarray(store.time).max())
    if rule is not None and cutoff > store.zone.add(max(store.end, last), to_us(rule.horizon_days)):
        yield (
            f"note: the cutoff {store.zone.iso(cutoff)} lies {(cutoff - last) / to_us(1):,.0f} days after the last "
            f"event ({store.zone.iso(last)}): nobody bought anything since, as far as this input tells"
        )
