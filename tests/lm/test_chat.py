"""Replies are found in what a template prints, whatever the template's marks are.

The oracle is the text itself: decoding the tokens of the mask, span by span, gives each reply and its end marker.
"""

import numpy as np
import pytest
from transformers import AutoTokenizer

from curate.lm.chat import FALLBACK_TEMPLATE, MARKS, ChatFormat, MaskError, chat_template

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

# Like DeepSeek-R1: the prompt opens thoughts that a reply need not have.
OPENS = PLAIN.replace("'<|assistant|>\n'", "'<|assistant|>\n<think>\n'")

# Like Qwen3: of a reply that is not the last the thoughts in its content are cut off.
CUTS = PLAIN.replace("m['content']", "(m['content'] if loop.last else m['content'].split('</think>')[-1])")


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
    chat = ChatFormat(tokenizer)
    rendered = chat.render(messages)
    found = tokenizer(rendered.text, add_special_tokens=False)
    ids = np.array(found["input_ids"])
    mask = chat.mask(rendered, ids, found.encodings[0])
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
    assert ChatFormat(tokenizer).render(turns("a", "b")).text == "### User:\na\n\n### Assistant:\nb<|end|>\n\n"


def test_the_fallback_begins_as_the_tokenizer_begins_by_itself(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.chat_template = None
    begin = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    assert ChatFormat(tokenizer).render(turns("a", "b")).text.startswith("<|endoftext|>### User:\na")
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
        ChatFormat(tokenizer).render(turns("a", "b"))


def test_a_prompt_that_no_reply_follows_shows_both(tokenizer):
    tokenizer.chat_template = PLAIN.replace("'<|assistant|>\n'", "'<|bot|>\n'")
    with pytest.raises(MaskError, match=r"prompts for a reply otherwise .*<\|bot\|>\\n', then .*<\|assistant\|>"):
        ChatFormat(tokenizer).render(turns("a", "b"))


@pytest.mark.parametrize("content", ["forty-two", ""])
def test_a_template_that_drops_the_reply_shows_what_it_prints(tokenizer, content):
    tokenizer.chat_template = "{%- for m in messages -%}{{- m['role'] + '\n' -}}{%- endfor -%}"
    with pytest.raises(MaskError, match=rf"does not print a reply: '{content}' is not in 'user\\nassistant\\n'"):
        ChatFormat(tokenizer).render(turns("a", content))


def test_calls_that_a_template_does_not_print_are_not_lost_in_silence(tokenizer):
    tokenizer.chat_template = PLAIN
    messages = turns("a", "")
    messages[1]["tool_calls"] = [{"type": "function", "function": {"name": "see", "arguments": {}}}]
    with pytest.raises(
        MaskError,
        match=r"does not print the tool calls of a reply: .*'name': 'see'.* is not in .*<\|assistant\|>\\n<\|end\|>\\n'",
    ):
        ChatFormat(tokenizer).render(messages)


def test_a_template_that_looks_at_every_character_shows_what_it_prints(tokenizer):
    tokenizer.chat_template = PLAIN.replace("m['content']", "m['content'] | length | string")
    with pytest.raises(MaskError, match=r"otherwise: '<\|user\|>\\n1<\|end.* but with marks '<\|user\|>\\n7<\|end"):
        ChatFormat(tokenizer).render(turns("a", "b"))


def test_a_template_may_rewrite_earlier_turns(tokenizer):
    """The start of a reply is told by the turn before it alone."""
    moved = INST.replace(
        "loop.first and system is not none", "loop.index0 == messages | length - first - 2 and system is not none"
    )
    assert spans(tokenizer, turns("a", "b", "c", "d", system="Be kind."), moved) == [" b <|end|>", " d <|end|>"]
    loud = "{%- for m in messages -%}{{- m['role'] + (':' if loop.last else ' said ') + m['content'] + '\n' -}}{%- endfor -%}"
    assert spans(tokenizer, turns("a", "b", "c", "d"), loud) == ["assistant said b", "assistant:d"]


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_turn_stays_empty_for_a_template_that_asks(tokenizer, content):
    """This one leaves out a turn that has nothing in it."""
    asking = PLAIN.replace("{{- '<|'", "{%- if m['content'] | trim -%}{{- '<|'").replace("{%- endfor", "{%- endif -%}{%- endfor")
    assert spans(tokenizer, turns(content, "b", content, "d", system="Be kind."), asking) == ["b<|end|>", "d<|end|>"]
    [text] = spans(tokenizer, turns("a", content), PLAIN)
    assert text.removeprefix("\n" if content else "") == content + "<|end|>"


def test_the_next_turns_token_is_no_end_of_a_reply(tokenizer):
    """This template closes no turn; the next one's begins with a special token."""
    open_ended = PLAIN.replace("<|end|>", "")
    assert spans(tokenizer, turns("a", "b", "c", "d"), open_ended) == ["b", "d"]


def test_text_that_imitates_marks_ends_no_reply(tokenizer):
    fake = "x<|end|>\n<|user|>\nq<|end|>\n<|assistant|>\ny"
    assert spans(tokenizer, turns(fake, fake, fake, "z"), PLAIN) == [fake + "<|end|>", "z<|end|>"]


@pytest.mark.parametrize("reply", ["think", "assistant", "<think>", "user", "|", "\n</think>"])
def test_a_reply_that_the_template_prints_elsewhere_too(tokenizer, reply):
    messages = turns(reply, reply, reply, reply)
    messages[3]["reasoning_content"] = f"{reply}<|end|>{reply}"
    thoughts = f"<think>\n{reply}<|end|>{reply}\n</think>\n\n"
    first, second = spans(tokenizer, messages, THINKS)
    assert (first.lstrip("\n"), second) == ((reply + "<|end|>").lstrip("\n"), thoughts + reply + "<|end|>")


def test_a_prompt_may_open_thoughts_that_the_reply_does_not_have(tokenizer):
    """As DeepSeek-R1's does."""
    assert spans(tokenizer, turns("a", "<b>", "c", "<think>\nd"), OPENS) == ["<b>" + "<|end|>", "d<|end|>"]


def test_any_character_may_stand_in_a_conversation(tokenizer):
    assert spans(tokenizer, turns(MARKS[0], MARKS[1] + "a" + MARKS[2]), PLAIN) == [MARKS[1] + "a" + MARKS[2] + "<|end|>"]
    with pytest.raises(MaskError, match="holds every character that could mark"):
        ChatFormat(tokenizer).render(turns("a", "".join(MARKS)))


def test_a_special_token_that_takes_in_white_space_is_no_reply(tokenizer):
    """Phi-3's <|assistant|> reaches to the first letter behind it."""
    from tokenizers import AddedToken

    tokenizer.backend_tokenizer.add_special_tokens([AddedToken("<|assistant|>", special=True, normalized=False, rstrip=True)])
    assert spans(tokenizer, turns("a", "  b"), PLAIN) == ["b<|end|>"]


def test_equivalent_characters_are_the_same(tokenizer):
    """Qwen's tokenizer composes what it reads."""
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert spans(tokenizer, turns("a", "cafe\u0301"), PLAIN) == ["caf\u00e9<|end|>"]


def test_tokens_that_do_not_give_back_the_reply_are_an_error(tokenizer):
    tokenizer.chat_template = PLAIN
    chat = ChatFormat(tokenizer)
    rendered = chat.render(turns("q", "one two"))
    found = tokenizer(rendered.text, add_special_tokens=False)
    ids, tokens = np.array(found["input_ids"]), found.encodings[0]
    assert chat.mask(rendered, ids, tokens).sum() > 2
    with pytest.raises(MaskError, match="do not decode to it: .*, not '.*one two"):
        chat.mask(rendered, np.roll(ids, 4), tokens)


CONTENTS = ["b", "two words", " b", "b \n", "<think>\nd", "d</think>e", "<|end|>", "<|user|>\nb", "", "é"]


@pytest.mark.parametrize("template", [PLAIN, INST, HEADERS, LAST, THINKS, FALLBACK_TEMPLATE, WORDS, OPENS, CUTS], ids=str)
def test_roles_that_were_printed_before_are_found_as_by_marks(tokenizer, template):
    """Whatever the contents: one format over many conversations, against the marks alone."""
    tokenizer.chat_template = template
    chat, rng, found = ChatFormat(tokenizer), np.random.default_rng(0), 0
    for _ in range(60):
        texts = rng.choice(CONTENTS, size=2 * rng.integers(1, 4)).tolist()
        messages = turns(*texts, system="Be kind." if rng.random() < 0.3 else None)
        try:
            want = chat.locate(chat.print(messages), messages)
        except MaskError as error:
            with pytest.raises(MaskError) as again:
                chat.render(messages)
            assert str(again.value) == str(error)
            continue
        assert chat.render(messages) == want
        found += 1
    assert found > 5


def test_roles_that_were_printed_before_are_printed_once(tokenizer, monkeypatch):
    tokenizer.chat_template = PLAIN
    chat = ChatFormat(tokenizer)
    chat.render(turns("a", "b"))
    monkeypatch.setattr(chat, "locate", None)
    printed = []
    monkeypatch.setattr(chat, "print", lambda *given: printed.append(given) or "<|user|>\nq<|end|>\n<|assistant|>\nr<|end|>\n")
    assert chat.render(turns("q", "r")).replies[0].stop == len("<|user|>\nq<|end|>\n<|assistant|>\nr<|end|>")
    assert len(printed) == 1
