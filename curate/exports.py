"""Chosen rows in a folder: the data, the tokens that count, what stock trainers need, and a card that says which of them can."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curate.manifests import dataset_card
from curate.pool import Pool, TokenLabels, write_rows
from curate.pool.labels import write_pretokenised
from curate.pool.trainers import axolotl_tokens_yaml, trl_tokens_script
from curate.preparation import TOKENS_FILE

AXOLOTL_FILE = "tokens.axolotl.parquet"  # the same tokens with the very columns that Axolotl asks for
_TOKENS = (
    f"Not all tokens of the replies count: `{TOKENS_FILE}` says which, for `curate train` and `train_trl.py`, and "
    f"`{AXOLOTL_FILE}` for `axolotl.yaml`.\nThere is no `dataset_info.json`, for LLaMA-Factory reads conversations and would "
    "learn from whole replies."
)
_POLICY = (
    "Which tokens of the replies count is chosen while the model learns, by {policy}: `curate train` on this folder does so, as "
    "`manifest.json` says.\nThere is nothing here for TRL, LLaMA-Factory and Axolotl, for they would learn from all tokens of "
    "these rows, which is not the method."
)


@dataclass(frozen=True)
class Chosen:
    """Rows to be exported, and which of their tokens count.

    positions  of the rows in the pool, in the order of the export, each once.
    model      to be trained, by name.
    labels     the tokens that count, where they were chosen, of the rows that the model can use; `scored`: by row id int64 [R],
               where the scored tokens stand.
    policy     the trainer's settings, where it is to choose them.
    """

    pool: Pool
    positions: np.ndarray
    model: str
    labels: TokenLabels | None = None
    scored: Mapping[str, np.ndarray] | None = None
    policy: Mapping[str, Any] | None = None

    def write(self, folder: Path, said: str, *, shape: Literal["original", "messages"] = "original") -> None:
        """The rows, the tokens, scripts of trainers that can learn from these, and README.md, which begins with `said`."""
        written = self.pool.repeated(self.positions)
        plain = self.labels is None and self.policy is None
        if len(written):
            write_rows(self.pool, written, folder, shape=shape, trainers=plain)
        if self.labels is not None:
            assert self.scored is not None
            row_ids = [row_id for i in written if (row_id := self.pool.row_ids[i]) in self.labels.rows]
            self.labels.write(folder / TOKENS_FILE, row_ids, self.scored)
        if self.labels is not None and self.policy is None:
            longest = write_pretokenised(folder / TOKENS_FILE, folder / AXOLOTL_FILE)
            (folder / "train_trl.py").write_text(trl_tokens_script(TOKENS_FILE, self.model))
            (folder / "axolotl.yaml").write_text(axolotl_tokens_yaml(AXOLOTL_FILE, self.model, longest))
        more = [] if plain else [_TOKENS if self.policy is None else _POLICY.format(policy=self.policy["token_policy"])]
        (folder / "README.md").write_text(dataset_card("\n\n".join([said, *more]), tokens=self.labels is not None))
