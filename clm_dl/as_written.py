"""As written: ids and runs of a command line are texts, where Hydra would make numbers and lists of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.Errors import LexerNoViableAltException, RecognitionException
from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

OF_RUNS = ("run", "runs", "sweep", "init", "ckpt")  # overrides whose values are folders and files of runs
OF_IDS = ("customers=", "where=", "where.")  # overrides whose values are ids


class _AsWritten(HydraOverrideVisitor):
    """Reads `1_1`, `1e3`, `007` and `true` as the texts that they are; `mended`: whether there was any such value."""

    mended = False

    def visitPrimitive(self, ctx: OverrideParser.PrimitiveContext) -> Any:
        value = super().visitPrimitive(ctx)
        if isinstance(value, (str, QuotedString)):
            return value
        self.mended = True
        return QuotedString(ctx.getText().strip(), Quote.single)


def runs_as_written(text: str) -> str:
    """An override that names a run in quotes, as far as there is one: folders of trials have = and , in their names."""
    key, _, value = text.partition("=")
    if key not in OF_RUNS or not set("=,") & set(value) or not Path(value).exists():
        return text
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def ids_as_written(text: str) -> str:
    """An override of customers or items' values with every value in quotes that Hydra would make a number of."""
    if not text.lstrip("+").startswith(OF_IDS) or text.endswith("=null"):
        return text
    lexer = OverrideLexer(InputStream(text))
    parser = OverrideParser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(HydraErrorListener())
    visitor = _AsWritten(create_functions())
    try:
        override = visitor.visit(parser.override())
    except (HydraException, RecognitionException, LexerNoViableAltException):
        return text  # whoever reads it next says what is wrong
    return f"{override.get_key_element()}={override.get_value_element_as_str()}" if visitor.mended else text
