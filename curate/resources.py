"""What comes with the package: the embedded base model, the sample pool, recipes."""

from pathlib import Path

from curate.errors import InputError


def data_folder() -> Path:
    """`curate/_data` in an installed wheel, `data/` beside the package in a checkout."""
    here = Path(__file__).parent
    for folder in (here / "_data", here.parent / "data"):
        if (folder / "models").is_dir():
            return folder
    raise InputError("the embedded data is missing from this installation; install curate again")


def default_model() -> Path:
    """The embedded base model: 4 million parameters, enough to score with and to learn on a laptop."""
    return data_folder() / "models" / "base-4m"


def recipes() -> Path:
    """The folder of the recipes that ship."""
    return data_folder() / "recipes"


def sample(split: str) -> Path:
    """A split of the embedded sample: pool, dev or test."""
    return data_folder() / "sample" / f"{split}.parquet"
