"""The folder of a nightly recipe: what is accepted, every night so far, and what has been spent of the error rate.

accepted/current.json   which night's selection and model are in force; replaced in one step, so it always names whole ones
nights/DATE-N/          night.json (what it began with), candidate/, verdict/, model/, rows.txt, manifest.json, decision.json,
                        or failed.json where it failed
ledger.json             the tests made: which night, on which gate set, at which level, and what came of each
lock                    held by the night that runs; the system lets go of it when that process ends, however it does
"""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from curate.errors import CurateError, InputError
from curate.files import atomic_file

Entry = dict[str, Any]
_NAME = re.compile(r"\d{4}-\d\d-\d\d-\d+")


@dataclass(frozen=True)
class Accepted:
    """What is in force: the night it was promoted in, and the folders of its selection and of the model, if one was trained."""

    night: str
    selection: Path
    model: Path | None


@dataclass(frozen=True)
class State:
    """The folder."""

    folder: Path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one night. Raises InputError while another night runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another night of {self.folder} is running; this one was not begun") from None
            yield

    # What is accepted ------------------------------------------------------------------------------------------------------

    @property
    def pointer(self) -> Path:
        return self.folder / "accepted" / "current.json"

    def accepted(self) -> Accepted | None:
        """None where nothing is yet. Raises InputError where the pointer names what is not there."""
        if not self.pointer.is_file():
            return None
        named = read(self.pointer)
        selection = self.folder / named["selection"]
        if not selection.is_dir():
            raise InputError(f"{self.pointer} names {named['selection']}, which is not there; put it back or remove the pointer")
        return Accepted(named["night"], selection, None if named["model"] is None else self.folder / named["model"])

    def accept(self, night: str, *, model: bool) -> None:
        """Let a night's candidate be what is accepted, from one moment to the next."""
        within = f"nights/{night}"
        write(
            self.pointer,
            {"night": night, "selection": f"{within}/candidate", "model": f"{within}/model" if model else None},
        )

    # Nights ----------------------------------------------------------------------------------------------------------------

    def nights(self) -> list[str]:
        """The names of all nights, in the order in which they began. What has no night.json yet did not begin."""
        found = (path.parent.name for path in (self.folder / "nights").glob("*/night.json"))
        return sorted((name for name in found if _NAME.fullmatch(name)), key=lambda name: (name[:10], int(name[11:])))

    def path(self, night: str) -> Path:
        return self.folder / "nights" / night

    def unfinished(self) -> str | None:
        """The last night, where it neither ended nor failed: it was killed."""
        nights = self.nights()
        ended = nights and any((self.path(nights[-1]) / name).is_file() for name in ("decision.json", "failed.json"))
        return nights[-1] if nights and not ended else None

    def last_decided(self) -> str | None:
        """The last night that came to a decision."""
        decided = [night for night in self.nights() if (self.path(night) / "decision.json").is_file()]
        return decided[-1] if decided else None

    def begin(self, day: date, began_with: Entry) -> str:
        """The folder of a new night, `DATE-N`, with what it began with in night.json."""
        number = 1 + max((int(name[11:]) for name in self.nights() if name[:10] == day.isoformat()), default=0)
        night = f"{day.isoformat()}-{number}"
        write(self.path(night) / "night.json", began_with)
        return night

    # The ledger ------------------------------------------------------------------------------------------------------------

    def ledger(self) -> list[Entry]:
        """The tests made, and last perhaps one that was begun."""
        return read(self.folder / "ledger.json")["tests"] if (self.folder / "ledger.json").is_file() else []

    def next_test(self, night: str) -> int:
        """The number of a night's test: of the one that it made or began, before it was killed, else the next.

        One that another night began and that came to no result is made again: nobody has seen its result.
        """
        tests = self.ledger()
        again = bool(tests) and (tests[-1]["night"] == night or "promoted" not in tests[-1])
        return len(tests) + (not again)

    def spend(self, entry: Entry) -> Entry:
        """Enter a test before it is made, under its number `test`."""
        self.settle(entry)
        return entry

    def settle(self, entry: Entry) -> None:
        """Enter what came of it."""
        write(self.folder / "ledger.json", {"tests": [*self.ledger()[: entry["test"] - 1], entry]})


def read(path: Path) -> Any:
    """JSON of ours. Raises CurateError where it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise CurateError(f"{path} is damaged: {error}; put it back from a backup") from None


def write(path: Path, value: Any) -> None:
    """JSON for people, from one moment to the next."""
    with atomic_file(path) as file:
        file.write_text(json.dumps(value, indent=1, default=str) + "\n")
