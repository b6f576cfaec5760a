"""Loss masks in the formats people use, on random conversations, against printers written by hand.

The oracle of a format is a Python function that prints a conversation piece by piece and says which pieces are replies.
It knows nothing of the template's code: the template must print the very same text, every masked token must touch a
reply, every other token must not, and the masked tokens must decode to the replies.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from curate.lm.chat import ChatFormat
from curate.lm.encode import encode_rows

TEMPLATES = Path(__file__).parent / "templates"
CORPUS = ["What is 2 + 2? It is 4, I think.", "assistant user system model", "User: Assistant: think\n\n answer\n  yes\n"] * 20
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Add.", "parameters": {"x": "a number"}}}]

# The printers: (text, None) for what is not learned, (text, message) for a reply. -------------------------------------

Pieces = Iterator[tuple[str, dict | None]]


def dumps(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def chatml(messages, tools) -> Pieces:
    for m in messages:
        yield f"<|im_start|>{m['role']}\n", None
        yield m["content"] + "<|im_end|>", m if m["role"] == "assistant" else None
        yield "\n", None


def qwen(messages, tools, opening="", replies=None) -> Pieces:
    """Qwen 2.5 and 3 differ in the default system prompt and in what they print for a reply."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    if replies is None:
        system = "You are a helpful assistant." if system is None else system
    if tools:
        before = (system + "\n\n" if system is not None else "") + "# Tools\n<tools>"
        yield f"<|im_start|>system\n{before}\n{dumps(tools[0])}\n</tools><|im_end|>\n", None
    elif system is not None:
        yield f"<|im_start|>system\n{system}<|im_end|>\n", None
    for i, m in enumerate(messages):
        if m["role"] == "user":
            yield f"<|im_start|>user\n{m['content']}<|im_end|>\n", None
        elif m["role"] == "tool":
            first, last = messages[i - 1]["role"] != "tool", i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            yield ("<|im_start|>user" if first else "") + f"\n<tool_response>\n{m['content']}\n</tool_response>", None
            yield "<|im_end|>\n" if last else "", None
        elif m["role"] == "assistant":
            text = m["content"] if replies is None else replies[i]
            calls = [call["function"] for call in m.get("tool_calls", [])]
            calls = [f'<tool_call>\n{{"name": "{f["name"]}", "arguments": {dumps(f["arguments"])}}}\n</tool_call>' for f in calls]
            content = m["content"] if replies is None else visible(m)
            text += ("\n" if content and calls else "") + "\n".join(calls) + "<|im_end|>"
            opened = opening if text.startswith(opening) else ""
            yield "<|im_start|>assistant\n" + opened, None
            yield text.removeprefix(opened), m
            yield "\n", None


def visible(m) -> str:
    """What Qwen 3 takes for the content of a reply, its thoughts left out."""
    if "reasoning_content" in m or "</think>" not in m["content"]:
        return m["content"]
    return m["content"].split("</think>")[-1].lstrip("\n")


def qwen3(messages, tools, opening="") -> Pieces:
    """Thoughts are printed behind the last question only."""
    asked = [
        m["role"] == "user" and not (m["content"].startswith("<tool_response>") and m["content"].endswith("</tool_response>"))
        for m in messages
    ]
    query = max((i for i, ask in enumerate(asked) if ask), default=len(messages) - 1)
    replies = {}
    for i, m in enumerate(messages):
        if m["role"] != "assistant":
            continue
        thoughts = m.get("reasoning_content", "")
        if "reasoning_content" not in m and "</think>" in m["content"]:
            thoughts = m["content"].split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
        shown = i > query and (i == len(messages) - 1 or thoughts)
        text = visible(m)
        replies[i] = "<think>\n" + thoughts.strip("\n") + "\n</think>\n\n" + text.lstrip("\n") if shown else text
    return qwen(messages, tools, opening, replies)


def qwen3_thinking(messages, tools) -> Pieces:
    """The prompt opens the thoughts, so the reply begins with what is thought."""
    return qwen3(messages, tools, "<think>\n")


def llama2(messages, tools) -> Pieces:
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    for i, m in enumerate(messages[system is not None :]):
        content = m["content"]
        if i == 0 and system is not None:
            content = f"<<SYS>>\n{system}\n<</SYS>>\n\n{content}"
        if m["role"] == "user":
            yield f"<s>[INST] {content.strip()} [/INST]", None
        else:
            yield f" {content.strip()} </s>", m


