"""Skills of the source `chat-turns`: conversations of several turns whose last reply needs what was said before."""

from random import Random

from .draft import Draft, Skill
from .words import CITIES, JOBS, NAMES, WEEKDAYS, listed, with_article

# What the list is called, what may be on it.
_LISTS = (
    ("shopping list", ("milk", "eggs", "bread", "rice", "apples", "butter", "soap", "tea", "cheese", "onions", "salt")),
    ("packing list", ("passport", "socks", "towel", "charger", "raincoat", "novel", "sunglasses", "boots", "camera")),
    ("to-do list", ("laundry", "taxes", "dentist", "groceries", "ironing", "bike repair", "dishes", "rent", "haircut")),
    ("guest list", NAMES),
    ("wish list", ("lamp", "desk", "globe", "kettle", "rug", "clock", "mirror", "guitar", "puzzle", "bookcase")),
    ("list of cities to see", CITIES),
)  # fmt: skip
_START = (
    "Start a {what} with {first}.", "I want to make a {what}. Begin with {first}.", "New {what}: {first}.",
    "Please keep a {what} for me. So far: {first}.", "Let's write a {what}. Put {first} on it.",
    "Can you track my {what}? It has {first}.", "Make a {what} that contains {first}.",
    "My {what} has {first} so far. Keep it in mind.", "Help me with a {what}, first entries: {first}.",
    "Note this {what}: {first}.", "Create a {what}. The first entries are {first}.",
)  # fmt: skip
_ADD = (
    "Add {new}.", "Also {new}, please.", "I forgot {new}. Add that as well.", "One more: {new}.",
    "Please add {new} too.", "Include {new} as well.", "And {new}.", "Now add {new} at the end.", "Append {new}.",
    "Can we have {new} there too?",
)  # fmt: skip
_DROP = (
    "Remove {old}.", "Take {old} off the list.", "Scratch {old}.", "Delete {old}, please.", "Without {old} now.",
    "Strike out {old}.", "Drop {old}.", "Leave {old} out after all.",
)  # fmt: skip
_SWAP = (
    "Replace {old} with {new}.", "Swap {old} for {new}.", "Instead of {old} I want {new}.", "Change {old} to {new}.",
)  # fmt: skip
_SHOWN = (
    "Your {what}: {items}.", "The {what} is now: {items}.", "Done. {items}", "Here is the {what}: {items}.", "{items}",
)  # fmt: skip


def running_list(rng: Random) -> Draft:
    """A list that two or three messages change; the wrong last reply forgets the last change."""
    what, stock = rng.choice(_LISTS)
    fresh = rng.sample(stock, 6)
    items = [fresh.pop() for _ in range(rng.randint(2, 3))]
    shown = rng.choice(_SHOWN)
    turns = [rng.choice(_START).format(what=what, first=listed(items))]
    before = list(items)
    for _ in range(rng.randint(1, 2)):
        turns.append(shown.format(what=what, items=", ".join(items)))
        before = list(items)
        change = rng.choice((_ADD, _ADD, _DROP, _SWAP)) if len(items) > 2 else rng.choice((_ADD, _SWAP))
        old, new = rng.choice(items), fresh.pop()
        turns.append(rng.choice(change).format(old=old, new=new))
        if change is _ADD:
            items.append(new)
        elif change is _DROP:
            items.remove(old)
        else:
            items[items.index(old)] = new
    right, wrong = (shown.format(what=what, items=", ".join(each)) for each in (items, before))
    return Draft(tuple(turns), right, wrong, f"{what} {' '.join(turns[::2])}")


_PRICED = (("ticket", "tickets"), ("notebook", "notebooks"), ("lamp", "lamps"), ("plant", "plants"), ("mug", "mugs"),
           ("chair", "chairs"), ("lesson", "lessons"), ("battery", "batteries"), ("poster", "posters"))  # fmt: skip
