"""Every export by use: the script for TRL runs, `datasets` loads the folder, and the other trainers' files have their shapes."""

import json
import runpy
from typing import Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

import curate
from curate.exports import Chosen
from curate.files import output_folder
from scorers.token_cleaning import TokenCleaning

QUESTIONS = [f"What is {i} plus {i % 7}?" for i in range(6)]
REPLIES = ["It is {}." * (1 + i % 2) for i in range(6)]
REPLIES = [text.replace("{}", str(i + i % 7)) for i, text in enumerate(REPLIES)]
TURNS = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in zip(QUESTIONS, REPLIES, strict=True)]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
KINDS = {
    "messages": [{"messages": turns} for turns in TURNS],
    "several replies": [{"messages": turns + TURNS[0]} for turns in TURNS[1:]],
    "questions": [{"question": q, "answer": a} for q, a in zip(QUESTIONS, REPLIES, strict=True)],
    "sharegpt": [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in zip(QUESTIONS, REPLIES, strict=True)],
    "alpaca": [{"instruction": q, "input": "", "output": a, "system": "Be brief."} for q, a in zip(QUESTIONS, REPLIES, strict=True)],
    "tools": [{"messages": [turns[0], {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "3"}, turns[1]],
               "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}]} for turns in TURNS],
}  # fmt: skip


@pytest.fixture
def folder(tiny, tmp_path):
    """Makes the folder of a selection of rows of a kind, or of their tokens."""

    def make(kind):
        if kind != "tokens":
            pool = curate.read_pool(KINDS[kind])
            with output_folder(tmp_path / "picked") as out:
                Chosen(pool, pool.index(), str(tiny)).write(out, "Chosen.")
            return tmp_path / "picked"
        engine = curate.Engine(store=curate.Store(tmp_path / "store"))
        curate.select(KINDS["messages"], TokenCleaning(), budget=6, model=tiny, engine=engine).write(tmp_path / "picked")
        return tmp_path / "picked"

    return make


# TRL ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(folder, tiny, monkeypatch, tmp_path):
    """Runs train_trl.py of a folder as it is, but for one step on the CPU on all rows; gives TRL's trainer."""
    trl = pytest.importorskip("trl", reason="trl is not installed")
    config = trl.SFTConfig
    short = {"max_steps": 1, "per_device_train_batch_size": 8, "use_cpu": True, "report_to": "none", "save_strategy": "no",
             "logging_steps": 1, "disable_tqdm": True, "bf16": False, "gradient_checkpointing": False}  # fmt: skip

    def run(kind):
        made = folder(kind)
        monkeypatch.setattr(trl, "SFTConfig", lambda **given: config(**{**given, **short}))
        monkeypatch.setattr("sys.argv", ["train_trl.py", str(tiny)])
        monkeypatch.chdir(tmp_path)
        return made, runpy.run_path(str(made / "train_trl.py"))["trainer"]

    return run


@pytest.mark.parametrize("kind", ["messages", "several replies", "questions"])
def test_trl_learns_the_replies(kind, trained, tmp_path):
    """The labels of its first batch are the replies, each with the token that ends it, and nothing else."""
    _, trainer = trained(kind)
    [batch] = list(trainer.get_train_dataloader())
    learned = sorted(_learned(trainer, ids, labels) for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True))
    said = [[m["content"] for m in row["messages"] if m["role"] == "assistant"] for row in KINDS["several replies"]]
    wanted = [f"{first}<|end|>{second}<|end|>" for first, second in said]
    assert learned == sorted(wanted if kind == "several replies" else [f"{reply}<|end|>\n" for reply in REPLIES])
    assert 0 < trainer.state.log_history[0]["loss"] < 20 and (tmp_path / "trained" / "adapter_model.safetensors").is_file()


def test_trl_learns_the_chosen_tokens(trained):
    made, trainer = trained("tokens")
    import pyarrow.parquet as pq

    [batch] = list(trainer.get_train_dataloader())
    rows = pq.read_table(made / "tokens.parquet").to_pylist()
    wanted = sorted([i for i in row["labels"] if i != -100] for row in rows)
    assert sorted([i for i in labels.tolist() if i != -100] for labels in batch["labels"]) == wanted
    assert 0 < sum(map(len, wanted)) < sum(len(row["input_ids"]) for row in rows)


def _learned(trainer, ids, labels):
    kept = [i for i, label in zip(ids.tolist(), labels.tolist(), strict=True) if label != -100]
    return trainer.processing_class.decode(kept)


# datasets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "tokens"])
def test_datasets_loads_the_folder(kind, folder, tmp_path):
    """Whole, by split and streaming; the chosen tokens as a configuration of their own."""
    from datasets import load_dataset

    made = folder(kind)
    cache = {"cache_dir": str(tmp_path / "cache")}
    rows = load_dataset(str(made), split="train", **cache)
    asked = "messages" if kind == "tokens" else kind
    assert len(rows) == len(KINDS[asked]) and set(KINDS[asked][0]) < set(rows.column_names)
    assert list(load_dataset(str(made), **cache)) == ["train"]
    [first] = list(load_dataset(str(made), split="train", streaming=True).take(1))
    assert first["row_id"] == rows[0]["row_id"]
    if kind == "tokens":
        tokens = load_dataset(str(made), "tokens", split="train", streaming=True)
        assert {"input_ids", "labels"} <= set(next(iter(tokens)))


# LLaMA-Factory: data/README.md of hiyouga/LLaMA-Factory, and the converters in src/llamafactory/data --------------------


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Columns(Strict):
    prompt: str | None = None
    query: str | None = None
    response: str | None = None
    history: str | None = None
    messages: str | None = None
    system: str | None = None
    tools: str | None = None


class Tags(Strict):
    role_tag: str
    content_tag: str
    user_tag: str
    assistant_tag: str
    observation_tag: str | None = None
    function_tag: str | None = None
    system_tag: str | None = None


class Entry(Strict):
    file_name: str
    formatting: Literal["alpaca", "sharegpt", "openai"] = "alpaca"
    columns: Columns
    tags: Tags | None = None  # of sharegpt and openai alone

    @model_validator(mode="after")
    def _fits(self):
        chat = self.formatting != "alpaca"
        assert chat == (self.tags is not None) == (self.columns.messages is not None)
        assert chat != (self.columns.prompt is not None and self.columns.response is not None)
        return self


@pytest.mark.parametrize("kind", KINDS)
def test_llama_factory_finds_what_its_description_says(kind, folder):
    """Every key is one of its own, every column and tag is in the file, and its conversations are those that were picked."""
    made = folder(kind)
    [entry] = [Entry(**one) for one in json.loads((made / "dataset_info.json").read_text()).values()]
    rows = [json.loads(line) for line in (made / entry.file_name).read_text().splitlines()]
    named = [column for column in entry.columns.model_dump().values() if column is not None]
    assert all(set(named) <= set(row) for row in rows)
    if entry.tags is None:
        found = [(row[entry.columns.prompt], row[entry.columns.response]) for row in rows]
        assert sorted(found) == sorted(zip(QUESTIONS, REPLIES, strict=True))
        return
    tags = entry.tags
    known = {tags.user_tag, tags.assistant_tag, tags.observation_tag, tags.function_tag, tags.system_tag}
    turns = [row[entry.columns.messages] for row in rows]
    assert all(turn[tags.role_tag] in known and tags.content_tag in turn for row in turns for turn in row)
    # It wants questions and tool results in odd places, replies and calls in even ones, after the system's.
    odd = {tags.user_tag, tags.observation_tag}
    assert all((turn[tags.role_tag] in odd) == (i % 2 == 0) for row in turns for i, turn in enumerate(row))
    assert sorted(row[-1][tags.content_tag] for row in turns) == sorted(
        REPLIES if kind != "several replies" else [REPLIES[0]] * len(rows)
    )


# Axolotl: src/axolotl/utils/schemas of axolotl-ai-cloud/axolotl (datasets.py, peft.py, config.py, training.py) ----------


class Data(Strict):
    path: str
    ds_type: Literal["json", "parquet"]
    type: Literal["chat_template"] | None
    field_messages: str | None = None
    field_tools: str | None = None
    message_property_mappings: dict[str, str] | None = None
    roles_to_train: list[str] | None = None
    train_on_eos: Literal["all", "turn", "last"] | None = None


class Config(Strict):
    base_model: str
    datasets: list[Data] = Field(min_length=1)
    val_set_size: int
    output_dir: str
    adapter: Literal["lora", "qlora"]
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    lora_target_linear: bool
    sequence_len: int
    sample_packing: bool
    micro_batch_size: int
    gradient_accumulation_steps: int
    num_epochs: int
    optimizer: str
    lr_scheduler: Literal["cosine", "linear", "constant"]
    learning_rate: float
    bf16: Literal["auto"] | bool


@pytest.mark.parametrize("kind", [*KINDS, "tokens"])
def test_axolotl_finds_what_its_config_says(kind, folder):
    made = folder(kind)
    config = Config(**yaml.safe_load((made / "axolotl.yaml").read_text()))
    [data] = config.datasets
    if kind == "tokens":
        assert data.type is None and (made / data.path).is_file()
        return
    rows = [json.loads(line) for line in (made / data.path).read_text().splitlines()]
    of = data.message_property_mappings
    assert all(of["role"] in turn and of["content"] in turn for row in rows for turn in row[data.field_messages])
    assert all(row[data.field_messages][-1]["role"] in data.roles_to_train for row in rows)
    assert (data.field_tools is not None) == (kind == "tools") and all(
        isinstance(row[data.field_tools], list) for row in rows if data.field_tools
    )
