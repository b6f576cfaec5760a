"""A selection's folder as a dataset on the hub: which of its files go there, its card, and sending them."""

import json
import shlex
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import yaml

from curate.errors import CurateError, InputError
from curate.files import MARKER
from curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

# What is the dataset, and what says how it came about. Rows that were left out stay here: they are what nobody selected.
PUBLISHED = (
    "README.md", "data.parquet", "data.jsonl", "data.messages.jsonl", "tokens.parquet", "tokens.axolotl.parquet",
    "selection.parquet", "scores.parquet", "dataset_info.json", "train_trl.py", "axolotl.yaml", "manifest.json",
)  # fmt: skip
PRIVATE_PARTS = ("store", "replay")  # of a manifest: they are about this machine
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclass(frozen=True)
class Publication:
    """What would be sent. contents: name -> the bytes of the file, or the path to it."""

    folder: Path
    repo: str
    contents: Mapping[str, bytes | Path]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by name of file."""
        return {name: len(part) if isinstance(part, bytes) else part.stat().st_size for name, part in self.contents.items()}


def publication(folder: str | Path, repo: str) -> Publication:
    """What of a folder goes to the hub, as `repo` there. Nothing is sent.

    folder  that `Selection.write` made; of one that `run_recipe` made the rows of the last stage that kept some. Never more than
            the files in `PUBLISHED`; the manifest without what is about this machine, and paths in it cut to their names.

    Raises InputError for a folder without data, and for a name that the hub does not take.
    """
    _check_name(repo)
    found = _with_data(Path(folder))
    contents: dict[str, bytes | Path] = {}
    manifest = _read_manifest(found)
    for name in PUBLISHED:
        if (found / name).is_file() and not (found / name).is_symlink():
            contents[name] = found / name
    contents["manifest.json"] = (json.dumps(_published(manifest), indent=1) + "\n").encode()
    contents["README.md"] = _card(found, manifest).encode()
    return Publication(found, repo, contents)


def check_hub(repo: str) -> None:
    """Ask the hub whether it is there and knows the token, before anything is computed for it. Raises as `publish`."""
    _check_name(repo)
    with _said(repo):
        _api().whoami()


def publish(what: Publication, *, public: bool = False, update: bool = False) -> str:
    """Send it, and give its address on the hub. By default the dataset is made, for the sender's eyes alone.

    public  others may see it. update: commit to a dataset that is there already, whoever may see it now.

    Raises InputError where the hub refuses (no token, a wrong one, one that may not write, a dataset that is there already), and
    CurateError where it cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = _api()
    additions = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=part if isinstance(part, bytes) else str(part))
        for name, part in what.contents.items()
    ]
    with _said(what.repo):
        if update:
            api.dataset_info(what.repo)  # says that there is none, before anything is sent
        else:
            api.create_repo(what.repo, repo_type="dataset", private=not public)
        said = "Selected by curate; README.md says how"
        api.create_commit(what.repo, additions, commit_message=said, repo_type="dataset")
    return f"{api.endpoint}/datasets/{what.repo}"


def _api() -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi()


@contextmanager
def _said(repo: str) -> "Iterator[None]":
    """What the hub's client raises, in one sentence without a token in it."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    where = constants.ENDPOINT
    if not get_token():
        raise InputError(f"there is no token for the hub at {where}: run `hf auth login`, or set HF_TOKEN")
    try:
        yield
    except LocalTokenNotFoundError:
        raise InputError(f"there is no token for the hub at {where}: run `hf auth login`, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        refusals = {
            401: f"the hub at {where} does not know the token: run `hf auth login` again, or set another HF_TOKEN",
            403: f"the token may not write to {repo}: make one with the role write, or name a repository of your own",
            404: f"there is no dataset {repo} on the hub to update; leave out --update to make it",
            409: f"the dataset {repo} is on the hub already: name another, or pass --update to add a commit to it",
        }
        if status in refusals:
            raise InputError(refusals[status]) from None
        raise CurateError(f"the hub at {where} answered {status or 'nothing'} for {repo}; try again later") from None
    except (CurateError, KeyboardInterrupt):
        raise
    except Exception as error:  # the network's errors are of several libraries; their texts may hold headers
        raise CurateError(f"the hub at {where} cannot be reached ({type(error).__name__})") from None


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise InputError(f"{repo!r} cannot name a dataset on the hub, which looks like you/name") from None
    if "/" not in repo:
        raise InputError(f"{repo!r} names no owner: write you/{repo}")


def _with_data(folder: Path) -> Path:
    """The folder with the data: this one, or the last stage of a recipe that kept rows."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    stages = [path.parent for path in folder.glob("*-*/data.parquet") if path.parent.name.partition("-")[0].isdecimal()]
    stages.sort(key=lambda path: int(path.name.partition("-")[0]))
    found = folder if (folder / "data.parquet").is_file() else stages[-1] if stages else None
    if found is None or not (found / MARKER).is_file() or not (found / "manifest.json").is_file():
        raise InputError(f"{folder} holds no rows that curate selected: name a folder of `curate select` or `curate run`")
    return found


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        dict(found)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    return found


