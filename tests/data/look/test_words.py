"""Names of columns: which part they say that a column plays, and which they only sound like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm_dl.data.look.words import WORDS, hint, is_id, is_personal, is_quantity, tokens


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *[(name, "customer") for name in ("CustomerID", "cust", "user_id", "userId", "Kundennr", "Member Number")],
        *[(name, "customer") for name in ("household_key", "visitorid", "account", "cliente", "CLIENTNUM", "player")],
        *[(name, "item") for name in ("StockCode", "sku", "movieId", "product_id", "Artikelnummer", "itemid", "asin")],
        *[(name, "order") for name in ("InvoiceNo", "BASKET_ID", "order_id", "transaction_id", "Bestellnummer")],
        *[(name, "time") for name in ("InvoiceDate", "ts", "when", "timestamp", "Buchungstag", "created_at", "t_dat")],
        *[(name, "amount") for name in ("spend", "SALES_VALUE", "Betrag (€)", "dollar_value", "TotalPrice", "Amount")],
        *[(name, "event_type") for name in ("event_type", "action", "event", "Buchungstext")],
        *[(name, "expiry") for name in ("expiry", "valid_until", "expires_at", "contract_end")],
        *[(name, "label") for name in ("Churn", "Attrition_Flag", "Exited", "label", "target")],
    ],
)
def test_a_name_says_the_part_that_a_column_plays(name: str, role: str) -> None:
    if name != "t_dat":  # which says nothing: its values have to
        assert hint(name, role) >= 0.5
    rivals = set(WORDS) - {role, "text"}
    assert hint(name, role) >= max(hint(name, other) for other in rivals) or role in ("time", "label", "event_type")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *[
            (name, "customer")
            for name in ("customer_city", "user_agent", "customer_age", "client_type", "user_session")
        ],
        *[(name, "item") for name in ("item_price", "product_weight_g", "product_category", "ItemCount")],
        *[(name, "order") for name in ("order_status", "InvoiceDate", "transaction_type", "order_value")],
        *[(name, "time") for name in ("birth_date", "signup_date", "delivered_at", "Valutadatum", "end_time")],
        *[(name, "amount") for name in ("quantity", "discount", "amount_id", "price_type", "rating", "total_items")],
        *[(name, "event_type") for name in ("event_id", "payment_type", "event_time")],
    ],
)
def test_a_name_that_only_sounds_like_it(name: str, role: str) -> None:
    assert hint(name, role) < 0.4


@given(st.text())
def test_any_name_is_read(name: str) -> None:
    assert all(-1 <= hint(name, role) <= 1.3 for role in WORDS)
    assert isinstance(is_id(name), bool)
    assert all(word.isascii() and word.islower() for word in tokens(name))


def test_ids_counts_and_persons() -> None:
    assert all(map(is_id, ("store_id", "storeId", "BLZ Nr", "orderno", "CLIENTNUM")))
    assert not any(map(is_id, ("number_of_cds", "num_items", "valid", "paid")))
    assert all(map(is_quantity, ("Quantity", "qty", "Menge", "number_of_cds")))
    assert all(map(is_personal, ("email", "customer_name", "Nachname", "ip_address", "IBAN")))
    assert not any(map(is_personal, ("name_of_plan", "ship", "mailing")))
