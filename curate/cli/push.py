"""`curate push`, and `--push` of the verbs that write data."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer import Argument, Option

from curate.cli.expand import Only
from curate.cli.options import ReportOptions
from curate.cli.terminal import console, print_json
from curate.errors import CurateError, InputError


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Sending the output folder to the hub."""

    panel: ClassVar = "Hub"
    push: Annotated[
        str | None, Option("--push", metavar="REPO", help="send the result to the hub as the dataset you/name, after asking")
    ] = None
    public: Annotated[bool, Option("--public/--private", help="whether others may see the dataset")] = False
    update: Annotated[bool, Option("--update", help="add a commit to a dataset that is on the hub already")] = False
    yes: Annotated[bool, Option("--yes", "-y", help="send without asking, for machines")] = False

    def check(self) -> None:
        """Raise InputError where nothing could be sent, before anything is computed for it."""
        if self.push is None:
            if self.public or self.update or self.yes:
                raise InputError("--public, --update and --yes are of --push; name the dataset with --push you/name")
            return
        self._check_terminal()
        from curate.publishing import check_hub

        check_hub(self.push)

    def send(self, folder: Path | None, *, quiet: bool = False) -> dict[str, Any]:
        """List what would be sent, ask, and send it. What is printed goes to standard error where `quiet`."""
        assert self.push is not None and folder is not None
        from curate.publishing import publication, publish

        self._check_terminal()
        what = publication(folder, self.push)
        screen = console(stderr=quiet)
        who = "public" if self.public else "private"
        aim = f"the dataset {self.push}, as it is visible now" if self.update else f"a new {who} dataset {self.push}"
        screen.print(f"to the hub, as {aim}:", highlight=False, markup=False)
        for name, size in what.sizes.items():
            screen.print(f"  {name:<24} {size:>13,} bytes", highlight=False, markup=False)
        if not self.yes and not typer.confirm("Send these files?", err=quiet):
            screen.print("nothing was sent")
            return {"repo": self.push, "sent": False, "files": what.sizes}
        try:
            address = publish(what, public=self.public, update=self.update)
        except CurateError as error:
            raise type(error)(f"{error}. The folder {folder} is whole: curate push {folder} {self.push}") from None
        screen.print(f"sent to {address}", highlight=False, markup=False, soft_wrap=True)
        return {"repo": self.push, "sent": True, "private": None if self.update else not self.public, "address": address,
                "files": what.sizes}  # fmt: skip

    def _check_terminal(self) -> None:
        if not self.yes and not sys.stdin.isatty():
            raise InputError(
                "what goes to the hub is shown and asked about first, and there is no terminal to ask on; pass --yes"
            )


def push(
    folder: Annotated[Path, Argument(metavar="DIR", help="a folder that `curate select` or `curate run` wrote")],
    repo: Annotated[str, Argument(metavar="REPO", help="the dataset on the hub, you/name")],
    hub: Annotated[PushOptions, Only("public", "update", "yes")], report: ReportOptions,
) -> None:  # fmt: skip
    """Send a selection to the hub as a dataset, private unless --public. What goes there is listed first.

    Example: curate push picked/ you/picked
    """
    from dataclasses import replace

    found = replace(hub, push=repo).send(folder, quiet=report.as_json)
    if report.as_json:
        print_json(found)
