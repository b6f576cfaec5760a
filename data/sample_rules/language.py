"""Skills of the source `language-drills`: grammar, opposites, the past tense."""

from random import Random

from .draft import Draft, Skill, ask
from .words import CITIES, JOBS, NAMES, THINGS, another, capitalised, with_article

_SINGULAR = ("She", "He", "My sister", "The teacher", "Our neighbour", "The old man", "My father", "The girl")
_PLURAL = ("They", "We", "My friends", "The children", "Our neighbours", "The workers", "Both girls")
_HABITS = (  # base form, form after he or she, the rest
    ("walk", "walks", "to school every day"), ("play", "plays", "football on Sundays"),
    ("like", "likes", "fresh bread"), ("go", "goes", "to bed at ten"), ("watch", "watches", "the news at night"),
    ("live", "lives", "in {city}"), ("work", "works", "in a bank"), ("read", "reads", "two books a month"),
    ("need", "needs", "a new phone"), ("visit", "visits", "{city} every summer"),
    ("speak", "speaks", "three languages"), ("drink", "drinks", "green tea"),
    ("sell", "sells", "{things} at the market"), ("know", "knows", "the way to {city}"),
    ("take", "takes", "the bus home"),
)  # fmt: skip
_PAST = (  # base form, past form, the rest
    ("go", "went", "to the market"), ("buy", "bought", "some {things}"), ("see", "saw", "a fox in the garden"),
    ("write", "wrote", "a letter to {name}"), ("eat", "ate", "lunch in {city}"), ("find", "found", "an old map"),
    ("lose", "lost", "the tickets"), ("drive", "drove", "to {city}"), ("meet", "met", "{name} at the station"),
    ("take", "took", "the train to {city}"), ("forget", "forgot", "the keys at home"), ("sing", "sang", "two songs"),
    ("walk", "walked", "to the lake"), ("cook", "cooked", "rice for {name}"), ("paint", "painted", "the garden door"),
    ("clean", "cleaned", "the kitchen"), ("call", "called", "{name} after work"), ("open", "opened", "the window"),
    ("wait", "waited", "for the bus"), ("bake", "baked", "a cake for {name}"), ("wash", "washed", "the car"),
    ("give", "gave", "the book to {name}"), ("swim", "swam", "in the sea near {city}"), ("teach", "taught", "a class"),
    ("carry", "carried", "the boxes upstairs"), ("bring", "brought", "{things} for everyone"),
)  # fmt: skip
_MANNER = (
    ("sings", "beautiful", "beautifully"), ("drives", "careful", "carefully"), ("speaks", "quiet", "quietly"),
    ("writes", "clear", "clearly"), ("runs", "quick", "quickly"), ("works", "slow", "slowly"),
    ("answered", "polite", "politely"), ("waited", "patient", "patiently"), ("played", "bad", "badly"),
)  # fmt: skip
_COMPARED = (
    ("longer", "This road"), ("cheaper", "The train"), ("colder", "The water in {city}"), ("older", "My house"),
    ("faster", "{name}'s bike"), ("taller", "Her brother"), ("warmer", "This coat"), ("heavier", "The blue box"),
)  # fmt: skip
_WHO = ("I", "We", "{name}", "The teacher", "My brother", "They")


