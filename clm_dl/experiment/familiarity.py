"""What a run is told of an input that its training did not know: values out of its vocabulary or of its customer
attributes, items out of its catalogue, numbers of another size, a cutoff long after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.sequences.tokens import sums
from clm_dl.data.sequences.vocabulary import UNK
from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.store.attributes import attributes_at
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.run_files import read_metrics
from clm_dl.tasks.trained import Trained

NOTABLE = 0.05  # share of unknown values
FAR = 10  # times greater or smaller


def written_then(trained: Trained, *, whole: bool = False) -> dict[str, Any]:
    """How the customer attributes of a run's own log were written, or with `whole` its times and fields, too: `written`
    of `prepare_store`. What the network knows of categories is what training saw.
    """
    found: dict[str, Any] = {}
    if whole or trained.network is None:
        found = dict(read_metrics(trained.path, trained.task).get("data", {}).get("written", {}))
    attributes = {**found.get("attributes", {}), **(trained.schema or {}).get("static", {})}
    found = found if whole else {key: found[key] for key in found if key == "attribute_marks"}
    return {**found, "attributes": attributes}


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
    if trained.vocabulary is None and trained.task.catalogue is not None:
        yield from _unknown_items(trained.task.catalogue, store)
    yield from _unknown_attributes(written_then(trained)["attributes"], store, cutoff)
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


def _unknown_items(catalogue: Catalogue, store: EventStore) -> Iterator[str]:
    """A sentence where a catalogue lacks many of a log's items."""
    codes, items = np.asarray(store.column("item")), store.dictionary("item")
    codes = codes[codes >= 0]
    strange = codes[catalogue.lookup(items)[codes] < 0]
    if len(strange) > NOTABLE * len(codes):
        yield (
            f"note: {len(strange) / len(codes):.0%} of the items of these histories are not in the run's catalogue, "
            f"such as {items[strange[0]]!r}: are their ids written as those it was trained on?"
        )


def _unknown_attributes(known: Mapping[str, Sequence[str] | None], store: EventStore, cutoff: int) -> Iterator[str]:
    """A sentence for each customer attribute that has many values of which training knew nothing."""
    customers = np.arange(store.num_customers)
    attributes, _ = attributes_at(store, customers, np.full(len(customers), cutoff))
    for name in (name for name, values in known.items() if values and name in attributes):
        found = attributes[name].dropna().map(str)
        strange = found[~found.isin(list(known[name] or ()))]
        if len(strange) > NOTABLE * len(found):
            yield (
                f"note: {len(strange) / len(found):.0%} of the values of the customer attribute {name} are unknown to "
                f"the run, such as {strange.iloc[0]!r}"
            )
