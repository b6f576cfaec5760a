from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from curate.errors import InputError
from curate.lm.chat import MaskError
from curate.lm.generate import cut_at, encode_prompts, generate, generate_ids, stop_ids
from curate.lm.models import load_model, load_tokenizer

MODEL = Path(__file__).parents[2] / "data" / "models" / "base-4m"
QUESTIONS = ["Hello!", "What is 2 + 3?", "Tell me about the old house by the sea, and who lived there.", "Why?"]


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(1)
    return load_model(MODEL, device="cpu", dtype="float32"), load_tokenizer(MODEL)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, initializer_range=0.3, **sizes)).eval()


def prompts():
    return [[{"role": "user", "content": question}] for question in QUESTIONS]


def ask(base, prompts, **settings):
    model, tokenizer = base
    return generate(model, tokenizer, prompts, **settings)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_reply_does_not_depend_on_its_batch(base, temperature):
    settings = {"max_new_tokens": 12, "temperature": temperature, "seed": 3}
    together = ask(base, prompts(), batch_tokens=10_000, **settings)
    apart = ask(base, prompts(), batch_tokens=1, **settings)
    assert together == apart
    assert len(set(together)) > 1
    if temperature == 0:
        assert [ask(base, [prompt], **settings)[0] for prompt in prompts()] == together


def test_draws_follow_the_seed(base):
    one, same, other = (ask(base, prompts()[:2], max_new_tokens=10, temperature=1.0, seed=seed) for seed in (0, 0, 1))
    assert one == same != other


def test_greedy_is_the_models_own(base):
    """Against the definition: the likeliest token, again and again, without a cache and without padding."""
    model, tokenizer = base
    ids = encode_prompts(tokenizer, prompts()[:1])[0]
    grown = torch.tensor(ids[None])
    for _ in range(10):
        with torch.no_grad():
            grown = torch.cat([grown, model(grown, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    expected = grown[0, len(ids) :].tolist()
    stops = [i for i, token in enumerate(expected) if token in stop_ids(*base)]
    expected = expected[: stops[0]] if stops else expected
    assert generate_ids(model, [ids], stop=stop_ids(*base), max_new_tokens=10)[0].tolist() == expected


def test_prompt_ends_where_the_reply_begins(base):
    _, tokenizer = base
    ids = encode_prompts(tokenizer, [[{"role": "user", "content": "Hi"}]])[0]
    assert tokenizer.decode(ids) == "<|user|>\nHi<|end|>\n<|assistant|>\n"


def test_stops_are_the_models_and_the_templates(base):
    model, tokenizer = base
    ends = {tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")}
    assert set(stop_ids(model, tokenizer)) == ends


def test_a_reply_ends_before_its_stop_token(tiny):
    prompt = np.arange(3, 9)
    free = generate_ids(tiny, [prompt], stop=[], max_new_tokens=8)[0].tolist()
    assert len(free) == 8
    cut = generate_ids(tiny, [prompt, prompt[:3]], stop=[free[3]], max_new_tokens=8)[0].tolist()
    assert cut == free[: free.index(free[3])]


def test_draws_have_the_right_frequencies(tiny):
    prompt = np.arange(3, 9)
    with torch.no_grad():
        wanted = torch.softmax(tiny(torch.tensor(prompt[None])).logits[0, -1] / 2.0, dim=-1).numpy()
    drawn = generate_ids(tiny, [prompt] * 3000, stop=[], max_new_tokens=1, temperature=2.0, batch_tokens=100_000)
    found = np.bincount(np.concatenate(drawn), minlength=64) / 3000
    assert np.abs(found - wanted).max() < 4 * np.sqrt(wanted.max() / 3000)


def test_what_cannot_be(tiny):
    with pytest.raises(InputError, match="max_new_tokens"):
        generate_ids(tiny, [np.arange(3)], stop=[], max_new_tokens=0)
    with pytest.raises(InputError, match="prompt 0"):
        encode_prompts(None, [[]])  # type: ignore[arg-type]


def test_a_prompt_that_the_template_refuses(base4m):
    tokenizer = load_tokenizer(base4m)
    tokenizer.chat_template = "{{- raise_exception('System role not supported') -}}"
    with pytest.raises(MaskError, match="^the chat template failed: System role not supported$"):
        encode_prompts(tokenizer, [[{"role": "system", "content": "s"}]])


def test_a_reply_ends_where_the_context_does(tiny):
    """Also in a batch, where others have room left; and a model with learned positions has none behind its last."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    learned = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=2, initializer_range=0.3))
    tiny.config.max_position_embeddings = 16
    inputs = [np.arange(1, n + 1) for n in (14, 3, 11, 15)]
    for model in (tiny, learned.eval()):
        together = generate_ids(model, inputs, stop=[], max_new_tokens=8, batch_tokens=10_000)
        assert [len(reply) for reply in together] == [2, 8, 5, 1]
        for prompt, reply in zip(inputs, together, strict=True):
            [alone] = generate_ids(model, [prompt], stop=[], max_new_tokens=8)
            assert alone.tolist() == reply.tolist()
        with pytest.raises(InputError, match="a prompt of 16 tokens fills the model's context of 16"):
            generate_ids(model, [np.arange(1, 17)], stop=[], max_new_tokens=8)


@pytest.mark.parametrize(
    ("text", "stops", "kept"),
    [("a\nb", ("\n",), "a"), ("a b c", ("c", "b"), "a "), ("abc", (), "abc"), ("abc", ("x",), "abc"), ("abc", ("a",), "")],
)
def test_stop_texts(text, stops, kept):
    assert cut_at(text, stops) == kept
