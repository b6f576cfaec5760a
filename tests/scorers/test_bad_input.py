"""Pools, models and targets at fault, for every method that there is: picks that make sense, or one clear sentence."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from curate.engine import Engine
from curate.errors import CurateError
from curate.lm.models import ModelSpec
from curate.registry import make_method, method_names
from curate.selection import select
from curate.store import Store
from curate.training.config import TrainConfig

ROWS, TARGETS = 10, 4
RECIPE = TrainConfig(lora_r=2, batch_tokens=512)
GRADIENTS = {"epochs": 1, "lora_r": 2, "dimensions": 64, "warmup": 0.5}
SETTINGS = {  # that make a method quick, or let it work on ten rows at all
    "less": GRADIENTS,
    "bids": GRADIENTS,
    "s2l": {"checkpoints": 1, "epochs": 1, "clusters": 2},
    "nn-cift": {"u": 0.5, "probe": 2, "network.epochs": 1, "network.min_steps": 0},
    "iterative-kmq": {"rounds": 2, "max_new_tokens": 2},
    "dpp": {"lora_r": 2, "dimensions": 64},
    "deita": {"threshold": 1.0},
    "ifd": {"min_response_tokens": 1, "max_ifd": 1e9},  # the instructions of a random model help as often as not
    "reversed-ifd": {"min_instruction_tokens": 1, "max_ifd": 1e9},
    "superfiltering": {"min_response_tokens": 1, "max_ifd": 1e9},
    "grape": {"per_prompt": 12},
}
AIMED = (
    "less",
    "bids",
    "delift",
    "nn-cift",
    "facility-location",
    "rds-plus",
    "dsir",
    "sift",
)  # look at a target, by default or where there is one
NEED = ("less", "bids", "rds-plus", "dsir", "sift")


def set_weights(module, value):
    with torch.no_grad():
        module.weight.fill_(value)


def all_alike(network):
    """Every token has the same embedding, so every state is the same; the losses of tokens are not."""
    with torch.no_grad():
        network.model.embed_tokens.weight[:] = network.model.embed_tokens.weight[7].clone()


def nothing(network):
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()


FAULTS = {
    "sound": lambda network: None,
    "losses all equal": lambda network: set_weights(network.lm_head, 0),  # every next token is as likely as every other
    "embeddings all equal": all_alike,
    "weights all 0": nothing,
    "losses NaN": lambda network: set_weights(network.lm_head, float("nan")),
    "states NaN": lambda network: set_weights(network.model.norm, float("nan")),
}


@pytest.fixture(scope="module")
def models(base4m, tmp_path_factory):
    """Folders of tiny models by what is wrong with them, their output heads apart from their embeddings."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=8192, max_position_embeddings=256, initializer_range=0.2, tie_word_embeddings=False, **sizes)
    tokenizer, folders = AutoTokenizer.from_pretrained(base4m), {}
    for name, spoil in FAULTS.items():
        torch.manual_seed(0)
        network, folders[name] = LlamaForCausalLM(config), tmp_path_factory.mktemp("models") / name.replace(" ", "-")
        spoil(network)
        network.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


WORDS = ["red", "blue", "green", "black", "white", "brown", "pink", "grey", "cyan", "lime"]
POOLS = {
    "plain": [(f"What is {i} plus {i % 7}?", " ".join([f"It is {i + i % 7}."] * (1 + i % 4))) for i in range(ROWS)],
    "one word apart": [(f"Name a {word} thing.", "A thing.") for word in WORDS],
    "one row": [("What is 1 plus 1?", "It is 2.")],
    "target": [(f"What is {i} minus {i % 5}?", f"It is {i - i % 5}.") for i in range(20, 20 + TARGETS)],
}
LETTERS = [f"{'abcd'[i % 4]}" for i in range(12)]  # questions and beginnings of replies: cut there, three rows each are alike
POOLS["copies"] = [(f"Say {x}.", " ".join([f"{x} is a letter of ours and"] * 6) + f" {i}.") for i, x in enumerate(LETTERS)]
POOLS["overlap"] = [*POOLS["plain"][:3], *POOLS["target"]]


