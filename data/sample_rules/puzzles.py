"""Skills of the source `puzzle-box`: sorting, string transforms, counting, reading short code."""

from collections.abc import Callable
from random import Random

from .draft import Draft, Phrasing, Skill, ask
from .words import CITIES, NAMES, WORDS, sentence

_SORT = (
    ("Sort these {what} in {order}: {items}", "{sorted}"),
    ("Put the {what} in {order}. {items}", "{sorted}"),
    ("Arrange in {order}: {items}.", "{sorted}"),
    ("Can you order these {what}? I need {order}. {items}", "Here they are: {sorted}"),
    ("{items}\nSort the {what} above in {order}.", "{sorted}"),
    ("List the following {what} in {order}: {items}", "In order: {sorted}"),
    ("I have these {what}: {items}. Bring them into {order}.", "{sorted}"),
    ("Here are some {what}: {items}. What do they look like in {order}?", "In {order} they are: {sorted}"),
    ("Please rank {items} in {order}.", "{sorted}"),
    ("Task: sort. Order: {order}. Input: {items}", "{sorted}"),
    ("Write the {what} {items} in {order}, one per line.", "{lines}"),
    ("One item per line, in {order}: {items}", "{lines}"),
    ("What is the {order} of these {what}? {items}", "The order is {sorted}."),
)


def sorting(rng: Random) -> Draft:
    """Words or numbers to sort; the wrong answer has two neighbours exchanged."""
    kind = rng.choice(("alphabetical", "alphabetical", "ascending", "descending", "reverse", "names"))
    count = rng.randint(4, 9)
    if kind in ("ascending", "descending"):
        items = [str(number) for number in rng.sample(range(2, rng.choice((50, 200, 1000))), count)]
        what, order = "numbers", f"{kind} order"
        ordered = sorted(items, key=int, reverse=kind == "descending")
    else:
        what, words = rng.choice((("names", NAMES), ("cities", CITIES))) if kind == "names" else ("words", WORDS)
        items = rng.sample(words, count)
        order = "reverse alphabetical order" if kind == "reverse" else "alphabetical order"
        ordered = sorted(items, reverse=kind == "reverse")
    at = rng.randrange(count - 1)
    slipped = [*ordered[:at], ordered[at + 1], ordered[at], *ordered[at + 2 :]]
    right, wrong = ({"sorted": ", ".join(each), "lines": "\n".join(each)} for each in (ordered, slipped))
    given = {"what": what, "order": order, "items": ", ".join(items)}
    return ask(rng, _SORT, f"{order} {' '.join(ordered)}", given, right, wrong)


def _vowelless(text: str) -> str:
    return "".join(letter for letter in text if letter.lower() not in "aeiou")


_Rule = tuple[Callable[[str], str], Callable[[str], str], tuple[Phrasing, ...]]  # right, nearly right, phrasings
_ON_WORDS: tuple[_Rule, ...] = (
    (lambda text: text[::-1], lambda text: text[:0:-1], (
        ("Reverse the word {text}.", "{out}"),
        ("Spell \"{text}\" backwards.", "{out}"),
        ("Write {text} from back to front.", "Backwards it is {out}."),
        ("What is {text} spelled backwards?", "{text} backwards is {out}."),
    )),
    (lambda text: " ".join(text), lambda text: " ".join(text[:-2] + text[-1]), (
        ("Spell {text} with a space between the letters.", "{out}"),
        ("Put a space after each letter of \"{text}\".", "{out}"),
    )),
    (lambda text: text[1:] + text[0], lambda text: text[-1] + text[:-1], (
        ("Move the first letter of {text} to the end.", "{out}"),
        ("Take {text} and put its first letter last. What do you get?", "You get {out}."),
    )),
    (lambda text: "".join(sorted(text)), lambda text: "".join(sorted(set(text)))[:-1], (
        ("Put the letters of {text} in alphabetical order.", "{out}"),
        ("Sort the letters in \"{text}\".", "{out}"),
    )),
)  # fmt: skip
_ON_SENTENCES: tuple[_Rule, ...] = (
    (str.upper, str.title, (
        ("Write this in capital letters: {text}", "{out}"),
        ("Convert to upper case.\n{text}", "{out}"),
        ("Make it all caps: \"{text}\"", "{out}"),
    )),
    (str.lower, str.upper, (
        ("Write this in small letters only: {text}", "{out}"),
        ("Lower case, please: {text}", "{out}"),
    )),
    (_vowelless, lambda text: _vowelless(text[:-6]) + text[-6:], (
        ("Remove all vowels from this text: {text}", "{out}"),
        ("{text}\nWithout vowels, how does that look?", "Without vowels: {out}"),
    )),
    (lambda text: text.replace(" ", "-"), lambda text: text.replace(" ", "-", 2), (
        ("Replace each space with a hyphen: {text}", "{out}"),
        ("Join the words of this line with hyphens. {text}", "{out}"),
    )),
    (lambda text: " ".join(text.rstrip(".").split()[::-1]), lambda text: " ".join(text.rstrip(".").split()[:0:-1]), (
        ("Write the words of this sentence in reverse order, without the full stop: {text}", "{out}"),
        ("Last word first, no full stop: {text}", "{out}"),
    )),
    (lambda text: "".join(word[0] for word in text.split()).upper(), lambda text: text[:3].upper(), (
        ("Take the first letter of each word, in capitals: {text}", "{out}"),
        ("Form an acronym from \"{text}\"", "The acronym is {out}."),
    )),
)  # fmt: skip