def llama3(messages, tools) -> Pieces:
    def turn(role, text):
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n", text + "<|eot_id|>"

    system = messages[0]["content"].strip() if messages[0]["role"] == "system" else ""
    yield "<|begin_of_text|>", None
    if system or tools:
        yield "".join(turn("system", "".join(dumps(tool) + "\n\n" for tool in tools or []) + system)), None
    for m in messages[messages[0]["role"] == "system" :]:
        if m["role"] == "tool":
            yield "".join(turn("ipython", dumps(m["content"]))), None
            continue
        text = m["content"].strip()
        for call in m.get("tool_calls", []):
            text = f'{{"name": "{call["function"]["name"]}", "parameters": {dumps(call["function"]["arguments"])}}}'
        header, text = turn(m["role"], text)
        yield header, None
        yield text, m if m["role"] == "assistant" else None


def mistral1(messages, tools) -> Pieces:
    system = [m["content"] + "\n\n" for m in messages if m["role"] == "system"]
    yield "<s>", None
    for m in messages[len(system) :]:
        if m["role"] == "user":
            yield f" [INST] {system.pop() if system else ''}{m['content']} [/INST]", None
        else:
            yield f" {m['content']}</s>", m


def mistral3(messages, tools) -> Pieces:
    """The tools and the system turn stand with the last question and with all that equal it."""
    system = "".join(m["content"] + "\n\n" for m in messages if m["role"] == "system")
    last = [m["content"] for m in messages if m["role"] == "user"][-1]
    yield "<s>", None
    for m in messages:
        if m["role"] == "user":
            now = m["content"] == last
            yield f"[AVAILABLE_TOOLS] {dumps(tools)}[/AVAILABLE_TOOLS]" if tools and now else "", None
            yield f"[INST] {system if now else ''}{m['content']}[/INST]", None
        elif m["role"] == "tool":
            yield f'[TOOL_RESULTS] {{"content": {m["content"]}, "call_id": "{m["tool_call_id"]}"}}[/TOOL_RESULTS]', None
        elif m.get("tool_calls"):
            calls = [dumps(call["function"])[:-1] + f', "id": "{call["id"]}"}}' for call in m["tool_calls"]]
            yield f"[TOOL_CALLS] [{', '.join(calls)}]</s>", m
        elif m["role"] == "assistant":
            yield f" {m['content'].strip()}</s>", m


def gemma(messages, tools) -> Pieces:
    yield "<bos>", None
    for m in messages:
        text = m["content"].strip() + "<end_of_turn>"
        yield f"<start_of_turn>{'model' if m['role'] == 'assistant' else m['role']}\n", None
        yield text, m if m["role"] == "assistant" else None
        yield "\n", None


def phi3(messages, tools) -> Pieces:
    for m in messages:
        yield f"<|{m['role']}|>\n", None
        yield m["content"] + "<|end|>", m if m["role"] == "assistant" else None
        yield "\n", None
    yield "<|endoftext|>", None


def phi4(messages, tools) -> Pieces:
    for m in messages:
        yield f"<|im_start|>{m['role']}<|im_sep|>", None
        yield m["content"] + "<|im_end|>", m if m["role"] == "assistant" else None


def deepseek2(messages, tools) -> Pieces:
    """The prompt ends with the colon, so the space behind it is the reply's."""
    yield "<｜begin▁of▁sentence｜>", None
    for m in messages:
        if m["role"] == "assistant":
            yield "Assistant:", None
            yield f" {m['content']}<｜end▁of▁sentence｜>", m
        else:
            yield ("User: " if m["role"] == "user" else "") + m["content"] + "\n\n", None


def deepseek3(messages, tools, shown=lambda content: content) -> Pieces:
    """A reply to a tool's output follows it without a header."""
    yield "<｜begin▁of▁sentence｜>" + "".join(m["content"] for m in messages if m["role"] == "system"), None
    for i, m in enumerate(messages):
        if m["role"] == "user":
            yield "<｜User｜>" + m["content"], None
        elif m["role"] == "tool":
            yield f"<｜tool▁output▁begin｜>{m['content']}<｜tool▁output▁end｜>", None
        elif m["role"] == "assistant":
            yield "" if messages[i - 1]["role"] == "tool" else "<｜Assistant｜>", None
            calls = [
                f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{call['function']['name']}\n```json\n"
                f"{dumps(call['function']['arguments'])}\n```<｜tool▁call▁end｜>"
                for call in m.get("tool_calls", [])
            ]
            if calls:
                text = m["content"] + "<｜tool▁calls▁begin｜>" + "\n".join(calls) + "<｜tool▁calls▁end｜>"
            else:
                text = shown(m["content"])
            yield text + "<｜end▁of▁sentence｜>", m


