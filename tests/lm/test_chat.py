"""Replies are found in what a template prints, whatever the template's marks are.

The oracle is the text itself: decoding the tokens of the mask, span by span, gives each reply and its end marker.
"""

import numpy as np
import pytest
from transformers import AutoTokenizer

from curate.lm.chat import FALLBACK_TEMPLATE, MaskError, chat_template, loss_mask, render

PLAIN = """{%- for m in messages -%}{{- '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}"""

# A system turn is printed inside the first question; the reply is stripped and stands between spaces.
INST = """{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else none -%}
{%- set first = 1 if system is not none else 0 -%}
{%- for m in messages[first:] -%}{%- if m['role'] == 'user' -%}
{{- bos_token + '[INST] ' + ('<<SYS>>' + system + '<</SYS>>' if loop.first and system is not none else '') + m['content'] + ' [/INST]' -}}
{%- else -%}{{- ' ' + m['content'].strip() + ' ' + eos_token -}}{%- endif -%}{%- endfor -%}"""

HEADERS = """{{- bos_token -}}{%- for m in messages -%}
{{- '<|system|>' + m['role'] + '<|user|>\n\n' + m['content'] | trim + '<|end|>' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|system|>assistant<|user|>\n\n' -}}{%- endif -%}"""

# Like Phi-3: one more end of text after the last turn, so that a part is not a prefix of the whole.
LAST = PLAIN + "{%- if not add_generation_prompt -%}{{- bos_token -}}{%- endif -%}"

# Like Qwen3: only the last reply shows its thoughts.
THINKS = """{%- for m in messages -%}{{- '<|' + m['role'] + '|>\n' -}}
{%- if m['role'] == 'assistant' and loop.last -%}{{- '<think>\n' + (m['reasoning_content'] or '') + '\n</think>\n\n' -}}{%- endif -%}
{{- m['content'] + '<|end|>\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}"""

# Like Mistral: a special token opens the tool calls that follow the content.
CALLS = """{%- for m in messages -%}{{- '<|' + m['role'] + '|>\n' + m['content'] -}}{%- if m['tool_calls'] -%}
{{- '<|pad|>' + m['tool_calls'] | tojson -}}{%- endif -%}{{- '<|end|>\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}"""

WORDS = "{%- for m in messages -%}{{- m['role'] + ': ' + m['content'] + ' STOP\n' -}}{%- endfor -%}"


@pytest.fixture
def tokenizer(base4m):
    return AutoTokenizer.from_pretrained(base4m)