@pytest.fixture(scope="module")
def bad(models, tmp_path_factory):
    """Selects by a method; what one method computed serves the next. Gives the selection, or what was said instead."""
    folder = tmp_path_factory.mktemp("bad")
    for name, rows in POOLS.items():
        turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in rows]
        lines = [json.dumps({"messages": messages, "source": f"s{i % 2}"}) for i, messages in enumerate(turns)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "empty.jsonl").write_text("")

    def bad(method, *, pool="plain", model="sound", budget=3, target="target", max_length=None, **settings):
        engine = Engine(store=Store(folder / "store"), device="cpu", max_length=max_length)
        settings = {**SETTINGS.get(method, {}), **({"proxy": str(models[model])} if method == "s2l" else {}), **settings}
        try:
            found = select(
                folder / f"{pool}.jsonl", make_method(method, settings), budget=budget, model=models[model], engine=engine,
                recipe=RECIPE, target=None if target is None else folder / f"{target}.jsonl",
            )  # fmt: skip
        except CurateError as error:  # anything else is a defect
            said = str(error)
            assert 20 < len(said) < 250 and "\n" not in said, said
            return SimpleNamespace(picks=None, said=said, engine=engine)
        ids = found.frame["row_id"].to_list()
        assert len(set(ids)) == len(ids) <= budget and set(ids) <= set(found.pool.row_ids)
        assert len(ids) == min(budget, len(found.pool)) or found.summary["shortfall"]
        scores = found.scores["score"].to_numpy()
        assert not np.isinf(scores).any() and not found.scores["score"].is_nan().any()
        assert (found.scores["score"].is_null() == found.scores["null_reason"].is_not_null()).all()
        assert np.isfinite(found.frame["score"].drop_nulls().to_numpy()).all()
        return SimpleNamespace(picks=len(ids), said=found.summary["shortfall"], found=found, engine=engine)

    return bad


# `given` is of picks made before: test_given.py. The others are left out for the time they take: most ask for what one that is here
# asks for, and choose by a selector that has tests of its own. With one bad row every method is tried in test_one_bad_row.py.
LEFT_OUT = ("given", "nearest", "bm25", "deft-ucs", "mmssr", "got-d", "goracs", "mass", "dealrec", "edge", "freeshap", "igf")
LEFT_OUT += (
    "instructmining",
    "iterselecttune",
    "middo",
    "data-mixing",
    "cluster-ifd",
    "data-whisperer",
    "robustft",
    "clear",
    "s3ft",
)
METHODS = [name for name in method_names() if name not in LEFT_OUT]
METHODS.append("dpp:features=embedding")
ASK = ("lm-score", "select2reason")  # questions that stand before the row and take room
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_more_is_asked_for_than_there_is(bad, method):
    found = bad(method, budget=1000)
    assert found.picks == ROWS or "token" in method
    assert "The budget allows 1,000 rows, but only 10 of 10 rows could be used." in found.said


@every_method
def test_one_row(bad, method):
    found = bad(method, pool="one row", budget=1)
    if method == "nn-cift":
        assert "nn-cift: the pool has 1 row, and at least 2 are needed" in found.said
    else:
        assert found.picks == 1


@every_method
def test_replies_of_one_token(bad, method, models):
    """The context ends behind the first token of the reply."""
    found = bad(method, max_length=15, target="plain")
    if method in ASK:
        assert "question" in found.said
        return
    spec = ModelSpec(str(models["sound"]))
    lengths = found.engine.encodings(spec, found.engine.add("pool", found.found.pool, spec)[1]).response_lengths
    assert lengths.tolist() == [1] * ROWS
    if method == "reversed-ifd":  # behind the reply there is no room for the instruction
        assert found.picks == 0
        return
    assert found.picks == 3 or (method == "token-cleaning" and "no token among those that are kept" in found.said)


@every_method
def test_rows_that_differ_in_one_word(bad, method):
    assert bad(method, pool="one word apart").picks == 3


@every_method
def test_it_is_known_beforehand_whether_rows_have_a_score(bad, method):
    why = make_method(method).unscored()
    found = bad(method).found.scores
    assert (found["score"].null_count() == len(found)) == (why is not None)
    assert why is None or found["null_reason"].unique().to_list() == [why]


@every_method
def test_fewer_different_rows_than_clusters(bad, method):
    """Twelve rows of which the model can tell four apart: all are rows, ties go to the smaller id, copies score alike."""
    settings = {"clusters": 8} if method in ("kmq", "iterative-kmq", "s2l") else {}
    made = bad(method, pool="copies", budget=8, max_length=24, **settings)
    if method in ASK:
        assert "question" in made.said
        return
    found, ids = made.found, made.found.pool.row_ids
    assert made.picks == 8
    asked = np.array([found.pool.messages(i)[0]["content"] for i in range(len(ids))])
    assert len(ids) == 12 and len(set(asked)) == 4
    if make_method(method).by_chance:
        return
    scores = found.scores["score"].to_numpy()
    picked = np.isin(ids, found.frame["row_id"].to_list())
    for question in set(asked):
        alike = asked == question
        if method == "semdedup":  # its score says that a row before it is the same
            assert sorted(scores[alike].round(5).tolist())[-2:] == [1, 1]
            continue
        assert np.isnan(scores[alike]).all() or np.ptp(scores[alike]) < 1e-9
        assert (np.diff(picked[alike].astype(int)) <= 0).all()  # those that are picked come first
    if method == "dpp:features=embedding":
        assert made.said == "4 of the 8 picks were filled by quality: the picks before them span every row that is left."