def _faulty(rng: Random) -> tuple[str, str, str]:
    """A sentence with one mistake, the sentence without it, and the reason."""
    kind = rng.randrange(9)
    if kind == 0:
        base, form, rest = rng.choice(_HABITS)
        who = rng.choice((*_SINGULAR, "{name}"))
        return f"{who} {base} {rest}.", f"{who} {form} {rest}.", f"after one person the verb is '{form}'"
    if kind == 1:
        base, form, rest = rng.choice(_HABITS)
        who = rng.choice(_PLURAL)
        return f"{who} {form} {rest}.", f"{who} {base} {rest}.", f"after several people the verb is '{base}'"
    if kind == 2:
        base, past, rest = rng.choice(_PAST)
        when, who = rng.choice(("Yesterday", "Last week", "Two days ago")), rng.choice(("I", "we", "they", "{name}"))
        return f"{when} {who} {base} {rest}.", f"{when} {who} {past} {rest}.", f"the past of '{base}' is '{past}'"
    if kind == 3:
        number = rng.choice(("two", "three", "five", "many", "several"))
        who, verb = rng.choice(_WHO), rng.choice(("bought", "found", "lost", "sold"))
        right = f"{who} {verb} {number} {{things}}."
        return right.replace("{things}", "{thing}"), right, f"'{number}' needs the plural"
    if kind == 4:
        noun = rng.choice((*JOBS, "actor", "artist", "architect", "electrician", "old driver", "eager pupil"))
        correct = with_article(noun)
        false = f"{'a' if correct.startswith('an ') else 'an'} {noun}"
        who = rng.choice(("My aunt", "{name}", "Her uncle", "His friend", "The man from {city}"))
        article = correct.split()[0]
        return f"{who} is {false}.", f"{who} is {correct}.", f"before '{noun}' the article is '{article}'"
    if kind == 5:
        verb, adjective, adverb = rng.choice(_MANNER)
        who = rng.choice((*_SINGULAR, "{name}"))
        return f"{who} {verb} very {adjective}.", f"{who} {verb} very {adverb}.", f"a verb takes '{adverb}'"
    if kind == 6:
        more, what = rng.choice(_COMPARED)
        rest = rng.choice(("than I thought", "than we expected", "than you said", "than people think"))
        return f"{what} is more {more} {rest}.", f"{what} is {more} {rest}.", f"'{more}' does not need 'more'"
    if kind == 7:
        who, rest = (
            rng.choice(_PLURAL),
            rng.choice(("late for the train", "in {city} last year", "very tired", "at home")),
        )
        return f"{who} was {rest}.", f"{who} were {rest}.", "the plural takes 'were'"
    base, _, rest = rng.choice(_HABITS)
    who = rng.choice((*_SINGULAR, "{name}"))
    return f"{who} don't {base} {rest}.", f"{who} doesn't {base} {rest}.", "one person takes 'doesn't'"


_GRAMMAR = (
    ("Correct the grammar: {faulty}", "{fixed}"),
    ("Fix the mistake in this sentence.\n{faulty}", "{fixed}"),
    ("Is this sentence right? If not, correct it. {faulty}", "It should be: {fixed}"),
    ('Please proofread: "{faulty}"', "{fixed}"),
    ("Sentence: {faulty}\nCorrected sentence:", "{fixed}"),
    ("Rewrite this in correct English. {faulty}", "{fixed}"),
    ('My pupil wrote "{faulty}" What should it be?', "It should be: {fixed}"),
    ("Find the error and explain it: {faulty}", "{fixed} The reason: {reason}."),
    ("Improve the grammar of the following line and name the rule.\n\n{faulty}", "{fixed} The reason: {reason}."),
    ('I am learning English. Is "{faulty}" correct?', "Not quite. Write: {fixed}"),
    ("There is one mistake here: {faulty} Please repair it.", "{fixed}"),
    ("Edit for grammar only: {faulty}", "{fixed}"),
)


def grammar(rng: Random) -> Draft:
    """A sentence with one mistake to correct; the wrong answer leaves the mistake where it is."""
    faulty, fixed, reason = _faulty(rng)
    things = rng.choice([word for word in THINGS if not word.endswith("es")])
    slots = {"name": rng.choice(NAMES), "city": rng.choice(CITIES), "things": things, "thing": things.removesuffix("s")}
    faulty, fixed = faulty.format(**slots), fixed.format(**slots)
    return ask(rng, _GRAMMAR, fixed, {"faulty": faulty, "reason": reason}, {"fixed": fixed}, {"fixed": faulty})


