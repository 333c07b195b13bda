"""Masking: passwords in addresses and settings, which no file, page or sentence shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

STARS = "***"
_SECRET = r"passw(?:or)?d|pwd|passphrase|secret(?:_?(?:access_?)?key)?|(?:api|access)_?key|(?:access|auth)_?token"
# user:password@ of an address; the password may hold anything, so what follows the last @ of the word is the host;
# Hydra writes \: and \= where it repeats a command line
_USER = re.compile(r"([a-z][\w+.-]*\\?://[^\s:/@?#'\"]*:)(?!\*\*\*@)([^\s'\"<>`]+)@", re.IGNORECASE)
_TOKEN = re.compile(r"(https?\\?://)([^\s:/@?#'\"]+)@", re.IGNORECASE)  # a token instead of a user
_QUERY = re.compile(rf"([?&;](?:{_SECRET}|token|sig|signature)\\?=)[^\s&;#'\"<>`]*", re.IGNORECASE)
_SETTING = re.compile(rf"(?<![\w.])((?:{_SECRET})\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^\s&;#'\"<>`,]+)", re.IGNORECASE)
_KEY = re.compile(rf"(?:.*[_.-])?(?:{_SECRET})", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` without the passwords and tokens of the addresses in it; `${oc.env:NAME}` stays."""
    text = _USER.sub(lambda found: f"{found[1]}{_stars(found[2])}@", text)
    text = _TOKEN.sub(lambda found: f"{found[1]}{_stars(found[2])}@", text)
    for pattern in (_QUERY, _SETTING):
        text = pattern.sub(lambda found: found[1] + _stars(found[0][len(found[1]) :]), text)
    return text


def masked_config(config: Any, key: str = "") -> Any:
    """A plain configuration with every text masked, and whole values whose keys are named as secrets."""
    if isinstance(config, Mapping):
        return {name: masked_config(value, str(name)) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [masked_config(value, key) for value in config]
    if not isinstance(config, str):
        return config
    return _stars(config) if _KEY.fullmatch(key) and config else masked(config)


def _stars(secret: str) -> str:
    """Stars for a secret; the name of one in the environment stays."""
    return secret if re.fullmatch(r"\$\{oc\.env:\w+(?:,[^}]*)?\}", secret) else STARS
