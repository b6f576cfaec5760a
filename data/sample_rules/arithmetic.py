"""Skills of the source `arith-steps`: word problems, unit conversion, comparison, number sequences."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .draft import Draft, Skill, ask
from .words import CITIES, NAMES, THINGS, capitalised, listed


@dataclass(frozen=True)
class _Story:
    """A word problem: its numbers, the steps to its answer (`it` is the result of the step before), its wordings."""

    numbers: Callable[[Random], dict[str, int]]
    steps: tuple[str, ...]
    said: str
    told: tuple[str, ...]


def _sum(rng: Random) -> dict[str, int]:
    return {"a": rng.randint(6, 80), "b": rng.randint(3, 40)}


def _difference(rng: Random) -> dict[str, int]:
    b = rng.randint(3, 40)
    return {"a": b + rng.randint(2, 50), "b": b}


def _product(rng: Random) -> dict[str, int]:
    return {"a": rng.randint(3, 12), "b": rng.randint(3, 12)}


def _quotient(rng: Random) -> dict[str, int]:
    b = rng.randint(3, 9)
    return {"a": b * rng.randint(3, 12), "b": b}


def _packs(rng: Random) -> dict[str, int]:
    return {"a": rng.randint(4, 30), "b": rng.randint(2, 6), "c": rng.randint(4, 12)}


def _change(rng: Random) -> dict[str, int]:
    a, b = rng.randint(2, 6), rng.randint(2, 9)
    return {"a": a, "b": b, "c": a * b + rng.randint(2, 30)}


def _twice(rng: Random) -> dict[str, int]:
    a, b = rng.randint(4, 30), rng.randint(2, 4)
    return {"a": a, "b": b}


def _rectangle(rng: Random) -> dict[str, int]:
    return {"a": rng.randint(4, 30), "b": rng.randint(3, 20), "two": 2}


def _reading(rng: Random) -> dict[str, int]:
    b, c = rng.randint(6, 20), rng.randint(3, 7)
    return {"a": b * c + rng.randint(8, 120), "b": b, "c": c}


_STORIES = (
    _Story(_sum, ("a + b",), "{name} has {n} {things}", (
        "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?",
        "There are {a} {things} in {name}'s drawer, and {other} gives {name} {b} more. How many is that in total?",
        "{name} collected {a} {things} in spring and {b} in summer. How many {things} is that altogether?",
    )),
    _Story(_sum, ("a + b",), "they have {n} {things} together", (
        "{name} owns {a} {things} and {other} owns {b}. How many do they own together?",
        "{name} brought {a} {things} to the fair. {other} brought {b}. How many {things} did the two bring?",
    )),
    _Story(_difference, ("a - b",), "there are {n} {things} left", (
        "{name} had {a} {things} and gave {b} of them to {other}. How many are left?",
        "A shop in {city} had {a} {things} in the morning and sold {b} by noon. How many {things} remained?",
        "Of the {a} {things} on the table, {name} took {b}. How many {things} stayed there?",
    )),
    _Story(_difference, ("a - b",), "{name} has {n} more", (
        "{name} has {a} {things}, {other} has {b}. How many more does {name} have?",
        "{name} sold {a} {things} and {other} sold {b}. By how many did {name} sell more?",
    )),
    _Story(_product, ("a x b",), "there are {n} {things}", (
        "{name} packs {a} boxes with {b} {things} in each. How many {things} are packed?",
        "There are {a} shelves with {b} {things} on every shelf. How many {things} is that?",
        "Each of {a} children brings {b} {things}. How many {things} are there in all?",
    )),
    _Story(_product, ("a x b",), "the distance is {n} km", (
        "{name} cycles {a} km a day for {b} days. How many kilometres is that?",
        "A walker covers {a} km per hour. How far does the walker get in {b} hours?",
    )),
    _Story(_quotient, ("a / b",), "each one gets {n} {things}", (
        "{name} shares {a} {things} equally among {b} friends. How many does each friend get?",
        "{a} {things} are divided evenly between {b} baskets. How many go into each basket?",
        "{b} cousins split {a} {things} fairly. How many {things} does every cousin receive?",
    )),
    _Story(_packs, ("b x c", "a + it"), "{name} has {n} {things}", (
        "{name} has {a} {things} and buys {b} packs of {c}. How many {things} does {name} have now?",
        "After finding {a} {things}, {name} receives {b} bags with {c} {things} each. How many are there in total?",
    )),
    _Story(_change, ("a x b", "c - it"), "the change is {n} dollars", (
        "{name} buys {a} tickets at {b} dollars each and pays with {c} dollars. How much change is due?",
        "One lunch costs {b} dollars. {name} pays for {a} lunches out of {c} dollars. How much money is left?",
    )),
    _Story(_packs, ("b x c", "a + it"), "the bill is {n} dollars", (
        "{name} pays {a} dollars for a bag and {c} dollars for each of {b} pens. What does it cost altogether?",
        "A room costs {a} dollars. {name} adds {b} meals at {c} dollars each. How high is the bill in the end?",
    )),
    _Story(_packs, ("b x c", "a + it"), "{name} walks {n} km in total", (
        "{name} walks {c} km on each of {b} days, and another {a} km on the weekend. How many kilometres is that?",
        "On a trip to {city}, {name} hiked {c} km a day for {b} days and then {a} km in one go. How far was it in all?",
    )),
    _Story(_twice, ("a x b", "a + it"), "they have {n} {things} together", (
        "{name} has {a} {things}. {other} has {b} times as many. How many do they have together?",
        "{other} picked {b} times as many {things} as {name}, who picked {a}. How many {things} did they pick in all?",
    )),
    _Story(_rectangle, ("a + b", "it x two"), "the perimeter is {n} metres", (
        "A garden in {city} is {a} metres long and {b} metres wide. How long is the fence around it?",
        "{name} walks once around a field of {a} by {b} metres. How many metres is that?",
    )),
    _Story(_reading, ("b x c", "a - it"), "{n} pages are left", (
        "{name} reads {b} pages a day of a book with {a} pages. How many pages are left after {c} days?",
        "A report has {a} pages. {name} checks {b} pages each day for {c} days. How many are still unchecked?",
    )),
)  # fmt: skip

_PROBLEM = (
    ("{story}", "{working}. {Said}."),
    ("{story} Show your working.", "{working}. {Said}."),
    ("Solve this problem. {story}", "{working}. {Said}."),
    ("{story} Explain how you got there.", "{working}, so {said}."),
    ("Here is a maths question: {story}", "{working}, so {said}."),
    ("Work this out step by step: {story}", "{working}. The answer is {n}."),
    ("Question: {story}\nAnswer with the calculation.", "{working}. The answer is {n}."),
    ("{story} Think it through, then give the result.", "{working}. The answer is {n}."),
    ("{story} Give only the number.", "{n}"),
    ("{story} Just the number, please.", "{n}"),
    ('My daughter got this for homework: "{story}" What is the solution?', "{working}, so {said}."),
    ("Please calculate. {story}", "{working}. {Said}."),
    ("Problem:\n{story}\nSolution:", "{working}. The answer is {n}."),
    ("{story} I got stuck, please walk me through it.", "We can calculate it like this: {working}. That means {said}."),
    ("Could you solve this and explain it to a child? {story}", "Let us see: {working}. This tells us that {said}."),
    ("{story} Write a full answer.", "The calculation is {working}. Therefore {said}."),
)


def _value(step: str, numbers: dict[str, int]) -> int:
    left, sign, right = step.split()
    a, b = numbers[left], numbers[right]
    return {"+": a + b, "-": a - b, "x": a * b, "/": a // b}[sign]


def _slip(rng: Random, value: int) -> int:
    """A result as it comes out of a careless calculation: one off, a carry lost, ten too many."""
    near = (value - 10, value - 2, value - 1, value + 1, value + 2, value + 10)
    return rng.choice([other for other in near if other > 0])


def word_problem(rng: Random) -> Draft:
    """A short story with one or two steps of arithmetic; the wrong answer slips in the last step."""
    story = rng.choice(_STORIES)
    name, other = rng.sample(NAMES, 2)
    numbers = story.numbers(rng)
    given = {"name": name, "other": other, "things": rng.choice(THINGS), "city": rng.choice(CITIES), **numbers}
    told = rng.choice(story.told).format(**given)
    shown: list[str] = []
    for step in story.steps:
        left, sign, right = step.split()
        shown.append(f"{numbers[left]} {sign} {numbers[right]} = ")
        numbers["it"] = _value(step, numbers)
        shown[-1] += str(numbers["it"])
    result = numbers["it"]

    def answer(value: int) -> dict[str, object]:
        said = story.said.format(**given, n=value)
        last = shown[-1].rsplit(" ", 1)[0] + f" {value}"
        working = ". ".join([*shown[:-1], last])
        return {"working": working, "said": said, "Said": capitalised(said), "n": value}

    return ask(rng, _PROBLEM, told, {"story": told}, answer(result), answer(_slip(rng, result)))


_UNITS = (  # the larger unit (one, several), the smaller unit, how many of it make one larger, the largest amount
    ("kilometre", "kilometres", "metres", 1000, 60), ("metre", "metres", "centimetres", 100, 90),
    ("centimetre", "centimetres", "millimetres", 10, 120), ("kilogram", "kilograms", "grams", 1000, 60),
    ("litre", "litres", "millilitres", 1000, 40), ("tonne", "tonnes", "kilograms", 1000, 40),
    ("hour", "hours", "minutes", 60, 24), ("minute", "minutes", "seconds", 60, 45), ("day", "days", "hours", 24, 20),
    ("week", "weeks", "days", 7, 52), ("year", "years", "months", 12, 30), ("foot", "feet", "inches", 12, 30),
    ("yard", "yards", "feet", 3, 90), ("pound", "pounds", "ounces", 16, 25), ("dollar", "dollars", "cents", 100, 95),
    ("gallon", "gallons", "quarts", 4, 60),
)  # fmt: skip
_CONVERT = (
    ("Convert {amount} {unit} to {target}.", "{amount} {unit} = {n} {target}"),
    ("How many {target} are {amount} {unit}?", "{amount} {unit} are {n} {target}."),
    ("What is {amount} {unit} in {target}?", "{amount} {unit} are {n} {target}."),
    ("Express {amount} {unit} in {target}.", "{n} {target}"),
    ("{amount} {unit} to {target}, please.", "{n} {target}"),
    ("I have {amount} {unit}. What does that come to in {target}?", "That comes to {n} {target}."),
    ("Change {amount} {unit} into {target} and show the rule.", "{rule}, so {amount} {unit} are {n} {target}."),
    ("Please convert {amount} {unit} into {target}. Mention the factor.", "{rule}, so the result is {n} {target}."),
    ("A note says {amount} {unit}. How much is that in {target}?", "That is {n} {target}."),
    ("Fill in the blank: {amount} {unit} = ___ {target}", "{amount} {unit} = {n} {target}"),
    ("{amount} {unit} equals how many {target}? Number only.", "{n}"),
    ("Turn {amount} {unit} into {target} and explain briefly.", "{rule}, so {amount} {unit} are {n} {target}."),
)


def unit_conversion(rng: Random) -> Draft:
    """Between two units with a whole factor, in either direction; the wrong answer is out by one or by a nought."""
    one, large, small, factor, most = rng.choice(_UNITS)
    amount = rng.randint(2, most)
    half = factor % 2 == 0 and rng.random() < 0.2
    in_large = f"{amount}.5" if half else f"{amount}"
    in_small = amount * factor + (factor // 2 if half else 0)
    if rng.random() < 0.55:
        given = {"amount": in_large, "unit": large, "target": small}
        right, wrong = str(in_small), str(rng.choice((in_small * 10, in_small + factor, in_small - factor)))
    else:
        given = {"amount": str(in_small), "unit": small, "target": large}
        right, wrong = in_large, str(rng.choice((amount * 10, amount + 1, amount + 2))) + (".5" if half else "")
    content = " ".join(given.values())
    rule = f"1 {one} is {factor} {small}"
    return ask(rng, _CONVERT, content, {**given, "rule": rule}, {"n": right}, {"n": wrong})


_MOST = (
    ("Which of these is the {most}: {numbers}?", "{n} is the {most}."),
    ("Which is the {most} number, {numbers}?", "{n}"),
    ("Pick the {most} number from {numbers}.", "The {most} number is {n}."),
    ("Out of {numbers}, which one is the {most}?", "The {most} one is {n}."),
    ("I am comparing {numbers}. Tell me the {most}.", "The {most} is {n}."),
    ("Find the {most} value: {numbers}", "{n}"),
    ("{numbers}: name the {most} of these numbers.", "The {most} is {n}."),
    ("Look at the numbers {numbers}. The {most} one is?", "The {most} one is {n}."),
    ("Choose the {most} and write it down: {numbers}", "{n}"),
    ("Please compare {numbers} and give me the {most} number.", "The {most} number is {n}."),
)
_YES_NO = (
    ("Is {a} {more} than {b}?", "{verdict}, {top} is {more} than {rest}."),
    ("Is it right that {a} is {more} than {b}?", "{verdict}, {top} is {more} than {rest}."),
    ("Yes or no: {a} is {more} than {b}.", "{verdict}"),
    ("Would you say that {a} is {more} than {b}?", "{verdict}, {top} is {more} than {rest}."),
    ("Can you check whether {a} is {more} than {b}?", "{verdict}, because {top} is {more} than {rest}."),
)


def _close_numbers(rng: Random, count: int) -> list[str]:
    """Numbers that are easy to mistake for one another: shuffled digits, decimals of unequal length."""
    kind = rng.randrange(3)
    if kind == 0:
        digits = rng.sample("123456789", rng.choice((3, 4)))
        numbers = {"".join(rng.sample(digits, len(digits))) for _ in range(20)}
    elif kind == 1:
        whole = rng.randint(0, 30)
        numbers = {f"{whole}.{rng.choice((rng.randint(1, 9), rng.randint(11, 99)))}" for _ in range(20)}
    else:
        base = rng.randint(100, 9000)
        numbers = {str(base + rng.randint(-90, 90)) for _ in range(20)}
    return rng.sample(sorted(n for n in numbers if not n.endswith("0")), count)


def comparison(rng: Random) -> Draft:
    """The largest or smallest of a few numbers that look alike, or whether one exceeds another."""
    numbers = _close_numbers(rng, rng.randint(2, 4))
    largest = rng.random() < 0.5
    more = "larger" if largest else "smaller"
    ranked = sorted(numbers, key=float, reverse=largest)
    content = " ".join((*numbers, more))
    if len(numbers) > 2 or rng.random() < 0.3:
        most = more if len(numbers) == 2 else more.removesuffix("r") + "st"
        given: dict[str, object] = {"numbers": listed(numbers), "most": most}
        return ask(rng, _MOST, content, given, {"n": ranked[0]}, {"n": ranked[1]})
    given = {"a": numbers[0], "b": numbers[1], "more": more}
    truth = {"top": ranked[0], "rest": ranked[1], "verdict": "Yes" if numbers[0] == ranked[0] else "No"}
    fallacy = {"top": ranked[1], "rest": ranked[0], "verdict": "No" if numbers[0] == ranked[0] else "Yes"}
    return ask(rng, _YES_NO, content, given, truth, fallacy)


_SEQUENCE = (
    ("What number comes next: {shown}?", "{n}"),
    ("Continue the sequence: {shown}, ...", "{n}, because {rule}."),
    ("{shown}: what follows?", "{Rule}, so {n} follows."),
    ("Find the next term of {shown}.", "The next term is {n}."),
    ("Which number belongs at the end: {shown}, ?", "{n}"),
    ("Here is a pattern: {shown}. Name the next number and the rule.", "{Rule}, so the next number is {n}."),
    ("Spot the rule in {shown} and give the next value.", "{Rule}, so the next value is {n}."),
    ("A puzzle: {shown}. What should be written next?", "{n} should be written next."),
    ("Complete the series {shown}, _", "{n}"),
    ("The list goes {shown}. Explain what comes next.", "{Rule}, so {n} comes next."),
    ("After {shown}, which number do you expect?", "I expect {n}, because {rule}."),
)


def next_number(rng: Random) -> Draft:
    """A sequence with a constant difference or ratio."""
    kind = rng.choice(("up", "up", "down", "times"))
    if kind == "times":
        start, factor = rng.randint(1, 9), rng.randint(2, 4)
        terms = [start * factor**power for power in range(5)]
        rule = f"each number is {factor} times the one before"
        slip = terms[3] + (terms[3] - terms[2])
    else:
        step = rng.randint(2, 15)
        start = rng.randint(1, 40) + (4 * step if kind == "down" else 0)
        terms = [start + index * (step if kind == "up" else -step) for index in range(5)]
        rule = f"each number is {step} {'more' if kind == 'up' else 'less'} than the one before"
        slip = terms[4] + rng.choice((-1, 1, 2))
    shown = ", ".join(str(term) for term in terms[:4])
    answer = {"rule": rule, "Rule": capitalised(rule)}
    return ask(rng, _SEQUENCE, shown, {"shown": shown, **answer}, {"n": terms[4]}, {"n": max(slip, 0)})


SKILLS = (
    Skill("word_problem", "arith-steps", 184, word_problem, ("You are a maths tutor for a primary school.",)),
    Skill("unit_conversion", "arith-steps", 50, unit_conversion, ("You convert units for a workshop.",)),
    Skill("comparison", "arith-steps", 25, comparison, ("You compare numbers with care.",)),
    Skill("next_number", "arith-steps", 12, next_number, ("You help with number puzzles.",)),
)  # fmt: skip
