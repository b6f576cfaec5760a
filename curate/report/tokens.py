"""One conversation of a selection of tokens: which of its reply tokens count in training, and which were dropped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from curate.engine import Engine
from curate.errors import InputError
from curate.lm.encodings import scored_positions
from curate.lm.pieces import pieces
from curate.pool import Pool
from curate.preparation import as_model
from curate.report.table import printable
from curate.store import Store
from curate.wording import counted

State = Literal["read", "kept", "dropped"]
STATES: tuple[State, ...] = ("read", "kept", "dropped")
STYLES = {"read": "dim", "kept": "green", "dropped": "red"}
STRUCK = "~~"  # around what was dropped where nothing can be struck through
FEWEST = 3  # characters of a row id that may stand for it
NAMED = 3  # row ids that are named where several could be meant


@dataclass(frozen=True)
class TokenView:
    """A conversation as the model has it. pieces: (text, state), neighbours of one state together."""

    row_id: str
    source: str | None
    kept: int
    scored: int
    pieces: list[tuple[str, State]]

    def to_json(self) -> dict[str, Any]:
        """row_id, source, kept_reply_tokens, reply_tokens, and pieces of text and state."""
        pieces = [{"text": text, "state": state} for text, state in self.pieces]
        counts = {"kept_reply_tokens": self.kept, "reply_tokens": self.scored}
        return {"row_id": self.row_id, "source": self.source, **counts, "pieces": pieces}


def token_view(pool: Pool, wanted: str, model: str | None, options: Mapping[str, Any], store: Path | None) -> TokenView:
    """The tokens of the row that `wanted` means: a row id or the beginning of one, or what the user's own id column has.

    Raises InputError where no tokens were chosen in this pool, where no row or more than one is meant, and where the tokens were
    chosen for a model with another tokenizer.
    """
    if pool.labels is None:
        raise InputError(
            "no tokens were chosen here; name the folder of a selection by a method that does, such as token-cleaning"
        )
    engine, spec = Engine(store=Store(store), **options), as_model(model)
    row_id = meant(pool, wanted)
    one, rows, failed = engine.add("pool", pool.subset([row_id]), spec)
    if row_id in failed:
        raise InputError(f"row {row_id}: {failed[row_id]}")
    encodings = engine.encodings(spec, rows)
    ids, where = encodings.input_ids[0], scored_positions(encodings.loss_mask[0])
    weights = encodings.weights.get(row_id, encodings.loss_mask[0].astype(np.float32))
    state = np.zeros(len(ids), dtype=np.int64)
    state[where] = np.where(weights[where] > 0, STATES.index("kept"), STATES.index("dropped"))
    shown = [(text, STATES[mark]) for text, mark in pieces(engine.tokenizer(spec), ids, state)]
    return TokenView(row_id, one.sources[0], int((weights[where] > 0).sum()), len(where), shown)


def meant(pool: Pool, wanted: str) -> str:
    """The id of the one row that is meant. InputError where it is none, or several."""
    own = pool.column_for("id")
    if wanted in pool.row_ids:
        return wanted
    found = [row_id for row_id in pool.row_ids if len(wanted) >= FEWEST and row_id.startswith(wanted)]
    if not found and own in pool.column_names:
        values = pool.column(own).to_pylist()
        found = [row_id for row_id, value in zip(pool.row_ids, values, strict=True) if value is not None and str(value) == wanted]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"no row has the id {wanted!r}, or one that begins so (with {FEWEST} characters at least)")
    named = ", ".join(found[:NAMED]) + (", ..." if len(found) > NAMED else "")
    raise InputError(f"{wanted!r} may be any of {counted(len(found))}: {named}")


def show_tokens(console: Console, view: TokenView) -> None:
    """The conversation on a terminal, dropped tokens struck through; in a log, or without colour, marked by ~~."""
    plain, text = not console.is_terminal or console.no_color, Text()
    for piece, state in view.pieces:
        shown = printable(piece)
        if state != "dropped":
            text.append(shown, style=STYLES[state])
            continue
        core = shown.strip()
        before, after = (shown[: shown.find(core)], shown[shown.find(core) + len(core) :]) if core else ("", "")
        text.append(before)
        text.append(f"{STRUCK}{core or shown}{STRUCK}" if plain else core or shown, style=f"{STYLES[state]} strike")
        text.append(after)
    text.rstrip()
    title = Text(printable(view.source or "(no source)"), style="bold")
    console.print(Panel(text, title=title, title_align="left", subtitle=Text(view.row_id, style="dim"),
                        subtitle_align="right", border_style="dim"))  # fmt: skip
    how = f"between {STRUCK}" if plain else "struck through"
    said = f"{view.kept:,} of {counted(view.scored, 'reply token')} count in training; the dropped ones are {how}"
    console.print(Text(said, style="dim"))
