"""The folder of a trial in its sweep: its number and what was swept, as every file system takes it."""

from __future__ import annotations

import re
from hashlib import sha256

from clm_dl.masking import masked

LONGEST = 120  # bytes; file systems end at 255


def trial_folder(number: int | str, settings: str | None) -> str:
    """3_encoder=lstm,seed=0: no slash, no blank, no password; long settings end in a hash of all of them."""
    written = masked(f"{number}_{settings}" if settings else str(number))
    safe = re.sub(r"[^\w.,=+-]+", "-", written).rstrip("-.")
    if len(safe.encode()) <= LONGEST:
        return safe
    return f"{safe.encode()[: LONGEST - 9].decode(errors='ignore')}-{sha256(written.encode()).hexdigest()[:8]}"
