"""What pydantic finds wrong, in the user's words."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curate.errors import first_fault


class Inner(BaseModel):
    ratio: float = Field(0.5, gt=0, le=1, allow_inf_nan=False)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int = 1
    kind: Literal["a", "b"] = "a"
    on: bool = True
    names: tuple[str, ...] = ()
    either: str | int | float = 0
    inner: Inner = Inner()
    even: int = 0

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value


@pytest.mark.parametrize(
    "given, said",
    [
        ({"count": "x"}, "setting 'count': a whole number is wanted, not 'x'"),
        ({"count": 1.5}, "setting 'count': a whole number is wanted, not 1.5"),
        ({"count": None}, "setting 'count': a whole number is wanted, not None"),
        ({"kind": "c"}, "setting 'kind': it must be 'a' or 'b', not 'c'"),
        ({"on": "perhaps"}, "setting 'on': true or false is wanted, not 'perhaps'"),
        ({"names": "x" * 99}, f"setting 'names': a list is wanted, not '{'x' * 56}..."),
        ({"names": [3]}, "setting 'names.0': text is wanted, not 3"),
        ({"either": []}, "setting 'either': a number or text is wanted, not []"),
        ({"inner": {"ratio": "x"}}, "setting 'inner.ratio': a number is wanted, not 'x'"),
        ({"inner": {"ratio": 0}}, "setting 'inner.ratio': it must be greater than 0, not 0"),
        ({"inner": {"ratio": "inf"}}, "setting 'inner.ratio': it must be a finite number, not 'inf'"),
        ({"inner": 3}, "setting 'inner': a mapping is wanted, not 3"),
        ({"even": 3}, "setting 'even': 3 is odd"),
        ({"other": 3}, "there is no setting 'other'"),
    ],
)
def test_faults(given, said):
    with pytest.raises(ValidationError) as found:
        Settings(**given)
    assert first_fault(found.value.errors()) == said


def test_what_is_missing():
    class Needs(BaseModel):
        this: int

    with pytest.raises(ValidationError) as found:
        Needs()
    assert first_fault(found.value.errors(), "key") == "key 'this': it is missing"
