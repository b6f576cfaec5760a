"""What a model is asked about a row: its last question as it stands, or between examples and an instruction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.fitting import Fitting
from curate.lm.chat import ChatFormat, MaskError
from curate.lm.models import ModelSpec, context_length
from curate.requests import Ask, Generate
from curate.work.base import ids_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_QUESTION = "no text of the user's stands before the reply"
NOT_FOUND = "the chat template changes a question, so that it cannot be found in what it prints"


@dataclass(frozen=True)
class Prompt:
    """ids: int64 [P]. starts: int64 [shown + 1], where each example and then the question begins, None where nobody asks.
    examples: how many were to be shown."""

    ids: np.ndarray
    starts: np.ndarray | None = None
    examples: int = 0


def split(ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int [P], int [R]): the tokens before a row's last reply, and those of it, the token that ends the turn included."""
    end = int(np.flatnonzero(mask)[-1]) + 1
    start = int(np.flatnonzero(~mask[:end])[-1]) + 1 if not mask[:end].all() else 0
    return ids[:start], ids[start:end]


def asked_spec(engine: Fitting, asked: Generate) -> dict[str, Any]:
    """What tells one way of asking from another in a store's address: examples by the ids of all the rows."""
    ask = asked.ask
    assert ask is not None
    spec: dict[str, Any] = {"behind": ask.behind, "reply": ask.reply, "attention": ask.attention}
    if ask.examples is not None:
        ids, index = engine.ids(ask.examples.rows), ask.examples.index
        shown = [*engine.ids(asked.rows), *(ids[i] for i in index.ravel().tolist())]
        spec["examples"] = [index.shape[1], ids_hash(shown)]
    return spec


def prompts_of(engine: Fitting, asked: Generate, base: ModelSpec) -> Callable[[np.ndarray], list[Prompt | str]]:
    """A function of positions in `asked.rows`: the prompt of each row, or why there is none."""
    if asked.ask is None:
        rows = engine.encodings(base, asked.rows)
        return lambda part: [Prompt(split(rows.input_ids[i], rows.loss_mask[i])[0].astype(np.int64)) for i in part]
    ask, pool, tokenizer, limit = asked.ask, engine.pool_of(asked.rows), engine.tokenizer(base), context_length(base.folder())
    shown = engine.pool_of(ask.examples.rows) if ask.examples else None

    def made(part: np.ndarray) -> list[Prompt | str]:
        found: list[Prompt | str] = []
        for i in part.tolist():
            index = ask.examples.index[i] if ask.examples else np.zeros(0, np.int64)
            front = [last_turn(pool_messages) for pool_messages, _ in shown.conversations(index)] if shown else []
            try:
                one = _prompt(tokenizer, pool.messages(i), pool.tools(i), front, ask, (limit or 1 << 62) - asked.max_new_tokens)
            except MaskError as error:
                one = str(error)
            found.append(one)
        return found

    return made


def last_turn(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last reply and the question before it, as two messages; none where there are no such."""
    said = [i for i, message in enumerate(messages) if message["role"] == "assistant" and message.get("content")]
    before = [i for i in range(said[-1]) if messages[i]["role"] == "user" and messages[i].get("content")] if said else []
    if not before:
        return []
    asked, reply = messages[before[-1]]["content"], messages[said[-1]]["content"]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]


def _prompt(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[dict[str, Any]],
    tools: list[Any] | None,
    front: list[list[dict[str, Any]]],
    ask: Ask,
    limit: int,
) -> Prompt | str:
    """The prompt with as many of the examples as leave it no longer than `limit`."""
    turn, last = last_turn(messages), max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
    if not turn or messages[last - 1].get("content") != turn[0]["content"]:
        return NO_QUESTION
    pieces = [turn[0]["content"], *([turn[1]["content"]] if ask.reply else []), *([ask.behind] if ask.behind else [])]
    system = [message for message in messages[:1] if message["role"] == "system"]
    own = [*messages[len(system) : last - 1], {"role": "user", "content": "\n\n".join(pieces)}]
    for k in range(len(front), -1, -1):
        asked = [*system, *(message for example in front[:k] for message in example), *own]
        text = ChatFormat(tokenizer).print(asked, tools, prompt=True)
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=ask.attention is not None)
        ids = np.array(found["input_ids"], dtype=np.int64)
        if len(ids) <= limit or k == 0:
            break
    if ask.attention is None:
        return Prompt(ids, None, len(front))
    questions = [example[0]["content"] for example in front[:k] if example] + [own[0]["content"]]
    starts = _places(text, questions)
    if starts is None or not all(front[:k]):
        return NOT_FOUND
    return Prompt(ids, np.searchsorted([end for _, end in found["offset_mapping"]], starts, side="right"), len(front))


def _places(text: str, contents: Sequence[str]) -> list[int] | None:
    """Where each of the contents begins in a text, one behind the other; None where one is not there."""
    places, at = [], 0
    for content in contents:
        at = text.find(content.strip(), at)
        if at < 0:
            return None
        places.append(at)
        at += len(content.strip())
    return places
