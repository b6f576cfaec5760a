"""What stock trainers need beside the data: LLaMA-Factory's dataset_info.json, a script for TRL, a config for Axolotl.

Nothing from a row reaches these files but column names and the names of roles, each quoted by the format's own writer.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from curate.pool.gather import gather_table
from curate.pool.pool import Pool, clean_messages
from curate.pool.shapes import SHAREGPT_ROLES, Layout

BASE_MODEL = "Qwen/Qwen3-0.6B"  # a stand-in for the reader's own

_TRL = '''"""Fine-tune on {file} with TRL: pip install trl peft, then python train_trl.py [model]."""

import sys
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

model = sys.argv[1] if len(sys.argv) > 1 else "{model}"
data = load_dataset("json", data_files=str(Path(__file__).with_name("{file}")), split="train")
data = data.select_columns([name for name in ("messages", "tools") if name in data.column_names])
{loss}
trainer = SFTTrainer(
    model=model,
    train_dataset=data,
    args=SFTConfig({config}),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
)
trainer.train()
trainer.save_model()
'''
_TRL_TOKENS = '''"""Fine-tune on the chosen tokens in {file} with TRL: pip install trl peft, then python train_trl.py [model]."""

import sys
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

# The tokens were chosen as this model has them: another one needs the same tokenizer and chat template.
model = sys.argv[1] if len(sys.argv) > 1 else {model}
data = load_dataset("parquet", data_files=str(Path(__file__).with_name("{file}")), split="train")
trainer = SFTTrainer(
    model=model,
    train_dataset=data.select_columns(["input_ids", "labels"]),  # a label of -100 is not learned from
    args=SFTConfig(output_dir="trained", num_train_epochs=1, max_length=None),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
)
trainer.train()
trainer.save_model()
'''
_TRL_CONFIG = 'output_dir="trained", num_train_epochs=1, max_length=2048'
_TRL_SINGLE = """
# Every conversation ends with its only reply: as prompt and completion the loss is on the reply, whatever the template.
data = data.map(
    lambda row: {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}, remove_columns="messages"
)
"""
_TRL_MULTI = """
# Several replies: assistant_only_loss needs a chat template with {% generation %} marks, or one that TRL can mend.
"""


@dataclass(frozen=True)
class Survey:
    """What trainers need to know of chosen rows. `plain`: their column of messages says just what `rows` say."""

    layout: Layout | None  # None where the rows came in more than one
    plain: bool
    tools: bool
    tool_calls: bool
    tool_results: bool
    single_reply: bool  # every conversation ends with the only reply in it


def survey(pool: Pool, index: np.ndarray) -> Survey:
    """One look at the rows at these positions."""
    layouts = pool.layouts(index)
    layout = next(iter(layouts)) if len(layouts) == 1 else None
    has_tools = pc.is_valid(pool.rows["tools"].take(pa.array(index)))
    tools = bool(pc.any(has_tools).as_py())
    column = layout.columns[0][1] if layout and layout.shape == "messages" else ""
    plain = bool(column) and not (tools and pool.column_for("tools") != "tools")
    records = pool.records(index) if plain else itertools.repeat({})
    calls = results = False
    single = True
    for messages, record in zip(_messages(pool, index), records, strict=False):
        roles = [message["role"] for message in messages]
        calls = calls or any("tool_calls" in message for message in messages)
        results = results or "tool" in roles
        single = single and roles[-1] == "assistant" and roles.count("assistant") == 1
        plain = plain and _without_nulls(record[column]) == messages
    return Survey(layout, plain, tools, calls, results, single)


def fits_chat(seen: Survey) -> bool:
    """Whether TRL and Axolotl, which look for a column `messages`, can read the rows as given."""
    return seen.plain and seen.layout is not None and seen.layout.columns == (("messages", "messages"),)


def llama_factory_entry(pool: Pool, index: np.ndarray, seen: Survey) -> dict[str, Any] | None:
    """The entry for dataset_info.json of the rows as given, file_name left out; None where they cannot be read so."""
    if seen.layout is None or seen.layout.shape == "multiple-choice":  # the reply is one of the choices, and no column
        return None
    if seen.layout.shape == "messages":
        return chat_entry(seen, seen.layout.columns[0][1]) if seen.plain else None
    if seen.layout.shape == "sharegpt":
        return _sharegpt_entry(pool, index, seen.layout.columns[0][1])
    return _alpaca_entry(pool, index, seen.layout)


def chat_entry(seen: Survey, column: str = "messages") -> dict[str, Any]:
    """As `llama_factory_entry`, for rows with canonical messages in a column."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    if seen.tool_results:
        tags["observation_tag"] = "tool"
    columns = {"messages": column, **({"tools": "tools"} if seen.tools else {})}
    # only LLaMA-Factory's converter for OpenAI's form reads tool_calls, and tools that are a list
    return {"formatting": "openai" if seen.tools or seen.tool_calls else "sharegpt", "columns": columns, "tags": tags}


