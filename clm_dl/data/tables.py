"""Small tables beside a log (labels, customers of data=table): CSV as text, nothing but blanks missing, or Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from clm_dl.data.text import decompressed, excel_separator, header, in_utf8, inner_suffix
from clm_dl.errors import UserError
from clm_dl.writing import passing_folder

PARQUET = (".parquet", ".pq")
SEPARATORS = (",", ";", "\t", "|")


def read_table(path: Path) -> pd.DataFrame:
    """A CSV's values as they are written (ids keep their zeros, NA is a word), or a Parquet file's with their types.

    Raises ValueError for a file that is damaged, or that names a column twice.
    """
    with passing_folder() as folder:
        file = decompressed(path, folder)
        if inner_suffix(path) in PARQUET:
            try:
                return pd.read_parquet(file)
            except (pa.ArrowException, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:  # the disk
                    raise
                raise UserError(
                    f"{path} is cut short or no Parquet file ({str(error).splitlines()[0]}): get it again, whole"
                ) from error
        file = in_utf8(file, folder, None, print, whole=True)
        named = excel_separator(file)
        skip = int(named is not None)
        best = named or max(SEPARATORS, key=lambda mark: len(header(file, mark, '"', 0)))
        columns = header(file, best, '"', skip)
        if twice := [column for column in columns if columns.count(column) > 1]:
            raise UserError(f"{path} has two columns {twice[0]!r}: rename one of them")
        try:
            return pd.read_csv(
                file,
                sep=best,
                skiprows=skip,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                skipinitialspace=True,
                engine="c",
            )
        except pd.errors.EmptyDataError as error:
            raise UserError(f"{path} is empty: give a table with a header") from error
        except (pd.errors.ParserError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