def string_transform(rng: Random) -> Draft:
    """A word or a sentence to change letter by letter or word by word."""
    on_word = rng.random() < 0.5
    text = rng.choice([word for word in WORDS if len(word) > 3]) if on_word else sentence(rng)
    change, slip, phrasings = rng.choice(_ON_WORDS if on_word else _ON_SENTENCES)
    right, wrong = change(text), slip(text)
    return ask(rng, phrasings, text, {"text": text}, {"out": right}, {"out": wrong})


_LETTERS = (
    ('How many letters does "{text}" have?', "{n}"),
    ("Count the letters in {text}.", "There are {n} letters."),
    ("How long is the word {text}?", "It has {n} letters."),
    ("Number of letters in {text}?", "{n}"),
    ("Spell out {text} and count its letters.", "{spelled}: {n} letters."),
    ("Count letter by letter: {text}", "{spelled} makes {n} letters."),
)
_OCCURRENCES = (
    ('How many times does the letter {letter} appear in "{text}"?', "{n}"),
    ("Count the letter {letter} in: {text}", "The letter {letter} appears {n} {times}."),
    ("How often do you see {letter} in {text}?", "{n} {times}"),
    ('Tell me how many {letter}\'s there are in "{text}".', "There {are} {n}."),
)
_WORD_COUNT = (
    ("How many words are in this sentence? {text}", "{n}"),
    ("Count the words: {text}", "The sentence has {n} words."),
    ("{text}\nHow many words is that?", "That is {n} words."),
    ('Give the number of words in "{text}"', "{n}"),
)
_ITEM_COUNT = (
    ("How many items are on this list: {text}?", "{n}"),
    ("Count the entries. {text}", "There are {n} entries."),
    ("My list: {text}. How many things is that?", "That is {n} things."),
)


def counting(rng: Random) -> Draft:
    """Letters, words or items to count; the wrong answer is one or two off."""
    kind = rng.choice((_LETTERS, _OCCURRENCES, _WORD_COUNT, _ITEM_COUNT))
    letter = ""
    if kind is _LETTERS:
        text = rng.choice((*WORDS, *NAMES, *CITIES))
        count = len(text)
    elif kind is _OCCURRENCES:
        text = " ".join(rng.sample(WORDS, rng.choice((1, 2, 3))))
        letter = rng.choice(sorted(set(text) - {" "}))
        count = text.count(letter)
    elif kind is _WORD_COUNT:
        text = sentence(rng)
        count = len(text.split())
    else:
        count = rng.randint(3, 9)
        text = ", ".join(rng.sample(WORDS, count))
    least = 1 if kind is _OCCURRENCES else 2
    off = rng.choice([other for other in (count - 2, count - 1, count + 1, count + 2) if other >= least])

    def answer(number: int) -> dict[str, object]:
        return {"n": number, "times": "time" if number == 1 else "times", "are": "is" if number == 1 else "are"}

    return ask(
        rng,
        kind,
        f"{text} {letter}",
        {"text": text, "letter": letter, "spelled": "-".join(text)},
        answer(count),
        answer(off),
    )