def deepseek_r1(messages, tools) -> Pieces:
    """The prompt opens the thoughts, but a finished reply has none; unless its content begins as the prompt ends."""
    for before, (text, message) in pairwise(
        [("", None), *deepseek3(messages, tools, lambda content: content.split("</think>")[-1])]
    ):
        opened = "<think>\n" if message and before[0].endswith("<｜Assistant｜>") and text.startswith("<think>\n") else ""
        yield opened, None
        yield text.removeprefix(opened), message


def fallback(messages, tools) -> Pieces:
    for m in messages:
        yield f"### {m['role'].capitalize()}:\n", None
        yield m["content"] + ("<eos>" if m["role"] == "assistant" else ""), m if m["role"] == "assistant" else None
        yield "\n\n", None


def base(messages, tools) -> Pieces:
    for m in messages:
        yield f"<|{m['role']}|>\n", None
        yield m["content"] + "<|end|>", m if m["role"] == "assistant" else None
        yield "\n", None


# The formats ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A printer, its template's file, its special tokens (the end of text first), and what conversations may hold."""

    printer: Callable[[list, list | None], Pieces]
    special: tuple[str, ...] = ("<eos>",)
    words: tuple[str, ...] = ()  # added tokens that are not special, and marks that are plain text
    bos: str | None = None
    pieces: str = ""  # "" for bytes; like SentencePiece: "prepend" and "metaspace" put a space in front, "plain" does not
    system: bool = True
    calls: int = 0  # tool calls in a turn at most
    reasoning: bool = False
    template: str | None = field(default=None)


QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
DEEPSEEK = (
    "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
)  # fmt: skip
DEEPSEEK2 = {"special": DEEPSEEK[:2], "bos": DEEPSEEK[1], "words": ("User: ", "Assistant: ")}
DEEPSEEK3 = {"special": DEEPSEEK, "bos": DEEPSEEK[1], "words": THINK[:2], "calls": 2}
INST = ("[INST] ", " [/INST]", "<<SYS>>\n")
MISTRAL = ("</s>", "<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")
LLAMA3 = ("<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
FORMATS = {
    "chatml": Format(chatml, QWEN),
    "chatml without its tokens": Format(chatml, words=QWEN[1:], template="chatml"),
    "qwen25": Format(qwen, QWEN, THINK, calls=2),
    "qwen3": Format(qwen3, QWEN, THINK, calls=2, reasoning=True),
    "qwen3_thinking": Format(qwen3_thinking, QWEN, THINK, calls=2, reasoning=True),
    "llama2": Format(llama2, ("</s>", "<s>"), INST, "<s>", pieces="prepend"),
    "llama3": Format(llama3, LLAMA3, bos=LLAMA3[1], calls=1),
    "mistral1": Format(mistral1, ("</s>", "<s>"), INST, "<s>", pieces="prepend"),
    "mistral3": Format(mistral3, MISTRAL, bos="<s>", pieces="metaspace", calls=2),
    "gemma": Format(gemma, ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), bos="<bos>", pieces="plain", system=False),
    "phi3": Format(phi3, ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), pieces="prepend"),
    "phi4": Format(phi4, ("<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>")),
    "deepseek2": Format(deepseek2, **DEEPSEEK2),
    "deepseek3": Format(deepseek3, **DEEPSEEK3),
    "deepseek_r1": Format(deepseek_r1, **DEEPSEEK3),
    "fallback": Format(fallback, words=("### User:\n", "### Assistant:\n"), template=""),
    "base-4m": Format(base, ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")),
    "base-28m": Format(base, ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")),
}


@cache
def tokenizer_of(name: str, other: bool = False) -> PreTrainedTokenizerFast:
    """The format's tokenizer, trained here; `other` gives the format the other kind: bytes for pieces and the reverse."""
    style = FORMATS[name]
    kind = style.pieces if not other else "" if style.pieces else "prepend"
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if not kind else pre_tokenizers.Metaspace()
    alphabet = [] if kind else pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(CORPUS, BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    if kind:
        model = json.loads(trained.to_str())["model"]
        vocabulary = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
        merges = [tuple(pair) for pair in model["merges"]]
        ids = {token: number for number, token in enumerate(vocabulary)}
        trained = Tokenizer(BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        if kind == "metaspace":
            trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        else:
            front = [normalizers.Prepend("▁")] if kind == "prepend" else []
            trained.normalizer = normalizers.Sequence([*front, normalizers.Replace(" ", "▁")])
        trained.decoder = decoders.Sequence(back if kind == "plain" else [*back, decoders.Strip(" ", 1, 0)])
    else:
        trained.decoder = decoders.ByteLevel()
    # Phi-3's marks take in the white space behind them.
    trained.add_special_tokens(
        [AddedToken(text, special=True, normalized=False, rstrip=name == "phi3") for text in style.special]
    )
    trained.add_tokens([AddedToken(word, special=False, normalized=False) for word in style.words if word in THINK])
    template = name if style.template is None else style.template
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        bos_token=style.bos,
        eos_token=style.special[0],
        chat_template=(TEMPLATES / f"{template}.jinja").read_text() if template else None,
    )


NAMES = [*FORMATS, *(f"{name}, other tokens" for name in FORMATS if not name.startswith("base-"))]


@pytest.fixture(scope="module", params=NAMES)
def styled(request, base4m):
    """A format and its tokenizer."""
    name, _, other = request.param.partition(", ")
    if not name.startswith("base-"):
        return FORMATS[name], tokenizer_of(name, bool(other))
    models = Path(os.environ.get("CURATE_MODELS", base4m.parents[3] / "shared" / "models"))
    folder = base4m if name == "base-4m" else models / name
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}; CURATE_MODELS names another for models")
    return FORMATS[name], AutoTokenizer.from_pretrained(folder)


# Conversations --------------------------------------------------------------------------------------------------------

COMMON = (
    "It is 4.", "yes", " ", "  ", "\n", "\n\n", "\t", "assistant", "user", "model", "é", "日本語", "🙂", "e\u0301", "<", "think",
    "\ufdd0", "{{ messages }}", "{% raw %}", "\\n", '"', "</", "|>",
)  # fmt: skip


@st.composite
def conversations(draw, style: Format):
    """Messages and tools: up to three questions, each with replies, some by way of a tool."""
    parts = st.sampled_from(COMMON) | st.sampled_from([*style.special, *style.words]) | st.text(max_size=4)
    text = st.lists(parts, max_size=5).map("".join)
    said = text.filter(lambda content: not content.isspace() and content)

    def reply(**keys):
        message = {"role": "assistant", **keys}
        if (weight := draw(st.sampled_from([None, None, None, 0, 0.0, 0.5, 1]))) is not None:
            message["weight"] = weight
        if style.reasoning and draw(st.booleans()):
            message["reasoning_content"] = draw(text)
        return message

    messages = [{"role": "system", "content": draw(text)}] if style.system and draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(text)})
        if style.calls and draw(st.booleans()):
            calls = [
                {"id": f"abcdefgh{i}", "type": "function", "function": {"name": "add", "arguments": {"x": draw(text)}}}
                for i in range(draw(st.integers(1, style.calls)))
            ]
            messages.append(reply(content=draw(st.just("") | said), tool_calls=calls))
            messages += [{"role": "tool", "content": draw(text), "tool_call_id": call["id"]} for call in calls]
        messages.append(reply(content=draw(said)))
    return messages, TOOLS if style.calls and draw(st.booleans()) else None


