"""What methods share that choose tokens while the model learns: their rows alone are not the method."""

from curate.errors import InputError
from curate.training.config import TrainConfig

IN_TRAINING = "the rows are random, and the tokens are chosen in training: `curate train` on the selection does so, others do not"


def refuse_another_policy(method: str, recipe: TrainConfig) -> None:
    """Raise InputError where the recipe of trainings, or of the pool that is selected from, chooses tokens already."""
    if recipe.token_policy != "none":
        raise InputError(
            f"{method} chooses the tokens of a training itself, and so would the token policy {recipe.token_policy}, which is "
            "asked for or is the pool's; leave that out (--token-policy none)"
        )
