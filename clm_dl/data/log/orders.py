"""Orders whose lines differ in time: how many there are, and how their lines come to share one time."""

from __future__ import annotations

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from clm_dl.data.log.engine import DuckDB
from clm_dl.data.snapshots.cutoffs import DAY

ORDER = ["customer", "order"]


def settle_orders(engine: DuckDB, table: ir.Table, *, close: bool, log: Callable[[str], None]) -> ir.Table:
    """The events with `close_orders` applied where that is asked for; says how many orders have several times."""
    if "order" not in table.columns or not (spread := spread_orders(engine, table)):
        return table
    which = "take the time of the last one" if close else "count apart; data.close_orders=true keeps them together"
    log(f"orders: {spread:,} have lines at several times, which {which}")
    return close_orders(engine, table) if close else table


def spread_orders(engine: DuckDB, table: ir.Table) -> int:
    """Number of order ids of a customer with lines at several times; `table` has columns customer, time and order."""
    spans = table.filter(table.order.notnull()).group_by(ORDER).aggregate(first=table.time.min(), last=table.time.max())
    return int(engine.fetch(spans.aggregate(orders=(spans["first"] < spans["last"]).sum()))["orders"][0].as_py() or 0)


def close_orders(engine: DuckDB, table: ir.Table) -> ir.Table:
    """Give every line the time of the last line of its order, so that no cutoff lies inside an order: it is known when
    it is complete.

    An order is what one customer has under one order id, no line more than a day after the one before: ids may be used
    again later. Lines without an order id keep their time.
    """
    before = table.time.lag().over(ibis.window(group_by=ORDER, order_by="time"))
    table = engine.named(table.mutate(again=ibis.ifelse(table.time - before > DAY, 1, 0)))
    # equal times share it
    visit = table.again.sum().over(ibis.range_window(group_by=ORDER, order_by="time", preceding=None, following=0))
    table = engine.named(table.mutate(visit=visit))
    last = table.time.max().over(ibis.window(group_by=[*ORDER, "visit"]))
    return engine.hold(table.mutate(time=ibis.ifelse(table.order.isnull(), table.time, last)).drop("again", "visit"))
