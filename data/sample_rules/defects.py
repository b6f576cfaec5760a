"""The defects planted in the pool, each a change to the last reply (or, for a near-duplicate, a copy of the row)."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from .draft import CLOSERS, OPENERS, Draft, greeted
from .words import CITIES, MONTHS, NAMES, WEEKDAYS

# Rows of the pool with each defect; the others are untouched.
COUNTS = {"wrong": 300, "swapped": 300, "rambling": 240, "near-duplicate": 240, "truncated": 180, "boilerplate": 180}


def can_truncate(reply: str) -> bool:
    """Whether enough would be missing: a reply of a word or two cannot be cut so that it shows."""
    return len(reply) >= 16 and len(reply.split()) >= 3


def truncated(rng: Random, reply: str) -> str:
    """The reply cut off somewhere in its middle, as by a limit on tokens."""
    return reply[: int(len(reply) * rng.uniform(0.3, 0.7))].rstrip()


_APOLOGIES = (
    "I'm sorry, but", "I am sorry,", "I apologize, but", "Unfortunately,", "I'm afraid that", "Sorry,", "My apologies,",
)  # fmt: skip
_LIMITS = (
    "as a language model I can't help with that.", "I am not able to answer this question.",
    "as an AI language model I cannot do this.", "I do not have enough information to answer.",
    "I can't assist with this request.", "I am only an AI and have no opinion on this matter.",
    "this is beyond what I can do at the moment.", "I don't have access to that kind of information.",
)  # fmt: skip
_OFFERS = (
    "", "", "Is there anything else I can help you with?", "Please consult a qualified professional.",
    "Feel free to ask me something else.", "Let me know if you have other questions.", "I hope you understand.",
)  # fmt: skip
_FILLERS = (
    "Great question! There are many factors to consider, and the answer depends on your situation.",
    "Thank you for your message. We will get back to you as soon as possible.",
    "That is an interesting topic. There are many different views on it, and it is important to keep an open mind.",
    "As an AI, I always try to be helpful. Please provide more details so that I can assist you better.",
    "Certainly! I would be happy to help you with that. Let me know how you would like to proceed.",
)


def boilerplate(rng: Random) -> str:
    """A stock refusal or a stock phrase that answers nothing."""
    if rng.random() < 0.2:
        return rng.choice(_FILLERS)
    return f"{rng.choice(_APOLOGIES)} {rng.choice(_LIMITS)} {rng.choice(_OFFERS)}".rstrip()


_MUSINGS = (
    "Before I come to that, I should mention that my morning in {city} began with a long walk along the canal.",
    "It reminds me of a winter when the trains were late every day and we all shared one thermos of tea.",
    "My aunt {name} used to say that a good day starts with an open window and a slice of toast.",
    "People often forget how much the light changes in {month}, especially near the coast.",
    "I once spent a whole {day} looking for a pair of gloves that were in my pocket all along.",
    "Speaking of which, the bakery around the corner has changed its opening hours again.",
    "There is a small museum in {city} with a room full of clocks, and none of them agree.",
    "I have always liked the smell of rain on warm stones, although it never lasts.",
    "{name} and I still argue about which path around the lake is shorter.",
    "Gardens need patience, and tomatoes in particular do not like to be hurried.",
    "Some say that the best season for painting a fence is late {month}, but I am not so sure.",
    "The old cinema in {city} showed the same film for nine weeks, and the seats creaked at every joke.",
    "Of course, one could also talk about the history of bridges, which is longer than most people think.",
    "On {day} evenings the neighbours play cards, and you can hear them laugh across the yard.",
    "I had a bicycle once, green with a loud bell, and it took me all the way to {city}.",
    "Tea should never be left to stand too long, as {name} told me more than once.",
    "My notebook is full of little drawings of chimneys, and I could not tell you why.",
    "The weather was mild, the dog was tired, and nobody wanted to go home yet.",
    "If you ever pass through {city}, the market by the river is worth an hour of your time.",
    "In {month} the swallows come back, and then the whole street looks up for a moment.",
    "It is strange how a song from years ago can come to mind while you are peeling potatoes.",
    "A friend of {name} collects maps of places that no longer exist, which I find rather charming.",
    "We had planned a picnic for {day}, but the blanket was still wet from the last one.",
    "That said, I have never been good at telling short stories, and my family knows it well.",
    "The lamp on my desk flickers a little, so I tend to write in the afternoon.",
    "Every house on that street has a different door, and the red one belongs to a violin maker.",
)
_BRIDGES = ("", "", "Anyway, here it is: ", "But back to the matter. ", "As for what was asked: ", "Where was I? ")


def rambling(rng: Random, reply: str) -> str:
    """The reply as it was, somewhere among 60 to 150 words about other things."""
    slots = {
        "city": rng.choice(CITIES),
        "name": rng.choice(NAMES),
        "month": rng.choice(MONTHS),
        "day": rng.choice(WEEKDAYS),
    }
    wanted = rng.randint(60, 125)
    said: list[str] = []
    for musing in rng.sample(_MUSINGS, len(_MUSINGS)):
        said.append(musing.format(**slots))
        if len(" ".join(said).split()) >= wanted:
            break
    at = rng.randint(1, len(said))
    joint = "\n" if reply.startswith("{") or "\n" in reply else " "
    stop = "." if joint == " " and reply[-1].isalnum() else ""
    buried = (" ".join(said[:at]), rng.choice(_BRIDGES).strip(), reply + stop, " ".join(said[at:]))
    return joint.join(part for part in buried if part)


_SWAPS = (  # words of instructions, never of what they are about
    ("What is ", "What's "), ("Please ", "Kindly "), ("Tell me ", "Let me know "), ("Give me ", "Get me "),
    ("following ", "folowing "), ("sentence", "sentense"), ("Convert ", "Convrt "), ("review", "reveiw"),
    ("Which ", "Wich "), ("How many", "How  many"), ("Extract ", "Exctract "), ("Correct the", "Correct teh"),
    ("Find the", "Find  the"), ("Sort these", "Sort theese"), ("number", "nubmer"),
)  # fmt: skip


def near_duplicate(rng: Random, draft: Draft) -> Draft:
    """The same conversation with one to three edits to the surface of the questions."""
    turns = list(draft.turns)
    opened = next((opener for opener in OPENERS if turns[0].startswith(opener)), "")
    closed = next((closer for closer in CLOSERS if turns[0].endswith(closer)), "")
    core = turns[0].removeprefix(opened).removesuffix(closed).lstrip()
    edits = rng.sample(("open", "close", "swap", "stop"), rng.randint(1, 3))
    if "open" in edits:
        opened = rng.choice([opener for opener in (*OPENERS, "") if opener != opened])
    if "close" in edits:
        closed = rng.choice([closer for closer in (*CLOSERS, "") if closer != closed])
    if "swap" in edits:
        found = [pair for pair in _SWAPS if pair[0] in core]
        core = core.replace(*rng.choice(found), 1) if found else core
    if "stop" in edits:
        # A stop that the reply repeats may belong to the text that is asked about.
        core = core.removesuffix(".") if core.endswith(".") and not draft.reply.endswith(".") else core + " "
    turns[0] = greeted(opened, core) + closed
    return replace(draft, turns=tuple(turns))


def exchanged(rng: Random, skills: Sequence[str], replies: Sequence[str]) -> list[int]:
    """A permutation that gives each row the reply of a row of another skill."""
    order = list(range(len(skills)))
    rng.shuffle(order)

    def misplaced(at: int) -> bool:
        return skills[at] == skills[order[at]] or replies[at] == replies[order[at]]

    while clashes := [at for at in range(len(order)) if misplaced(at)]:
        for at in clashes:
            other = rng.randrange(len(order))
            order[at], order[other] = order[other], order[at]
    return order
