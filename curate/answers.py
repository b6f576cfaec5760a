"""The answers to requests, as methods see them: looked up when they are asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from curate.requests import Request


class Seen(Mapping[Request, Any]):
    """The answers so far, by request. `asked` holds each method's requests, by the method's label."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer
        self.known: set[Request] = set()
        self.asked: dict[str, dict[Request, None]] = {}

    def __getitem__(self, request: Request) -> Any:
        if request not in self.known:
            raise KeyError(request)
        return self._answer(request)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)
