"""Keeping libraries from printing while we work, and global random state from leaking."""

import contextlib
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from transformers.utils import logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it transformers reports errors only, draws no bars and warns of nothing to come; afterwards as before."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft still asks transformers by a deprecated name
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def private_randomness(seed: int) -> Iterator[None]:
    """Within it the global generators start from `seed`; afterwards they are as before."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
