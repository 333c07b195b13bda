"""Masking: passwords in addresses and settings, which no file, page or sentence shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

STARS = "***"
_SECRET = (
    r"(?:ssl)?passw(?:or)?d|pwd|passphrase|passcode|ssl_key_pass|secret(?:_?(?:access_?)?key)?"
    r"|(?:api|access|private)_?key|(?:access|auth)_?token|credentials(?:_?(?:base64|json))?"
)
_QUOTE = r"'\"'\"'"  # an apostrophe inside quotes, as a shell has it
# user:password@ of an address; the password may hold anything, so what follows the last @ of the word is the host;
# Hydra writes \: and \= where it repeats a command line
_USER = re.compile(
    rf"([a-z][\w+.-]*\\?://(?:{_QUOTE}|[^\s:/@?#\"])*:)(?!\*\*\*@)((?:{_QUOTE}|[^\s\"<>`])+)@", re.IGNORECASE
)
_TOKEN = re.compile(r"(https?\\?://)([^\s:/@?#'\"]+)@", re.IGNORECASE)  # a token instead of a user
_QUERY = re.compile(  # an apostrophe that something follows closes no quote
    rf"([?&;](?:{_SECRET}|token|sig|signature)\\?=)(?:{_QUOTE}|[^\s&;#'\"<>`]|'(?![\s,;&)\]}}\"]|$))*", re.IGNORECASE
)
_SETTING = re.compile(rf"(?<![\w.])((?:{_SECRET})\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^\s&;#'\"<>`,]+)", re.IGNORECASE)
_QUOTED = re.compile(r"(['\"])(?:[\w.+-]+=)?[a-z][\w+.-]*://(?:(?!\1).)*\1", re.IGNORECASE)  # blanks are its own
_ADDRESS = re.compile(r"[a-z][\w+.-]*://", re.IGNORECASE)
_KEY = re.compile(rf"(?:.*[_.-])?(?:{_SECRET})", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` without the passwords and tokens of the addresses in it; `${oc.env:NAME}` stays."""
    text = _QUOTED.sub(lambda found: found[0].replace(" ", "\0"), text)
    text = _USER.sub(lambda found: f"{found[1]}{_stars(found[2])}@", text)
    text = _TOKEN.sub(lambda found: f"{found[1]}{_stars(found[2])}@", text)
    for pattern in (_QUERY, _SETTING):
        text = pattern.sub(lambda found: found[1] + _stars(found[0][len(found[1]) :]), text)
    return text.replace("\0", " ")


def masked_config(config: Any, key: str = "") -> Any:
    """A plain configuration with every text masked, and whole values whose keys are named as secrets."""
    if isinstance(config, Mapping):
        return {name: masked_config(value, str(name)) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [masked_config(value, key) for value in config]
    if not isinstance(config, str):
        return config
    if _KEY.fullmatch(key) and config:
        return _stars(config)
    return masked(config.replace(" ", "\0") if _ADDRESS.match(config) else config)


def _stars(secret: str) -> str:
    """Stars for a secret; the name of one in the environment stays."""
    return secret if re.fullmatch(r"\$\{oc\.env:\w+(?:,[^}]*)?\}", secret) else STARS
