"""Replies by a model: batched generation that gives each prompt the reply it would get alone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from curate.errors import InputError
from curate.lm.batching import batches_by_length
from curate.lm.chat import ChatFormat, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def generate(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_tokens: int = 4096,
    tools: Sequence[list | None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The model's reply to each prompt, in their order, special tokens left out.

    prompts       the messages up to the reply.
    temperature   0 is greedy. Above it, the draw for a prompt depends on `seed` and its position in `prompts` alone.
    batch_tokens  tokens in a batch, padding and room for the reply counted.
    tools         tool schemas per prompt, where the template takes them.
    progress      gets the number of tokens just read and written, after each batch.

    Raises InputError for an empty prompt and settings out of range.
    """
    inputs = encode_prompts(tokenizer, prompts, tools)
    replies = generate_ids(
        model,
        inputs,
        stop=stop_ids(model, tokenizer),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_tokens=batch_tokens,
        progress=progress,
    )
    return decode(tokenizer, replies)


def decode(tokenizer: "PreTrainedTokenizerBase", replies: Sequence[np.ndarray]) -> list[str]:
    """Each reply as text, special tokens left out."""
    return [str(tokenizer.decode(reply, skip_special_tokens=True)) for reply in replies]


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stop strings in it."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Sequence[Message]],
    tools: Sequence[list | None] | None = None,
) -> list[np.ndarray]:
    """int64 [P_i] per prompt: what the template prints for it, up to where the reply begins.

    Raises InputError for an empty prompt and MaskError for one that the template refuses.
    """
    empty = next((i for i, messages in enumerate(prompts) if not messages), None)
    if empty is not None:
        raise InputError(f"prompt {empty} has no messages to reply to")
    chat_format, encoded = ChatFormat(tokenizer), []
    for i, messages in enumerate(prompts):
        text = chat_format.print(messages, tools[i] if tools is not None else None, prompt=True)
        encoded.append(np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64))
    return encoded


def stop_ids(model: Any, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens that end a reply: the model's and the tokenizer's end of text, and the template's end of turn."""
    end = model.generation_config.eos_token_id
    stops = set(end if isinstance(end, list) else [] if end is None else [end])
    if tokenizer.eos_token_id is not None:
        stops.add(tokenizer.eos_token_id)
    chat_format = ChatFormat(tokenizer)
    rendered = chat_format.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    after = rendered.text[rendered.replies[0].end : rendered.replies[0].stop]
    closing = [number for number in tokenizer(after, add_special_tokens=False)["input_ids"] if number in chat_format.special]
    return sorted(stops | set(closing[:1]))


@torch.inference_mode()
def generate_ids(
    model: Any,
    prompts: Sequence[np.ndarray],
    *,
    stop: Sequence[int],
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
    streams: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """int64 [R_i] per prompt: the tokens of the reply without the one that ended it. See `generate`.

    A reply ends where the model's context does. streams: a number for each prompt that its draw depends on beside the seed, by
    default its position.
    """
    if max_new_tokens < 1 or temperature < 0:
        raise InputError(f"max_new_tokens {max_new_tokens} must be at least 1, temperature {temperature} at least 0")
    model.eval()
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    room = np.minimum(max_new_tokens, (_context(model) or max_new_tokens + int(lengths.max(initial=0))) - lengths)
    if (room < 1).any():
        longest = int(lengths.max())
        raise InputError(f"a prompt of {longest:,} tokens fills the model's context of {_context(model):,}")
    pad = stop[0] if stop else 0
    config = GenerationConfig(
        do_sample=False,
        repetition_penalty=1.0,  # the model's own choice, whatever its folder recommends for chatting
        eos_token_id=list(stop) or None,
        pad_token_id=pad,
        use_cache=True,
    )
    replies: list[np.ndarray] = [np.zeros(0, np.int64)] * len(prompts)
    numbers = np.arange(len(prompts)) if streams is None else np.array(streams, dtype=np.int64)
    for batch in _batches(lengths, room, max_new_tokens, batch_tokens):
        config.max_new_tokens = int(room[batch[0]])
        width = int(lengths[batch].max())
        ids, real = np.full((len(batch), width), pad, np.int64), np.zeros((len(batch), width), np.int64)
        for row, position in enumerate(batch):
            n = lengths[position]
            ids[row, width - n :], real[row, width - n :] = prompts[position], 1
        draw = LogitsProcessorList([_Draw(temperature, seed, numbers[batch])] if temperature > 0 else [])
        output = model.generate(
            input_ids=torch.from_numpy(ids).to(model.device),
            attention_mask=torch.from_numpy(real).to(model.device),
            generation_config=config,
            logits_processor=draw,
        )
        written = output[:, width:].cpu().numpy()
        for row, position in enumerate(batch):
            ends = np.flatnonzero(np.isin(written[row], stop))
            replies[position] = written[row, : ends[0]] if len(ends) else written[row]
        if progress is not None:
            progress(int(lengths[batch].sum()) + sum(len(replies[position]) for position in batch))
    return replies


def _batches(lengths: np.ndarray, room: np.ndarray, most: int, batch_tokens: int) -> list[np.ndarray]:
    """Prompts of like length together; one that the context leaves less room is by itself, so that no batch changes its reply."""
    free = np.flatnonzero(room == most)
    return [free[part] for part in batches_by_length(lengths[free] + most, batch_tokens)] + [
        np.array([at]) for at in np.flatnonzero(room < most)
    ]


def _context(model: Any) -> int | None:
    """Positions that the model was made for, if its config states them."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


class _Draw(LogitsProcessor):
    """Sampling as the largest of logits / temperature plus Gumbel noise, each prompt with a generator of its own.

    That is a draw from the softmax, and does not depend on which prompts share a batch.
    """

    def __init__(self, temperature: float, seed: int, streams: np.ndarray):
        self.temperature = temperature
        self.generators = [np.random.default_rng([seed, int(stream)]) for stream in streams]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        noise = np.stack([generator.gumbel(size=scores.shape[1]) for generator in self.generators])
        return scores.float() / self.temperature + torch.from_numpy(noise.astype(np.float32)).to(scores.device)
