"""Words: what the name of a column says of the part it plays, in the languages that logs are often written in."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# role → words of a name, with how surely they say it; long ones also inside others, as kunde in kundennr
WORDS: dict[str, dict[str, float]] = {
    "customer": {
        **dict.fromkeys(("customer", "cust", "client", "user", "usr", "uid", "member", "household", "hh", "hhid"), 1.0),
        **dict.fromkeys(("subscriber", "shopper", "buyer", "consumer", "guest", "visitor", "patient", "player"), 1.0),
        **dict.fromkeys(("passenger", "reviewer", "donor", "student", "learner", "rider", "cardholder", "msisdn"), 1.0),
        **dict.fromkeys(("kunde", "kunden", "kdnr", "nutzer", "mitglied", "cliente", "clientes", "usuario"), 1.0),
        **dict.fromkeys(("klant", "klient", "utilisateur", "adherent", "panelist", "person", "subject", "cid"), 0.9),
        **dict.fromkeys(("account", "acct", "konto", "kontonummer", "auftraggeber", "fullvisitor", "distinct"), 0.8),
        **dict.fromkeys(("card", "party", "contact", "company", "tenant", "wallet", "iban", "device"), 0.6),
        **dict.fromkeys(("cookie", "email", "anonymous", "athlete", "holder", "beguenstigter", "employee"), 0.5),
        **dict.fromkeys(("phone", "sender", "payer", "author", "machine", "vehicle", "seller"), 0.4),
    },
    "item": {
        **dict.fromkeys(("item", "product", "prod", "sku", "article", "artikel", "stock", "stockcode", "asin"), 1.0),
        **dict.fromkeys(("isbn", "ean", "upc", "gtin", "plu", "movie", "film", "track", "song", "artist", "book"), 1.0),
        **dict.fromkeys(("game", "course", "recipe", "beer", "listing", "produkt", "producto", "produit"), 0.9),
        **dict.fromkeys(("prodotto", "articulo", "material", "exercise", "problem", "question", "podcast"), 0.9),
        **dict.fromkeys(("business", "restaurant", "venue", "poi", "hotel", "video", "content", "news", "show"), 0.8),
        **dict.fromkeys(("offer", "page", "url", "title", "app", "dish", "symbol", "ticker", "destination"), 0.6),
        **dict.fromkeys(("merchant", "mcc", "service", "post", "series", "skill", "location"), 0.5),
    },
    "order": {
        **dict.fromkeys(("order", "basket", "invoice", "transaction", "receipt", "cart", "checkout"), 1.0),
        **dict.fromkeys(("bestellung", "bestell", "bestellnr", "rechnung", "beleg", "bon", "pedido", "commande"), 1.0),
        **dict.fromkeys(("trans", "txn", "tx", "session", "ticket", "facture", "factura", "ordine", "auftrag"), 0.8),
        **dict.fromkeys(("booking", "reservation", "purchase", "visit", "trip", "bill"), 0.6),
    },
    "time": {
        **dict.fromkeys(("timestamp", "datetime", "time", "date", "ts", "datum", "zeit", "zeitpunkt", "fecha"), 1.0),
        **dict.fromkeys(("when", "occurred", "day", "tag", "buchungstag", "bestelldatum", "data", "hora", "dt"), 0.8),
        **dict.fromkeys(("created", "purchased", "month", "monat", "week", "year", "period", "epoch", "at"), 0.6),
    },
    "amount": {
        **dict.fromkeys(("amount", "amt", "spend", "spent", "sales", "revenue", "betrag", "umsatz", "turnover"), 1.0),
        **dict.fromkeys(("importe", "montant", "bedrag", "gmv", "monetary", "paid", "payment", "dollar", "fare"), 0.9),
        **dict.fromkeys(("total", "value", "summe", "sum", "preis", "price", "valor", "donation", "gross", "net"), 0.7),
        **dict.fromkeys(("charge", "cost", "usd", "eur", "gbp", "bill", "precio", "prix", "fee", "purchase"), 0.5),
    },
    "event_type": {
        **dict.fromkeys(("event", "action", "activity", "behavior", "behaviour", "interaction", "operation"), 1.0),
        **dict.fromkeys(("ereignis", "aktion", "vorgang", "type", "kind", "buchungstext", "buchungsart"), 0.7),
    },
    "text": {
        **dict.fromkeys(("description", "text", "review", "comment", "beschreibung", "verwendungszweck"), 1.0),
        **dict.fromkeys(("bezeichnung", "title", "titel", "name", "desc", "message", "note", "body", "summary"), 0.7),
    },
    "expiry": {
        **dict.fromkeys(("expiry", "expire", "expires", "expired", "expiration", "ablauf", "renewal"), 1.0),
        **dict.fromkeys(("until", "end", "ende", "bis"), 0.8),
    },
    "label": {
        **dict.fromkeys(("churn", "churned", "attrition", "exited", "label", "target", "cancelled", "canceled"), 1.0),
        **dict.fromkeys(("abwanderung", "gekuendigt", "left", "leaver", "lapsed", "attrited", "unsubscribed"), 1.0),
        **dict.fromkeys(("conversion", "converted", "response", "responded", "subscribed", "default", "y"), 0.8),
        **dict.fromkeys(("status", "outcome", "class", "visit", "purchased", "recommended", "active"), 0.5),
    },
}
ID = ("id", "ids", "no", "nr", "num", "number", "nummer", "key", "code", "ref", "hash", "uuid", "guid", "unique", "sk")
COUNTS = ("number", "num", "no", "nr", "count")  # at the start of a name, as in number_of_items
PLACES = ("store", "shop", "branch", "category", "campaign", "channel", "group", "client", "brand", "event", "row")
BESIDE = {  # words beside that of a role: the column says something about it, and is not it
    "customer": (
        *("name", "age", "gender", "type", "segment", "city", "country", "state", "status", "since", "count", "zip"),
        *(
            "rating",
            "group",
            "agent",
            "level",
            "tier",
            "score",
            "lat",
            "lon",
            "latitude",
            "longitude",
            "region",
            "plan",
        ),
        *("date", "time", "postcode", "prefix", "address", "balance", "value", "lifetime", "class", "category", "text"),
        *("session", "visit", "order", "transaction", "product", "item", "income", "size", "children", "comp", "desc"),
    ),
    "item": (
        *("name", "price", "count", "category", "type", "weight", "length", "width", "height", "desc", "description"),
        *("quantity", "qty", "rating", "cost", "value", "status", "date", "time", "total", "group", "department"),
        *("photos", "lenght", "size", "color", "colour", "brand", "subcategory", "sub", "level", "discount", "market"),
    ),
    "order": (
        *("status", "type", "value", "amount", "total", "date", "time", "count", "priority", "price", "quantity"),
        *("qty", "size", "hour", "dow", "day", "method", "discount", "sequential", "seq", "timestamp", "line", "item"),
        *("approved", "delivered", "purpose", "text", "duration", "channel", "currency", "cost", "tax"),
    ),
    "time": (
        *("birth", "dob", "geburt", "birthday", "geburtsdatum", "expiry", "expire", "expires", "expiration", "until"),
        *("end", "ende", "due", "updated", "modified", "signup", "registered", "registration", "joined", "join"),
        *("since", "delivery", "delivered", "shipped", "shipping", "first", "last", "valid", "release", "released"),
        *("cancelled", "closed", "estimated", "limit", "approved", "returned", "renewal", "valuta", "valutadatum"),
        *(
            "opened",
            "start",
            "load",
            "loaded",
            "ingested",
            "insert",
            "exported",
            "processed",
            "zone",
            "duration",
            "spent",
        ),
    ),
    "amount": (
        *(*ID, "discount", "disc", "tax", "vat", "mwst", "quantity", "qty", "count", "balance", "saldo", "rating"),
        *("score", "days", "type", "date", "time", "age", "points", "percent", "rate", "method", "shipping", "freight"),
        *("installments", "status", "month", "year", "hour", "items", "weight", "coupon", "retail", "limit", "index"),
    ),
    "event_type": ("id", "time", "date", "ts", "timestamp", "payment", "card", "product", "customer", "device", "user"),
    "text": ("id", "date", "time", "code"),
    "expiry": ("of", "month"),
    "label": ("date", "time", "id", "probability", "score", "reason", "category"),
}
UNIT = ("unit", "each", "per", "piece", "einzelpreis", "stueckpreis", "einzel", "stueck")
QUANTITY = ("quantity", "qty", "menge", "anzahl", "units", "cantidad", "quantite", "pieces")
PERSONAL = (
    *("email", "mail", "phone", "telephone", "telefon", "mobile", "firstname", "lastname", "surname", "fullname"),
    *("vorname", "nachname", "address", "street", "strasse", "ssn", "iban", "passport", "birth", "dob", "birthday"),
    *("birthdate", "geburtsdatum", "ip", "beguenstigter", "zahlungspflichtiger", "auftraggeber", "kontonummer"),
)
PERSONAL_PAIRS = (("first", "name"), ("last", "name"), ("full", "name"), ("customer", "name"), ("user", "name"))


@cache
def tokens(name: str) -> tuple[str, ...]:
    """Words of a name in lower case without accents: CustomerID, customer_id and customer id are alike."""
    plain = name.replace("ß", "ss")
    for umlaut in "äöüÄÖÜ":
        plain = plain.replace(umlaut, unicodedata.normalize("NFKD", umlaut)[0] + "e")
    plain = unicodedata.normalize("NFKD", plain)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", plain)
    plain = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", plain)
    return tuple(re.findall(r"[a-z]+", plain.lower()))


@cache
def hint(name: str, role: str) -> float:
    """How surely the name of a column says that it plays `role`, from 0 to 1.2; below 0 where it says it does not."""
    words = tokens(name)
    best = 0.0
    for word in words:
        for known, sure in WORDS[role].items():
            if word == known:
                found = sure
            elif len(known) >= 4 and (word.startswith(known) or (len(known) >= 5 and word.endswith(known))):
                found = 0.85 * sure
            else:
                continue
            if found > best:
                best = found
    if any(word in BESIDE[role] for word in words if word not in WORDS[role]):
        best -= 0.8
    if role in ("customer", "item", "order") and is_id(name):
        best += 0.2 if best else 0.1
    return best


def is_id(name: str) -> bool:
    """Whether the name says that values tell things apart; number_of_items counts them."""
    words = tokens(name)
    words = words[1:] if len(words) > 1 and words[0] in COUNTS else words
    return any(word in ID or any(_known(word.removesuffix(one)) for one in ID if word.endswith(one)) for word in words)


def _known(word: str) -> bool:
    return any(word in WORDS[role] for role in ("customer", "item", "order")) or word in PLACES


def is_personal(name: str) -> bool:
    words = tokens(name)
    return any(word in PERSONAL for word in words) or any(set(pair) <= set(words) for pair in PERSONAL_PAIRS)


def is_quantity(name: str) -> bool:
    words = tokens(name)
    return any(word in QUANTITY for word in words) or (len(words) > 1 and words[0] in COUNTS)


def is_of_one_piece(name: str) -> bool:
    """Whether the name is that of a price for one piece."""
    return any(word in UNIT for word in tokens(name))