def _published(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without what is about this machine, and absolute paths cut to their last part."""
    kept = {name: _nameless(part) for name, part in manifest.items() if name not in PRIVATE_PARTS}
    return {**kept, "command": command} if (command := _command(manifest)) else kept


def _nameless(value: Any) -> Any:
    if isinstance(value, dict):
        return {_name(key): _nameless(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_nameless(part) for part in value]
    return _name(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    if "\n" in text:
        return text
    if text.startswith(("/", "~")):
        return PurePosixPath(text).name
    return PureWindowsPath(text).name if PureWindowsPath(text).is_absolute() else text


def _command(manifest: Mapping[str, Any]) -> str | None:
    """The command line, paths of this machine and what tells where to send it left out."""
    words: list[str] = []
    with suppress(ValueError):
        words = shlex.split(manifest.get("command") or "")
    named: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        named.append(f"{option}={_name(value)}" if equals and option.startswith("-") else _name(word))
    return shlex.join(named) if named else None


def _card(folder: Path, manifest: Mapping[str, Any]) -> str:
    """README.md for the hub: the front matter of the folder's own with size and tags, its text, and how the rows were chosen."""
    text = (folder / "README.md").read_text(encoding="utf-8") if (folder / "README.md").is_file() else ""
    _, front, body = text.split("---\n", 2) if text.startswith("---\n") and text.count("---\n") > 1 else ("", "", text)
    head = yaml.safe_load(front) or {"configs": [_default()]}
    head |= {"size_categories": [_size(folder)], "tags": ["curate", "sft", "data-selection"]}
    said = ["", "## How it was selected", "", *_how(manifest)]
    if command := _command(manifest):
        said += ["", "```sh", command, "```"]
    said += [
        "", "## Licence", "",
        "The rows are those of the source, and so is their licence: name it here, and as `license:` in the head of this file.",
    ]  # fmt: skip
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{body.strip()}\n" + "\n".join(said) + "\n"


def _how(manifest: Mapping[str, Any]) -> list[str]:
    counts, method = manifest.get("counts", {}), manifest.get("method")
    lines = []
    if isinstance(method, dict):
        settings = ", ".join(f"{key} = {_nameless(value)}" for key, value in method["settings"].items()) or "none"
        lines += [
            f"- method: {method['name']} ({method['paper']}); settings: {settings}",
            f"- budget: {manifest['budget']}, {counts['selected']:,} of {counted(counts['rows_pool'])}, "
            f"{counts['selected_tokens']:,} of {counts['pool_tokens']:,} tokens",
            f"- model: {_name(manifest['scorer_model']['name'])} scored, {_name(manifest['model']['name'])} is to be trained",
            f"- seed: {manifest['seed']}",
        ]
    lines += [f"- pool: fingerprint {manifest['pool']['fingerprint']}"] if "pool" in manifest else []
    version = (manifest.get("curate") or {}).get("curate")
    return [*lines, f"- curate {version}; `manifest.json` has the rest"]


def _size(folder: Path) -> str:
    import pyarrow.parquet as pq

    rows = pq.read_metadata(folder / "data.parquet").num_rows
    return next((name for most, name in SIZES if rows < most), "n>10M")


def _default() -> dict[str, Any]:
    return {"config_name": "default", "data_files": [{"split": "train", "path": "data.parquet"}]}