IDLE = "3 of the 3 picks gain nothing"
ALIKE = {  # methods for which all rows are then the same: the first by id are picked, and it is said
    "losses all equal": {"perplexity": "", "lobass": "", "delift": IDLE, "nn-cift": IDLE},
    "embeddings all equal": {"nn-cift": IDLE, "facility-location": ""},
}


@pytest.mark.parametrize(("model", "method", "said"), [(model, *pair) for model, of in ALIKE.items() for pair in of.items()])
def test_rows_that_are_all_the_same_are_picked_by_their_ids(bad, model, method, said):
    made = bad(method, model=model)
    assert made.found.frame["row_id"].to_list() == made.found.pool.row_ids[:3]
    assert (made.said is None) if not said else made.said.startswith(said)
    remarks = " ".join(made.found.summary["remarks"])
    if method == "nn-cift":
        how = {
            "losses": "all values computed are the same",
            "embeddings": "the probe is too small to tell these ranks from chance",
        }[model.split()[0]]
        assert how in remarks


def test_embeddings_that_are_all_the_same_leave_quality(bad):
    made = bad("dpp:features=embedding", model="embeddings all equal")
    assert made.said == "2 of the 3 picks were filled by quality: the picks before them span every row that is left."
    longest = bad("longest", model="embeddings all equal").found.frame["row_id"].to_list()
    assert made.found.frame["row_id"].to_list() == longest


GIVES_NO_GRADIENT = "no row of the target has a gradient at every checkpoint"
CANNOT_TRAIN = "the loss is not a finite number at step 1; the model gives no number before it has learned anything"
NO_NUMBER = "the model gave a number that is not finite"
NULL = "the budget allows 3 rows, but only 0 of 10 rows could be used"  # none is picked, each for its reason
TRAIN = ("less", "bids", "s2l", "lobass", "rho-1", "token-cleaning")
BY_LOSSES = ("el2n", "grape", "ifd", "reversed-ifd", "donod", *ASK)
BY_VECTORS = ("deita", "prototypes", "rds-plus", "semdedup", "sift")
SAID = {
    "losses all equal": {"less": GIVES_NO_GRADIENT, "bids": GIVES_NO_GRADIENT, "token-cleaning": "left out", "dpp": NULL},
    "embeddings all equal": {},
    "weights all 0": {
        "less": GIVES_NO_GRADIENT, "bids": GIVES_NO_GRADIENT, "token-cleaning": "left out", "dpp": NULL, "nn-cift": "no vector",
        "facility-location": NULL, "dpp:features=embedding": NULL, **dict.fromkeys(BY_VECTORS, NULL),
    },
    "losses NaN": {
        **dict.fromkeys([*TRAIN, "iterative-kmq"], CANNOT_TRAIN), "perplexity": NULL, "delift": NULL, "dpp": NULL,
        "nn-cift": NO_NUMBER, **dict.fromkeys(BY_LOSSES, NULL),
    },
    "states NaN": {
        **dict.fromkeys(TRAIN, CANNOT_TRAIN), "nn-cift": NO_NUMBER,
        **dict.fromkeys(("perplexity", "delift", "dpp", "dpp:features=embedding", "facility-location", "kmq", "iterative-kmq"), NULL),
        **dict.fromkeys((*BY_VECTORS, *BY_LOSSES, "cluster-longest"), NULL),
    },
}  # fmt: skip


@pytest.mark.parametrize("model", SAID)
@every_method
def test_a_model_at_fault(bad, method, model):
    """What cannot be computed is null, or said; the others pick as ever."""
    found, words = bad(method, model=model), SAID[model].get(method)
    if words is None:
        assert found.picks == 3
        return
    assert words.lower() in found.said.lower()
    if words == NULL:
        assert found.picks == 0 and found.found.scores["null_reason"].null_count() == 0
    elif words in (GIVES_NO_GRADIENT, CANNOT_TRAIN):
        assert found.picks is None


@every_method
def test_no_target(bad, method):
    found = bad(method, target=None)
    assert "needs --target" in found.said if method in NEED else found.picks == 3


@every_method
def test_an_empty_target(bad, method):
    assert "empty.jsonl" in bad(method, target="empty").said


@every_method
def test_a_target_that_is_in_the_pool(bad, method):
    found = bad(method, target="overlap")
    unused = [] if method in AIMED else [f"the target has no effect: {found.found.summary['method']} does not look at it"]
    assert found.picks == 3 and found.engine.notes == ["3 of the 7 rows of the target are in the pool as well", *unused]


def test_every_method_that_takes_a_target_is_tried_with_one(bad):
    """Another target is another choice, or at least other scores; a method that does not look at it has the same."""
    looks = []
    for method in METHODS:
        first, other = (bad(method, target=target).found for target in ("target", "overlap"))
        looks += [method] if not (first.scores.equals(other.scores) and first.frame.equals(other.frame)) else []
    assert set(looks) >= {"less", "bids"} and set(looks) <= set(AIMED)