_OPPOSITES = (  # both words and nouns that either may describe
    ("hot", "cold", ("soup", "bath", "kitchen", "drink")), ("old", "new", ("bridge", "car", "phone", "map")),
    ("heavy", "light", ("bag", "parcel", "table", "coat")), ("long", "short", ("letter", "road", "film", "rope")),
    ("wide", "narrow", ("street", "river", "door", "path")), ("clean", "dirty", ("window", "shirt", "floor", "cup")),
    ("cheap", "expensive", ("hotel", "ticket", "camera", "lunch")), ("wet", "dry", ("shirt", "towel", "road", "coat")),
    ("loud", "quiet", ("room", "street", "engine", "hall")), ("full", "empty", ("bottle", "train", "basket", "box")),
    ("early", "late", ("train", "bus", "guest", "answer")), ("firm", "soft", ("bed", "pillow", "brush", "chair")),
    ("easy", "difficult", ("exam", "question", "task", "game")),
    ("safe", "dangerous", ("path", "bridge", "road", "job")), ("open", "closed", ("shop", "window", "gate", "museum")),
    ("bright", "dark", ("room", "hall", "street", "corner")), ("fast", "slow", ("train", "horse", "boat", "computer")),
    ("deep", "shallow", ("lake", "river", "pool", "bowl")), ("strong", "weak", ("coffee", "wind", "rope", "signal")),
    ("thick", "thin", ("book", "wall", "coat", "carpet")), ("high", "low", ("wall", "bridge", "fence", "price")),
    ("rough", "smooth", ("stone", "wall", "road", "board")),
)  # fmt: skip
_FRAMES = (
    "The {noun} was {word}.", "{name} thought that the {noun} was {word}.", "We did not expect {a} {noun}.",
    "The {noun} in {city} is {word}.", "{name} said the {noun} looked {word}.", "It was {a} {noun}.",
    "This {noun} is too {word} for {name}.", "Everyone remembers {a} {noun}.",
)  # fmt: skip
_ANTONYM = (
    ('Replace "{word}" with its opposite: {text}', "{turned}"),
    ("Say the opposite. {text}", "{turned}"),
    ("Rewrite the sentence with the antonym of {word}. {text}", "{turned}"),
    ("{text} Swap the adjective for its opposite.", "{turned}"),
    ('What is the opposite of "{word}" in this sentence? {text}', 'The opposite is "{other}": {turned}'),
    ("Change one word so that this means the contrary: {text}", "{turned}"),
    ("Give me the antonym of {word} and use it here: {text}", 'The antonym is "{other}". {turned}'),
    ("Sentence: {text}\nSentence with the opposite adjective:", "{turned}"),
    ("Turn the meaning around: {text}", "{turned}"),
    ("I need the contrary of this statement. {text}", "{turned}"),
)


def antonym(rng: Random) -> Draft:
    """A sentence whose adjective is exchanged for its opposite; the wrong answer takes an unrelated adjective."""
    one, two, nouns = rng.choice(_OPPOSITES)
    word, other = rng.sample((one, two), 2)
    stray = another(rng, [pair[0] for pair in _OPPOSITES], than=one)
    frame, noun = rng.choice(_FRAMES), rng.choice(nouns)
    slots = {"noun": noun, "name": rng.choice(NAMES), "city": rng.choice(CITIES)}
    text, turned, false = (
        capitalised(frame.format(word=adjective, a=with_article(adjective), **slots)) for adjective in (word, other, stray)
    )
    given = {"word": word, "text": text}
    return ask(rng, _ANTONYM, text, given, {"other": other, "turned": turned}, {"other": stray, "turned": false})


_TENSE = (
    ("Put this sentence into the past: {text}", "{past}"),
    ("Rewrite in the past tense. {text}", "{past}"),
    ("{text} How would you say that about last year?", "{past}"),
    ("Change the verb to the past form.\n{text}", "{past}"),
    ("Present: {text}\nPast:", "{past}"),
    ("Tell it as if it had already happened: {text}", "{past}"),
    ('What is the past tense of this sentence? "{text}"', "In the past tense: {past}"),
    ("A drill: turn the present into the past. {text}", "{past}"),
    ('My exercise says "{text}" and asks for the past tense.', "The answer is: {past}"),
    ("Please convert the sentence from present to past. {text}", "{past}"),
    ('Write "{text}" in simple past.', "{past}"),
)


def past_tense(rng: Random) -> Draft:
    """A sentence to put into the past; the wrong answer puts it into the future."""
    base, past, rest = rng.choice(_PAST)
    slots = {"name": rng.choice(NAMES), "city": rng.choice(CITIES), "things": rng.choice(THINGS)}
    who = rng.choice(("I", *_PLURAL))
    often = rng.choice(("", " often", " sometimes", " always"))
    verbs = (f"{often} {base}", f"{often} {past}", f" will{often} {base}")
    text, turned, future = (f"{who}{verb} {rest}.".format(**slots) for verb in verbs)
    return ask(rng, _TENSE, text, {"text": text}, {"past": turned}, {"past": future})


SKILLS = (
    Skill("grammar", "language-drills", 60, grammar, ("You correct English sentences for learners.",)),
    Skill("antonym", "language-drills", 8, antonym, ("You help with vocabulary.",)),
    Skill("past_tense", "language-drills", 6, past_tense, ("You teach English verbs.",)),
)
