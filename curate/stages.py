"""What each piece of work did and took, for manifests."""

import time
from dataclasses import dataclass


@dataclass
class Stage:
    """What one job did, for the manifest: rows and tokens computed (not reused), FLOPs, seconds."""

    kind: str
    name: str
    seconds: float = 0.0
    computed_rows: int = 0
    reused_rows: int = 0
    tokens: int = 0
    flops: float = 0.0


class Timer:
    """Times a block and adds its Stage to a list, whether the block ends well or not."""

    def __init__(self, stages: list[Stage], stage: Stage) -> None:
        self.stages, self.stage = stages, stage

    def __enter__(self) -> Stage:
        self.start = time.perf_counter()
        return self.stage

    def __exit__(self, *error: object) -> None:
        self.stage.seconds = time.perf_counter() - self.start
        self.stages.append(self.stage)
