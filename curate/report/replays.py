"""What came of doing a folder again, for people."""

from rich.console import Console
from rich.text import Text

from curate.replaying import Replayed
from curate.report.table import printable
from curate.wording import counted

VERBS = {"run_recipe": "run"}
STYLE = {"same": "bold green", "differs": "bold red", "cannot": "bold yellow"}


def show_replay(console: Console, found: Replayed, folder: str) -> None:
    """The answer in a line, what it rests on, and every difference in a line of its own."""
    verb = VERBS.get(found.verb, found.verb)
    said = {
        "same": f"same: curate {verb} makes {folder} again",
        "differs": f"differs: curate {verb} makes something else than {folder}",
        "cannot": f"cannot: {folder} cannot be made again from what there is, and curate {verb} was not run",
    }
    console.print(Text(printable(said[found.answer]), style=STYLE[found.answer]))
    for title, lines in (
        ("", [*found.problems, *found.differences]),
        ("compared", [", ".join(found.compared)] if found.compared else []),
        ("since then", found.since),
    ):
        for line in lines:
            console.print(Text(printable(f"  {title}: {line}" if title else f"  {line}")), soft_wrap=True)
    if found.reused:
        console.print(f"  {counted(found.reused)} came out of the store; --fresh computes everything anew")
    if found.problems and found.verb != "conclude":
        console.print("  --moved OLD=NEW says where files lie now; --changed runs it on what there is")
    if found.out is not None:
        console.print(Text(f"  written {printable(found.out)}"), soft_wrap=True)
