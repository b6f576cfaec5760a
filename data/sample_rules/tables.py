"""From drafts to tables: how many rows of each skill, which of them are spoiled, and the Parquet files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from . import arithmetic, defects, dialogue, labels, language, office, puzzles
from .draft import Draft, Skill, dress

SEED = 20250
POOL, DEV, TEST = 6000, 300, 500
LEAST_DEV, LEAST_TEST = 8, 15  # rows of even the rarest skill
SKILLS: tuple[Skill, ...] = (
    *arithmetic.SKILLS, *labels.SKILLS, *office.SKILLS, *language.SKILLS, *puzzles.SKILLS, *dialogue.SKILLS
)  # fmt: skip
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "source": pa.string(),
        "skill": pa.string(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "planted": pa.string(),
        "near_duplicate_of": pa.string(),
    }
)


@dataclass(frozen=True)
class Row:
    """A row with the draft it came from; `near_duplicate_of` is another row's id."""

    skill: Skill
    draft: Draft
    reply: str
    planted: str | None = None
    id: str = ""
    near_duplicate_of: str | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        spoken = [*self.draft.turns, self.reply]
        system = [{"role": "system", "content": self.draft.system}] if self.draft.system else []
        return system + [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(spoken)]


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """`total` divided by weight into whole numbers, the largest remainders rounded up."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda at: (counts[at] - exact[at], at))
    for at in by_remainder[: total - sum(counts)]:
        counts[at] += 1
    return counts


def _draws(name: str, counts: Sequence[int], seed: int, prompts: set[tuple[str, ...]], contents: set[str]) -> list[Row]:
    """Rows for one table. No prompt occurs twice in the sample, and nothing in `contents` is asked about again."""
    rows: list[Row] = []
    for skill, count in zip(SKILLS, counts, strict=True):
        rng = Random(f"{seed}/{name}/{skill.name}")  # a change to one skill leaves the others as they were
        wanted = len(rows) + count
        while len(rows) < wanted:
            draft = skill.draw(rng)
            content = f"{skill.name}/{draft.content}"
            if draft.reply == draft.wrong or draft.turns in prompts or content in contents:
                continue
            prompts.add(draft.turns)
            if name != "pool":
                contents.add(content)
            rows.append(Row(skill, dress(rng, draft, skill.systems), draft.reply))
    return rows


def _spread(rng: Random, rows: Sequence[int], count: int) -> list[int]:
    """Evenly spaced picks: rows come by skill, so every skill gets its share of each defect."""
    offset = rng.random()
    return [rows[int((at + offset) * len(rows) / count)] for at in range(count)]


def _spoil(rng: Random, rows: list[Row]) -> None:
    """Plant the defects in place; near-duplicates are appended."""
    clean = list(range(len(rows)))

    def take(name: str, among: Sequence[int]) -> list[int]:
        picked = _spread(rng, among, defects.COUNTS[name])
        clean[:] = sorted(set(clean) - set(picked))
        return picked

    def put(at: int, name: str, reply: str) -> None:
        rows[at] = replace(rows[at], planted=name, reply=reply)

    for at in take("truncated", [at for at in clean if defects.can_truncate(rows[at].reply)]):
        put(at, "truncated", defects.truncated(rng, rows[at].reply))
    for at in take("wrong", clean):
        put(at, "wrong", rows[at].draft.wrong)
    swapped = take("swapped", clean)
    replies = [rows[at].reply for at in swapped]
    order = defects.exchanged(rng, [rows[at].skill.name for at in swapped], replies)
    for at, giver in zip(swapped, order, strict=True):
        put(at, "swapped", replies[giver])
    for at in take("boilerplate", clean):
        put(at, "boilerplate", defects.boilerplate(rng))
    for at in take("rambling", clean):
        put(at, "rambling", defects.rambling(rng, rows[at].reply))
    for at in take("near-duplicate", clean):
        copy = rows[at].draft
        while copy.turns == rows[at].draft.turns:
            copy = defects.near_duplicate(rng, rows[at].draft)
        # The original is named by its place until the rows have been shuffled and numbered.
        rows.append(replace(rows[at], draft=copy, planted="near-duplicate", near_duplicate_of=str(at)))


def _numbered(rng: Random, name: str, rows: Sequence[Row]) -> list[Row]:
    """The rows in random order, with ids that follow it and so say nothing of how a row was made."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    ids = {str(at): f"{name}-{place:04d}" for place, at in enumerate(order)}
    return [
        replace(row, id=ids[str(at)], near_duplicate_of=ids[row.near_duplicate_of] if row.near_duplicate_of else None)
        for at, row in ((at, rows[at]) for at in order)
    ]


def build(seed: int = SEED) -> dict[str, list[Row]]:
    """The rows of pool, dev and test. The evaluation rows are drawn first and what they ask is kept out of the pool."""
    shares = [skill.share for skill in SKILLS]
    prompts: set[tuple[str, ...]] = set()
    contents: set[str] = set()
    sizes = {"test": (TEST, LEAST_TEST), "dev": (DEV, LEAST_DEV), "pool": (POOL - defects.COUNTS["near-duplicate"], 0)}
    tables = {}
    for name, (size, least) in sizes.items():
        counts = [least + count for count in apportion(size - least * len(SKILLS), shares)]
        rows = _draws(name, counts, seed, prompts, contents)
        rng = Random(f"{seed}/{name}")
        if name == "pool":
            _spoil(rng, rows)
        tables[name] = _numbered(rng, name, rows)
    return tables


def to_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as they are written."""
    columns = {
        "id": [row.id for row in rows],
        "source": [row.skill.source for row in rows],
        "skill": [row.skill.name for row in rows],
        "messages": [row.messages for row in rows],
        "planted": [row.planted for row in rows],
        "near_duplicate_of": [row.near_duplicate_of for row in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def write(folder: Path, tables: dict[str, list[Row]]) -> None:
    """One Parquet file per table, small rather than fast."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pq.write_table(to_table(rows), folder / f"{name}.parquet", compression="zstd", compression_level=19)


def summary(tables: dict[str, list[Row]]) -> str:
    """How many rows of each skill and defect there are, as a table for the terminal."""
    columns = ("clean", *defects.COUNTS, "dev", "test")
    seen = Counter((row.skill.name, row.planted or "clean") for row in tables["pool"])
    seen.update((row.skill.name, name) for name in ("dev", "test") for row in tables[name])

    def line(source: str, label: str, names: Sequence[str]) -> str:
        counts = [sum(seen[name, column] for name in names) for column in columns]
        pool = sum(counts[:-2])
        cells = "".join(f"{count:>{len(column) + 2}}" for count, column in zip(counts, columns, strict=True))
        return f"{source:<16}{label:<18}{pool:>5}{pool / len(tables['pool']):>7.1%}{cells}"

    head = f"{'source':<16}{'skill':<18}{'pool':>5}{'share':>7}" + "".join(f"  {column}" for column in columns)
    each = [line(skill.source, skill.name, [skill.name]) for skill in SKILLS]
    return "\n".join([head, *each, line("all", "", [skill.name for skill in SKILLS])])