def trl_script(seen: Survey, file: str) -> str:
    """A training script for the data in `file`, which lies beside it."""
    config = _TRL_CONFIG if seen.single_reply else f"{_TRL_CONFIG}, assistant_only_loss=True"
    loss = _TRL_SINGLE if seen.single_reply else _TRL_MULTI
    return _TRL.format(file=file, model=BASE_MODEL, loss=loss, config=config)


def trl_tokens_script(file: str, model: str) -> str:
    """A training script for rows of `input_ids` and `labels` in `file`, which were made for a model."""
    return _TRL_TOKENS.format(file=file, model=json.dumps(model))


def axolotl_yaml(seen: Survey, file: str) -> str:
    """A config for the data in `file`, which lies in the folder that Axolotl is started from."""
    data = {
        "path": file, "ds_type": "json", "type": "chat_template", "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"}, "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }  # fmt: skip
    if seen.tools:
        data["field_tools"] = "tools"
    return _axolotl(data, BASE_MODEL)


def axolotl_tokens_yaml(file: str, model: str, longest: int) -> str:
    """A config for rows of `input_ids`, `attention_mask` and `labels` in `file`, made for a model; an empty type says so.

    longest  tokens of the longest row, none of which is to be cut.
    """
    said = "# The tokens were chosen as this model has them: another one needs the same tokenizer and chat template.\n"
    return said + _axolotl({"path": file, "ds_type": "parquet", "type": None}, model, max(2048, longest))


def _axolotl(data: dict[str, Any], model: str, sequence_len: int = 2048) -> str:
    config = {
        "base_model": model, "datasets": [data], "val_set_size": 0, "output_dir": "trained", "adapter": "lora",
        "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target_linear": True, "sequence_len": sequence_len,
        "sample_packing": False, "micro_batch_size": 4, "gradient_accumulation_steps": 4, "num_epochs": 1,
        "optimizer": "adamw_torch", "lr_scheduler": "cosine", "learning_rate": 0.0002, "bf16": "auto",
    }  # fmt: skip
    text: str = yaml.safe_dump(config, sort_keys=False)
    return f"# Run from this folder: axolotl train axolotl.yaml\n{text}"


def _without_nulls(turns: Any) -> Any:
    if not isinstance(turns, list):
        return turns
    return [{key: value for key, value in turn.items() if value is not None} for turn in turns]


def _sharegpt_entry(pool: Pool, index: np.ndarray, column: str) -> dict[str, Any] | None:
    speakers: dict[str, set[str]] = {}
    systems = tools = False
    system, tool = pool.column_for("system"), pool.column_for("tools")
    for record in pool.records(index):
        turns = record[column]
        if not isinstance(turns, list) or not all(isinstance(turn.get("value"), str) for turn in turns):
            return None
        systems = systems or bool(record.get(system))
        tools = tools or bool(record.get(tool))
        for turn in turns:
            role = SHAREGPT_ROLES[turn["from"]]
            speakers.setdefault("function" if "call" in turn["from"] else role, set()).add(turn["from"])
    if any(len(names) > 1 for names in speakers.values()):
        return None  # two names for one role: LLaMA-Factory knows one
    tags = {"role_tag": "from", "content_tag": "value"}
    for role, tag in (("user", "user_tag"), ("assistant", "assistant_tag"), ("tool", "observation_tag"),
                      ("function", "function_tag"), ("system", "system_tag")):  # fmt: skip
        if role in speakers:
            tags[tag] = next(iter(speakers[role]))
    columns = {"messages": column, **({"system": system} if systems else {}), **({"tools": tool} if tools else {})}
    return {"formatting": "sharegpt", "columns": columns, "tags": tags}


def _alpaca_entry(pool: Pool, index: np.ndarray, layout: Layout) -> dict[str, Any] | None:
    fields = {"instruction": "prompt", "prompt": "prompt", "question": "prompt", "input": "query", "output": "response",
              "completion": "response", "answer": "response"}  # fmt: skip
    columns = {fields[field]: column for field, column in layout.columns}
    texts = [column for field, column in columns.items() if field != "query"]
    names = {field: pool.column_for(field) for field in ("system", "history", "tools")}
    optional: set[str] = set()
    for record in pool.records(index):
        if not all(isinstance(record[column], str) for column in texts):
            return None  # lists of messages
        optional |= {field for field, column in names.items() if record.get(column)}
    if layout.shape != "alpaca":
        optional.discard("history")  # which no other shape has
    return {"formatting": "alpaca", "columns": columns | {field: names[field] for field in sorted(optional)}}


def _messages(pool: Pool, index: np.ndarray) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(index), 4096):
        table = gather_table(pool.rows.select(["messages"]), index[start : start + 4096])
        for messages in table["messages"].to_pylist():
            yield clean_messages(messages)
