"""Recommendation cards tell what was bought, listed and bought next; what the projector shows of items."""

from collections.abc import Callable

import pandas as pd

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.store.store import EventStore
from clm_dl.tasks.recommend.cards import card_text, item_table, sample_cards
from clm_dl.visual.results import Results


def test_cards_say_what_was_bought_listed_and_bought_next(
    make_results: Callable[..., Results], shop: EventStore
) -> None:
    results = make_results(models={"network": 2.0})
    snapshots, options = results.task.cases(shop).snapshots, {"model": "network", "num": 40, "seed": 3}
    names = [f"Title {code}" for code in range(len(shop.dictionary("item")))]
    cards = sample_cards(results.scores, shop, snapshots, names=names, **options)
    assert cards == sample_cards(results.scores, shop, snapshots, names=names, **options)
    assert len({card["customer"] for card in cards}) == 40
    hits = 0
    for card in cards:
        customer = int(card["customer"][1:])
        bought = [f"Title {code}" for code in shop.column("item")[shop.offsets[customer] : shop.offsets[customer + 1]]]
        assert [wanted["item"] for wanted in card["next"]] == bought[-1:]
        assert card["bought"][-1] == bought[-2]
        assert set(card["bought"]) <= set(bought[:-1])
        assert len(card["list"]) == 10
        assert all(listed["before"] == (listed["item"] in bought[:-1]) for listed in card["list"])
        (wanted,) = card["next"]
        assert [place for place, listed in enumerate(card["list"], 1) if listed["hit"]] == [wanted["place"]] * (
            wanted["place"] <= 10
        )
        hits += wanted["place"] <= 10
        assert ("bought next**" in card_text(card)) == (wanted["place"] <= 10)
    assert 0 < hits < 40
    removed = make_results("policy.repeats=remove", models={"network": 2.0}).scores
    texts = [card_text(card) for card in sample_cards(removed, shop, snapshots, model="network", num=40)]
    assert any("not listed by the policy" in text for text in texts)
    assert not any("(bought before)" in text for text in texts)


def test_rare_categories_share_a_colour() -> None:
    many = pd.DataFrame(
        {
            "item_id": [str(i) for i in range(200)],
            "count": 1,
            "brand": ["big"] * 100 + [f"b{i}" for i in range(99)] + [None],
        }
    )
    shown = item_table(Catalogue.from_frame(many))["brand"]
    assert shown.nunique() == 50
    assert (shown == "big").sum() == 100
    assert shown.iloc[-1] == "missing"