def straight(printed: list[tuple[str, dict | None]]) -> tuple[str, list[tuple[int, int]]]:
    """The text, and from where to where each reply that is learned reaches."""
    text, spans = "", []
    for piece, message in printed:
        if message is not None and message.get("weight") != 0:
            spans.append((len(text), len(text) + len(piece)))
        text += piece
    return text, spans


def squeeze(text: str) -> str:
    return "".join(text.replace("▁", "").split())


def check(style: Format, tokenizer, messages, tools) -> None:
    text, spans = straight(list(style.printer(messages, tools)))
    chat = ChatFormat(tokenizer)
    rendered = chat.render(messages, tools)
    assert rendered.text == text
    assert [(reply.start, reply.stop) for reply in rendered.replies] == spans
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = np.array(found["input_ids"]), np.array(found["offset_mapping"]).reshape(-1, 2)
    mask = chat.mask(rendered, ids, found.encodings[0])
    want, exact = [], isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel)
    special = set(tokenizer.all_special_ids) | {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    for start, stop in spans:
        inside = [t for t, (a, b) in enumerate(offsets) if b > start and a < stop]
        if ids[inside[0]] in special and offsets[inside[0]][0] < start:  # a mark that has taken in white space
            inside = inside[1:]
        want += inside
        decoded = tokenizer.decode(ids[inside])
        straddle = max(0, start - int(offsets[inside[0]][0]))
        if exact and text[start:stop].strip() and offsets[inside[0]][0] <= start and offsets[inside[-1]][1] == stop:
            assert decoded == text[start - straddle : stop]
        else:
            assert squeeze(text[start:stop]) in squeeze(decoded)
            assert squeeze(decoded) in squeeze(text[start - straddle : int(offsets[inside[-1]][1])])
        assert straddle < max(1, offsets[inside[0]][1] - offsets[inside[0]][0])
    assert np.flatnonzero(mask).tolist() == sorted(set(want))


def test_random_conversations(styled):
    style, tokenizer = styled

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(conversations(style))
    def run(conversation):
        check(style, tokenizer, *conversation)

    run()


def chat(*turns: str) -> list[dict]:
    """Messages from "role: content"."""
    return [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]


def test_truncation_at_every_place(styled):
    """The mask is the beginning of the whole mask, and a row that is left without a token to learn says so."""
    _, tokenizer = styled
    messages = chat("user: hi", "assistant:   It is 日本.\n", "user: <think> é", "assistant: yes")
    [whole] = encode_rows(tokenizer, [(messages, None)], 10_000)
    length, first = len(whole.input_ids), int(np.flatnonzero(whole.loss_mask)[0])
    assert whole.reason is None and not whole.truncated and first > 0
    for limit in range(1, length + 2):
        [row] = encode_rows(tokenizer, [(messages, None)], limit)
        if limit <= first:
            assert row.reason == f"the reply is cut off entirely at {limit} tokens" and not len(row.input_ids)
            continue
        assert row.reason is None and row.truncated == (limit < length)
        assert np.array_equal(row.input_ids, whole.input_ids[:limit]) and np.array_equal(row.loss_mask, whole.loss_mask[:limit])


CALL = {"id": "abcdefgh0", "type": "function", "function": {"name": "add", "arguments": {"x": 1}}}


@pytest.mark.parametrize(
    ("name", "messages", "said"),
    [
        ("gemma", chat("system: s", "user: q", "assistant: a"), "System role not supported"),
        ("gemma", chat("user: q", "user: q", "assistant: a"), "Conversation roles must alternate user/assistant/user/assistant/..."),
        ("llama2", chat("user: q", "assistant: a", "assistant: b"), "Conversation roles must alternate user/assistant/user/assistant/..."),
        ("llama3", [*chat("user: q"), {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}],
         "This model only supports single tool-calls at once!"),
        ("mistral3", [*chat("user: q"), {"role": "assistant", "content": "", "tool_calls": [CALL | {"id": "1"}]}],
         "Tool call IDs should be alphanumeric strings with length 9!"),
    ],
)  # fmt: skip
def test_what_a_template_refuses_is_the_rows_reason(name, messages, said):
    [bad, good] = encode_rows(tokenizer_of(name), [(messages, None), (chat("user: q", "assistant: a"), None)], 512)
    assert bad.reason == f"the chat template failed: {said}"
    assert good.reason is None and good.loss_mask.any()


@pytest.mark.parametrize("name", ["qwen25", "qwen3", "qwen3_thinking", "llama3", "mistral3", "deepseek3", "deepseek_r1"])
def test_a_conversation_may_end_with_a_call(name):
    check(
        FORMATS[name], tokenizer_of(name), [*chat("user: q"), {"role": "assistant", "content": "", "tool_calls": [CALL]}], TOOLS
    )


@pytest.mark.parametrize("content", ["<think>\nhm\n</think>\n", "</think>", "</think>\n\n", "<think>\nhm\n</think>\n\nyes \n"])
@pytest.mark.parametrize("name", ["qwen3", "qwen3_thinking", "deepseek3", "deepseek_r1"])
def test_thoughts_in_a_content(name, content):
    """With an answer behind them or without."""
    check(FORMATS[name], tokenizer_of(name), chat("user: q", f"assistant: {content}"), None)
    calls = chat("user: q", f"assistant: {content}", "tool: 2", "assistant: a")
    calls[1]["tool_calls"] = [CALL]
    check(FORMATS[name], tokenizer_of(name), calls, TOOLS)
    check(FORMATS[name], tokenizer_of(name), chat("user: q", f"assistant: {content}", "user: q", f"assistant: {content}"), None)


@pytest.mark.parametrize(
    "name", ["chatml", "qwen25", "qwen3", "llama3", "mistral3", "phi3", "phi4", "deepseek2", "deepseek3", "fallback"]
)
def test_replies_in_a_row(name):
    check(FORMATS[name], tokenizer_of(name), chat("user: q", "assistant: a", "assistant: a", "user: q", "assistant: b"), None)


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith("base-")])
def test_an_empty_reply_is_its_end_marker(name):
    check(FORMATS[name], tokenizer_of(name), chat("user: q", "assistant: ", "user: ", "assistant: a"), None)
