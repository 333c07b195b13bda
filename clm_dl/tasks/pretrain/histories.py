"""Unlabelled snapshots: every customer's history up to one cutoff; some customers are kept out to judge it by."""

from __future__ import annotations

import numpy as np

from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


def unlabelled_snapshots(store: EventStore, labelled: Snapshots, *, held_out: float) -> Snapshots:
    """One snapshot a customer with an event before the last training cutoff of `labelled`, whatever its population
    rule.

    Half of the share `held_out` of the customers is "val", half "test", the others are "train"; the same customers
    whatever the seed. Validation customers of `labelled` that share its training cutoffs (`snapshots.val_customers`)
    are never "train": their label windows lie in these histories. The labels are 0, known and not used.

    Raises:
        ValueError: `held_out` leaves a split empty, or nobody has an event.
    """
    cutoff = labelled.last_training_cutoff
    count = count_before(
        store.offsets, store.time, np.arange(store.num_customers), np.full(store.num_customers, cutoff)
    )
    customer = np.flatnonzero(count)
    start = np.asarray(store.offsets)[customer]
    stop = start + count[customer]
    place = np.empty(store.num_customers)  # of each customer in a random order, from 0 to 1
    place[np.random.default_rng(0).permutation(store.num_customers)] = np.linspace(
        0, 1, store.num_customers, endpoint=False
    )
    place = place[customer]
    split = np.where(place < held_out, np.where(place < held_out / 2, "test", "val"), "train")
    apart = np.unique(labelled.customer[(labelled.split == "val") & (labelled.cutoff <= cutoff)])
    split = np.where((split == "train") & np.isin(customer, apart), "val", split)
    if missing := [name for name in ("train", "val", "test") if not (split == name).any()]:
        raise UserError(
            f"task.held_out={held_out} of {len(customer)} customers with an event before {store.zone.iso(cutoff)} "
            f"leaves none for {missing[0]}: choose another share between 0 and 1"
        )
    order = np.lexsort((customer, np.select([split == "train", split == "val"], [0, 1], 2)))
    return Snapshots(
        customer=customer[order],
        cutoff=np.full(len(customer), cutoff),
        split=split[order],
        label=np.zeros(len(customer)),
        start=start[order],
        stop=stop[order],
        recent=np.ones(len(customer), bool),
        horizon_days=labelled.horizon_days,
        gap_days=labelled.gap_days,
    )