_FIRST_PRICE = (
    "One {one} costs {p} dollars. How much are {n} {many}?", "If a {one} is {p} dollars, what do I pay for {n}?",
    "A {one} costs {p} dollars. What do {n} {many} cost?", "We sell each {one} for {p} dollars. Price for {n}?",
    "Each {one} is {p} dollars. I want {n}. What is the total?",
    "Price per {one}: {p} dollars. What is it for {n} {many}?",
)  # fmt: skip
_NEXT_PRICE = (
    "And {n}?", "What about {n} {many}?", "How much would {n} be?", "And if I take {n}?", "Now for {n} {many}?",
)  # fmt: skip
_OFF = ("And with {d} dollars off that?", "I have a voucher for {d} dollars. What is left to pay?",
        "Subtract a discount of {d} dollars from that.", "What remains after {d} dollars off?")  # fmt: skip


def _prices(rng: Random) -> Draft:
    one, many = rng.choice(_PRICED)
    price, counts = rng.randint(2, 15), rng.sample(range(2, 10), 2)
    say = rng.choice(("{n} {many} cost {t} dollars.", "That is {t} dollars.", "{n} x {p} = {t}, so {t} dollars."))

    def told(count: int, total: int) -> str:
        return say.format(n=count, many=many, p=price, t=total)

    slots = {"one": one, "many": many, "p": price}
    turns = [rng.choice(_FIRST_PRICE).format(**slots, n=counts[0]), told(counts[0], counts[0] * price)]
    turns.append(rng.choice(_NEXT_PRICE).format(**slots, n=counts[1]))
    total = counts[1] * price
    right, wrong = told(counts[1], total), told(counts[1], rng.choice((counts[0] * price, total + price, total - 1)))
    if total > 6 and rng.random() < 0.4:
        discount = rng.randint(2, min(total - 2, 10))
        turns += [right, rng.choice(_OFF).format(d=discount)]
        right, wrong = (f"Then it is {left} dollars." for left in (total - discount, total + discount))
    return Draft(tuple(turns), right, wrong, " ".join(turns[::2]))


_PROFILE = (
    "{name} is {job} in {city} and has {n} {pets}. The day off is {day}.",
    "My friend {name} lives in {city}, works as {job}, keeps {n} {pets} and rests on {day}.",
    "Remember this: {name}, {job}, {city}, {n} {pets}, free on {day}.",
    "Let me introduce {name}, {job} from {city} with {n} {pets}. {day} is always free.",
)
_ASKED = {
    "city": (("Where does {name} live?", "Which city is {name} in?"), "{name} lives in {city}."),
    "job": (("What is {name}'s job?", "What does {name} do for a living?"), "{name} is {job}."),
    "n": (("How many {pets} are there?", "How many {pets} does {name} have?"), "{name} has {n} {pets}."),
    "day": (("When is {name} free?", "Which day off does {name} have?"), "{name} is free on {day}."),
}


def _facts(rng: Random) -> Draft:
    def drawn() -> dict[str, str]:
        return {"city": rng.choice(CITIES), "job": with_article(rng.choice(JOBS)), "n": str(rng.randint(2, 9)),
                "day": rng.choice(WEEKDAYS)}  # fmt: skip

    fixed = {"name": rng.choice(NAMES), "pets": rng.choice(("cats", "dogs", "goats", "hens", "parrots", "rabbits"))}
    facts, stray = {**fixed, **drawn()}, {**fixed, **drawn()}
    asked = rng.sample(list(_ASKED), rng.choice((2, 2, 3)))
    while stray[asked[-1]] == facts[asked[-1]]:
        stray = {**fixed, **drawn()}
    turns = [rng.choice(_PROFILE).format(**facts)]
    for number, key in enumerate(asked):
        questions, answer = _ASKED[key]
        question = rng.choice(questions).format(**facts)
        if number == 0:
            turns[0] += f" {question}"
        else:
            turns.append(question)
        turns.append(answer.format(**facts))
    return Draft(tuple(turns[:-1]), turns[-1], _ASKED[asked[-1]][1].format(**stray), " ".join(turns[::2]))


def follow_up(rng: Random) -> Draft:
    """Questions that lean on the ones before: prices of other amounts, further facts about a person."""
    return rng.choice((_prices, _facts))(rng)


SKILLS = (
    Skill("running_list", "chat-turns", 16, running_list, ("You keep lists for the user.",)),
    Skill("follow_up", "chat-turns", 9, follow_up, ("You answer from the conversation.",)),
)
