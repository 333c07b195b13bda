"""The fingerprint of a store's sources: two logs with the same one give the same store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from clm_dl.data.log.interchange import spell_out
from clm_dl.data.log.roles import DataSpec, parse_data
from clm_dl.data.log.sources import source_state
from clm_dl.data.store.home import STORE_VERSION

UNHASHED = ("memory_limit", "data_dir", "engine", "max_quarantined")  # options that change no byte of a store

READING = 2  # raise it when the same log comes to be read otherwise


def source_fingerprint(data: Mapping[str, Any]) -> str:
    """Hash of all that decides the store's bytes: state of every source, roles, options and the store's version."""
    spec = parse_data(spell_out(data))
    states = [
        [source_state(log, spec.data_dir), *(source_state(join, spec.data_dir) for join in log.joins)]
        for log in spec.logs
    ]
    return _hash([STORE_VERSION, READING, states, _options(spec)])


def configuration_fingerprint(data: Mapping[str, Any]) -> str:
    """Hash of the names of sources, roles and options: of its stores, the newest state of the sources is wanted."""
    return _hash([_options(parse_data(spell_out(data)))])


def _options(spec: DataSpec) -> dict[str, Any]:
    plain = replace(
        spec,
        logs=tuple(
            replace(log, frame=None, joins=tuple(replace(join, frame=None) for join in log.joins)) for log in spec.logs
        ),
    )
    return {key: value for key, value in asdict(plain).items() if key not in UNHASHED}


def _hash(value: list[Any]) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