def turns(*texts, system=None):
    """A conversation: question, reply, question, reply."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return ([{"role": "system", "content": system}] if system else []) + messages


def spans(tokenizer, messages, template=None):
    """The text of each run of masked tokens."""
    if template is not None:
        tokenizer.chat_template = template
    rendered = render(tokenizer, messages)
    found = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = np.array(found["input_ids"]), np.array(found["offset_mapping"])
    mask = loss_mask(tokenizer, rendered, ids, offsets, np.isin(ids, tokenizer.all_special_ids))
    assert mask.dtype == bool and mask.shape == ids.shape
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [tokenizer.decode(ids[a:b]) for a, b in edges.reshape(-1, 2)]


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        (PLAIN, "", "<|end|>"),
        (INST, " ", " <|end|>"),
        (HEADERS, "", "<|end|>"),
        (LAST, "", "<|end|>"),
        (FALLBACK_TEMPLATE, "", "<|end|>"),
        (WORDS, "assistant: ", " STOP"),
    ],
    ids=["plain", "inst", "headers", "last", "fallback", "words"],
)
@pytest.mark.parametrize("system", [None, "Be kind."])
def test_the_mask_is_the_replies_and_their_ends(tokenizer, template, before, after, system):
    replies = ["It is 4.", "Yes: 4, as I said.\n\nAnd 2 + 2 too."]
    messages = turns("2+2?", replies[0], "Sure? It is 4.", replies[1], system=system)
    assert spans(tokenizer, messages, template) == [before + reply + after for reply in replies]
    assert spans(tokenizer, messages[:-2], template) == [before + replies[0] + after]


def test_a_tokenizer_without_a_template_has_the_fallback(tokenizer):
    tokenizer.chat_template = None
    assert chat_template(tokenizer) == FALLBACK_TEMPLATE
    assert render(tokenizer, turns("a", "b")).text == "### User:\na\n\n### Assistant:\nb<|end|>\n\n"


def test_the_fallback_begins_as_the_tokenizer_begins_by_itself(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.chat_template = None
    begin = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    assert render(tokenizer, turns("a", "b")).text.startswith("<|endoftext|>### User:\na")
    assert spans(tokenizer, turns("a", "b")) == ["b<|end|>"]


def test_a_named_template_is_the_default_one(tokenizer):
    tokenizer.chat_template = {"tool_use": WORDS, "default": PLAIN}
    assert chat_template(tokenizer) == PLAIN


@pytest.mark.parametrize(
    "reply", ["  indented", "\n\nparagraph", " one", "\ttab", "a  ", "é", "日本語", "🙂 ok 🙂", "<|user|> x"]
)
@pytest.mark.parametrize("template", [PLAIN, FALLBACK_TEMPLATE], ids=["plain", "fallback"])
def test_no_character_of_a_reply_is_lost(tokenizer, template, reply):
    """A token that straddles the start belongs to the reply: it may bring the line break before it, never cost a space."""
    [text] = spans(tokenizer, turns("q", reply), template)
    assert text.endswith(reply + "<|end|>") and text.removesuffix(reply + "<|end|>") in ("", "\n")


def test_a_straddling_token_belongs_to_the_reply(tokenizer):
    [text] = spans(tokenizer, turns("q", "  indented"), PLAIN)
    assert text == "\n  indented<|end|>"


def test_a_message_of_weight_0_is_not_learned(tokenizer):
    messages = turns("a", "first", "b", "second", "c", "third")
    messages[3]["weight"] = 0.0
    messages[5]["weight"] = 0.5
    assert spans(tokenizer, messages, PLAIN) == ["first<|end|>", "third<|end|>"]


def test_thoughts_are_learned_where_the_template_prints_them(tokenizer):
    messages = turns("a", "4", "b", "5")
    for message in messages[1::2]:
        message["reasoning_content"] = "5 or 4?"
    assert spans(tokenizer, messages, THINKS) == ["4<|end|>", "<think>\n5 or 4?\n</think>\n\n5<|end|>"]


def test_tool_calls_are_learned_to_the_end_of_the_turn(tokenizer):
    messages = turns("a", "Let me see.", "b", "")
    messages[1]["tool_calls"] = [{"name": "see"}]
    messages[3]["tool_calls"] = [{"name": "look"}]
    assert spans(tokenizer, messages, CALLS) == [
        'Let me see.<|pad|>[{"name": "see"}]<|end|>',
        '<|pad|>[{"name": "look"}]<|end|>',
    ]


def test_a_template_that_fails_says_why(tokenizer):
    tokenizer.chat_template = "{{- raise_exception('roles must alternate\nsecond line') -}}"
    with pytest.raises(MaskError, match=r"^the chat template failed: roles must alternate$"):
        render(tokenizer, turns("a", "b"))


def test_a_template_that_rewrites_earlier_turns_shows_both(tokenizer):
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m['role'] + (':' if loop.last else ' said ') + m['content'] + '\n' -}}{%- endfor -%}"
    )
    with pytest.raises(MaskError, match=r"'user:a\\n' but then 'user sa'$"):
        render(tokenizer, turns("a", "b"))


def test_a_template_that_drops_the_reply_shows_what_it_prints(tokenizer):
    tokenizer.chat_template = "{%- for m in messages -%}{{- m['role'] + '\n' -}}{%- endfor -%}"
    with pytest.raises(MaskError, match=r"prints 'assistant\\n' for the reply 'forty-two'"):
        render(tokenizer, turns("a", "forty-two"))


def test_tokens_that_do_not_give_back_the_reply_are_an_error(tokenizer):
    tokenizer.chat_template = PLAIN
    rendered = render(tokenizer, turns("q", "one two"))
    found = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = np.array(found["input_ids"]), np.array(found["offset_mapping"])
    special = np.isin(ids, tokenizer.all_special_ids)
    assert loss_mask(tokenizer, rendered, ids, offsets, special).sum() > 2
    with pytest.raises(MaskError, match="not to 'one two'"):
        loss_mask(tokenizer, rendered, ids, offsets - 4, special)