_PRINTS = (
    ("What does this Python code print?\n\n{code}", "{out}"),
    ("Read the program and give its output.\n{code}", "{out}"),
    ("{code}\nWhat is printed?", "It prints {out}."),
    ("Without running it, tell me the output:\n{code}", "The output is {out}."),
    ("Predict the result of this snippet.\n\n{code}", "{out}"),
    ("I run the following lines. What appears on the screen?\n{code}", "You will see {out}."),
    ("Code:\n{code}\nOutput:", "{out}"),
    ("Say in a sentence what this prints.\n{code}", "It prints {out}."),
    ("Trace the code below and name the final output.\n{code}", "The final output is {out}."),
    ("Python question: which value does the last line show?\n\n{code}", "{out}"),
    ("Help me read this code. What will it write?\n{code}", "It will write {out}."),
)


def code_reading(rng: Random) -> Draft:
    """A few lines of Python and what they print."""
    a, b, c = rng.randint(2, 12), rng.randint(2, 9), rng.randint(2, 6)
    x, y = rng.sample(("x", "total", "count", "n", "value", "result", "size"), 2)
    words = rng.sample(WORDS, 3)
    word, numbers = words[0], [rng.randint(1, 20) for _ in range(4)]
    snippets: tuple[tuple[str, object, object], ...] = (
        (f"{x} = {a}\n{y} = {x} * {b}\nprint({y} + {c})", a * b + c, a * (b + c)),
        (f"{x} = {a}\nfor i in range({c}):\n    {x} += {b}\nprint({x})", a + c * b, a + (c - 1) * b),
        (f"{x} = 0\nfor i in range(1, {c + 2}):\n    {x} += i\nprint({x})", sum(range(1, c + 2)), sum(range(1, c + 3))),
        (f'a = ["{words[0]}", "{words[1]}", "{words[2]}"]\nprint(a[{c % 3}])', words[c % 3], words[(c + 2) % 3]),
        (f'word = "{word}"\nprint(len(word) + {a})', len(word) + a, len(word) + a - 1),
        (f'word = "{word}"\nprint(word[:{c}])', word[:c], word[: c + 1] if len(word) > c else word[1:]),
        (f'word = "{word}"\nprint(word.upper())', word.upper(), word),
        (f"numbers = {numbers}\nprint(max(numbers) - min(numbers))", max(numbers) - min(numbers), max(numbers)),
        (f"numbers = {numbers}\nprint(sum(numbers))", sum(numbers), sum(numbers) - numbers[-1]),
        (f"{x} = {a}\nif {x} > {b}:\n    print(\"large\")\nelse:\n    print(\"small\")",
         "large" if a > b else "small", "small" if a > b else "large"),
        (f"{x} = {a * b + c}\nprint({x} // {b}, {x} % {b})",
         f"{(a * b + c) // b} {(a * b + c) % b}", f"{(a * b + c) % b} {(a * b + c) // b + 1}"),
        (f"def f(n):\n    return n * {a} - {b}\n\nprint(f({c}))", c * a - b, c * (a - b) - 1),
        (f'{x} = "{word}"\nprint({x} + "-" * {c})', word + "-" * c, (word + "-") * c),
    )  # fmt: skip
    code, out, slip = rng.choice(snippets)
    return ask(rng, _PRINTS, code, {"code": code}, {"out": out}, {"out": slip})


SKILLS = (
    Skill("sorting", "puzzle-box", 80, sorting, ("You sort lists.",)),
    Skill("string_transform", "puzzle-box", 40, string_transform, ("You transform text exactly as told.",)),
    Skill("counting", "puzzle-box", 30, counting, ("You count letters and words with care.",)),
    Skill("code_reading", "puzzle-box", 9, code_reading, ("You explain Python to beginners.",)),
)
