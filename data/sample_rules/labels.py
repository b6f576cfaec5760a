"""Skills of the source `review-labels`: the sentiment of a review, the topic of a snippet."""

from random import Random
from typing import NamedTuple

from .draft import Draft, Skill, ask
from .words import CITIES, NAMES, WEEKDAYS, another, capitalised, listed


class _Reviewed(NamedTuple):
    """Something reviewed: how the review may begin, what may be good about it and what bad."""

    starts: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]


_REVIEWED = (
    _Reviewed(  # a restaurant
        starts=("We ate here on {day}. ", "Had lunch at this place. ", "Dinner with my family: ",
            "We tried the new bistro. ", ""),
        good=("the soup was warm and full of flavour", "the waiter was friendly and quick", "the bread was fresh",
            "prices are more than fair", "the terrace is lovely", "every dish was cooked well",
            "we felt welcome at once", "the dessert was a delight"),
        bad=("we waited an hour for our food", "the fish was cold", "the waiter was rude", "the tables were sticky",
            "portions are tiny for the price", "the music was far too loud", "the salad was old",
            "the bill was wrong twice"),
    ),
    _Reviewed(  # a hotel
        starts=("We stayed two nights in {city}. ", "Stayed here in {month}. ", "Our room faced the yard. ",
            "A weekend trip: ", ""),
        good=("the room was clean and quiet", "the bed was very comfortable", "the staff helped with everything",
            "breakfast was rich and fresh", "the view over the bay was wonderful",
            "the station is a short walk away", "check-in took two minutes", "the pool was a joy"),
        bad=("the shower never got warm", "the walls are thin and we hardly slept", "the carpet smelled of smoke",
            "nobody was at the desk", "the heating was broken", "breakfast was dry and dull",
            "they charged us for a minibar we never opened", "there was dust everywhere"),
    ),
    _Reviewed(  # a gadget
        starts=("I bought this kettle in {month}. ", "My second lamp of this brand. ",
            "Using this radio every day. ", "Got the speaker as a gift. ", "About the vacuum cleaner: ", ""),
        good=("it works perfectly", "it feels solid and well made", "the battery lasts for days",
            "it was easy to set up", "it is quiet and light", "it looks even better than in the pictures",
            "it was worth every cent", "the manual is clear"),
        bad=("it broke after a week", "the switch feels loose", "it gets far too hot",
            "the cable is much too short", "it makes an awful noise", "the colour faded within days",
            "support never answered my mails", "it arrived with scratches"),
    ),
    _Reviewed(  # a film or a book
        starts=("Saw it with {name} last night. ", "I finished the novel on {day}. ",
            "My sister recommended this one. ", "A story set in {city}. ", ""),
        good=("the plot kept me curious to the end", "the characters feel real", "the dialogue is sharp and funny",
            "the ending moved me", "the pictures are beautiful", "I would gladly go through it again",
            "the humour is warm and clever", "it is a small masterpiece"),
        bad=("the plot makes no sense", "I was bored after ten minutes", "the jokes fall flat",
            "the ending is lazy", "the characters are hard to tell apart", "it drags on and on",
            "I nearly fell asleep", "half of it is padding"),
    ),
    _Reviewed(  # a delivery
        starts=("Ordered on {day}. ", "My parcel to {city}: ", "Third order from this shop. ",
            "Bought a coat online. ", ""),
        good=("it arrived a day early", "everything was packed with care", "the size fits just right",
            "the exchange was quick and free", "the courier was polite", "the fabric feels soft and warm",
            "the price was lower than elsewhere", "they answered my question within an hour"),
        bad=("the box was crushed", "it came ten days late", "they sent the wrong colour", "two parts were missing",
            "the refund took a month", "the seams came apart", "the tracking page never worked",
            "the zip jammed at once"),
    ),
    _Reviewed(  # a course
        starts=("I took the evening class in {month}. ", "{name} and I joined the course. ",
            "A swimming course for beginners. ", "About the language class: ", ""),
        good=("the teacher explains things clearly", "the group was small and friendly", "I learned a great deal",
            "the exercises are well chosen", "there was time for every question", "the rooms are bright and modern",
            "the handouts are excellent", "I looked forward to each lesson"),
        bad=("lessons started late every time", "the teacher read from slides", "the group was far too large",
            "nothing was explained properly", "the room was freezing", "half the lessons were cancelled",
            "I learned next to nothing", "the exercises were full of mistakes"),
    ),
)  # fmt: skip
_MONTH = ("January", "March", "April", "June", "August", "October", "December")
_SAME = ("{A}, and {b}.", "{A}. {B}.", "{A}. Also, {b}.", "{A}. On top of that, {b}.", "{A} and {b}.")
_OPPOSED = (
    "{A}, but {b}.", "{A}. However, {b}.", "{A}. On the other hand, {b}.", "{A}, although {b}.", "{A}, yet {b}.",
)  # fmt: skip

_SENTIMENT = (
    ("Is this review positive, negative or mixed? {text}", "The review is {label}."),
    ("Classify the sentiment (positive, negative, mixed): {text}", "{label}"),
    ("Review: {text}\nSentiment:", "{label}"),
    ("Read the review and label it as positive, negative or mixed.\n\n{text}", "{Label}"),
    ("How does the writer feel? Answer positive, negative or mixed.\n{text}", "{Label}"),
    ("\"{text}\"\nWhat is the sentiment of this text?", "The sentiment is {label}."),
    ("Tell me in one word whether this customer is positive, negative or mixed: {text}", "{label}"),
    ("A customer wrote: \"{text}\" Would you call that positive, negative or mixed?", "I would call it {label}."),
    ("Label this opinion and say why. {text}", "{Label}, because the writer says that {why}."),
    ("Judge the tone of the following feedback and give a reason: {text}", "The tone is {label}: {why}."),
    ("{text}\n\nWas this customer happy? Explain in a sentence.", "The feedback is {label}, as it says that {why}."),
    ("Summarise the review in a few words and give its sentiment.\n{text}", "{Why}. Sentiment: {label}."),
    ("What does the writer find? Positive, negative or mixed? {text}", "They find that {why}. That is {label}."),
    ("Sort this comment into positive, negative or mixed. Comment: {text}", "It belongs to {label}."),
    ("Give the sentiment of the review below.\n{text}", "{Label}"),
)  # fmt: skip


def sentiment(rng: Random) -> Draft:
    """A review of one or two points: all good, all bad, or one of each."""
    starts, good, bad = rng.choice(_REVIEWED)
    label = rng.choice(("positive", "negative", "positive", "negative", "mixed"))
    if label == "mixed":
        points = rng.sample((rng.choice(good), rng.choice(bad)), 2)
        joined = rng.choice(_OPPOSED)
    else:
        points = rng.sample(good if label == "positive" else bad, 3)[: rng.choice((1, 2, 2, 3, 3))]
        joined = ("{A}.", rng.choice(_SAME), rng.choice(_SAME).removesuffix(".") + ". {C}.")[len(points) - 1]
    start = rng.choice(starts).format(
        day=rng.choice(WEEKDAYS), city=rng.choice(CITIES), month=rng.choice(_MONTH), name=rng.choice(NAMES)
    )
    a, b, c = (*points, "", "")[:3]
    text = start + joined.format(A=capitalised(a), b=b, B=capitalised(b), C=capitalised(c))
    why = " and ".join(points[:2])
    wrong = another(rng, ("positive", "negative", "mixed"), than=label)
    return ask(rng, _SENTIMENT, text, {"text": text}, _labelled(label, why), _labelled(wrong, why))


def _labelled(label: str, why: str) -> dict[str, object]:
    return {"label": label, "Label": capitalised(label), "why": why, "Why": capitalised(why)}


_SNIPPETS = {
    "sports": (
        "{name} scored {n} points as {city} beat {city2} in the {round}.",
        "The coach of {city} will rest {name} for the match against {city2} on {day}.",
        "After {n} kilometres, {name} crossed the finish line first in the {city} marathon.",
        "{city} signed goalkeeper {name} for {n} million after a strong season.",
        "A knee injury keeps {name} out of the team until the {round}.",
        "{name} won the {round} in {city} in straight sets.",
    ),
    "business": (
        "Shares of the {city} firm fell by {n} percent after weak sales in {month}.",
        "The company will open {n} new shops and hire staff in {city} from {month}.",
        "{name}, head of the {city} bank, expects lower interest rates by {month}.",
        "A merger of two suppliers from {city} and {city2} was approved on {day}.",
        "Profits at the airline grew to {n} million, its owners in {city} said.",
        "The start-up founded by {name} raised {n} million from investors in {city}.",
    ),
    "cooking": (
        "Simmer the lentils for {n} minutes, then stir in {food} and a pinch of salt.",
        "{name}'s recipe from {city} calls for {n} cloves of garlic and fresh {food}.",
        "Fold the {food} into the batter and bake it for {n} minutes until golden.",
        "Roast the {food} with olive oil, and serve it with the {city} style sauce.",
        "Let the dough rest for {n} minutes before you spread the {food} on it.",
        "For the soup, chop {n} onions and fry them gently with {food}.",
    ),
    "travel": (
        "From {city}, a night train takes you to {city2} in {n} hours.",
        "Visitors to {city} should book a guided walk through the old town before {month}.",
        "{name} spent {n} days hiking along the coast near {city}.",
        "The ferry between {city} and {city2} runs daily until {month}.",
        "A quiet guest house in {city} makes a good base for day trips to {city2}.",
        "Pack light: the airline allows only {n} kg of luggage on flights to {city}.",
    ),
    "weather": (
        "Heavy rain is expected in {city} on {day}, with up to {n} mm by evening.",
        "Temperatures in {city} will drop to {n} degrees under a clear sky.",
        "A storm from the west reaches {city} on {day} and brings strong gusts.",
        "Fog in the morning, then sunshine and {n} degrees around {city}.",
        "Snow fell in {city} in {month}, the first in {n} years.",
        "{day} stays dry in {city}, while showers move on towards {city2}.",
    ),
    "music": (
        "The {city} orchestra opens its season on {day} with {name} at the piano.",
        "{name} recorded {n} new songs for an album due in {month}.",
        "The choir sang in {city} for {n} listeners and closed with an old ballad.",
        "On tour in {month}, {name} plays guitar in {city} and {city2}.",
        "The band from {city} cancelled its concert on {day} because the drummer was ill.",
        "Violinist {name} performs a sonata in {city} in {month}.",
    ),
    "health": (
        "Doctors in {city} advise {n} minutes of brisk walking each day.",
        "The clinic in {city} offers free blood pressure checks on {day}.",
        "A study with {n} patients found that the vaccine protects well.",
        "Nurse {name} explains how to treat a mild fever at home.",
        "Hospitals in {city} reported {n} cases of the flu in {month}.",
        "Regular sleep lowers stress, says doctor {name} from {city}.",
    ),
    "education": (
        "The school in {city} gives every pupil a laptop from {month}.",
        "{name} teaches history to a class of {n} pupils in {city}.",
        "Exams at the university of {city} begin on {day}.",
        "A grant lets {n} students from {city} spend a term in {city2}.",
        "Parents in {city} asked for smaller classes and more teachers by {month}.",
        "{name} passed the final exam and received a diploma in {city}.",
    ),
}  # fmt: skip
_FOODS = ("spinach", "tomatoes", "mushrooms", "carrots", "peppers", "parsley", "almonds", "pumpkin", "leeks", "basil")
_ROUNDS = ("final", "semi-final", "first round", "cup match", "opening game", "second round")

_TOPIC = (
    ("Which topic fits this text best: {labels}? {text}", "{label}"),
    ("Classify the text as {labels}.\n\n{text}", "{label}"),
    ("Text: {text}\nTopics: {labels}\nTopic:", "{label}"),
    ("Choose one category ({labels}) for this sentence: {text}", "The category is {label}."),
    ("{text} Is this about {labels}?", "This is about {label}."),
    ('Under which heading would a newspaper print this, {labels}? "{text}"', "Under {label}."),
    ("Assign a topic to the following message. Options: {labels}.\n{text}", "{Label}"),
    ('Read this: "{text}" What is it about? Pick from {labels}.', "It is about {label}."),
    ("What is the subject of this snippet, {labels}? {text}", "The subject is {label}."),
    ("File this note under {labels}: {text}", "File it under {label}."),
    ("Please tag this line with one of {labels}.\n{text}", "{Label}"),
    ("Our archive has the sections {labels}. Where does this go? {text}", "It goes into the section {label}."),
)


def topic(rng: Random) -> Draft:
    """A news-like line and a few topics to choose from."""
    label = rng.choice(tuple(_SNIPPETS))
    others = rng.sample([name for name in _SNIPPETS if name != label], rng.randint(2, 4))
    city, city2 = rng.sample(CITIES, 2)
    snippets = rng.sample(_SNIPPETS[label], rng.choice((1, 2, 2)))
    text = " ".join(snippets).format(
        name=rng.choice(NAMES), city=city, city2=city2, n=rng.randint(3, 48), day=rng.choice(WEEKDAYS),
        month=rng.choice(_MONTH), food=rng.choice(_FOODS), round=rng.choice(_ROUNDS),
    )  # fmt: skip
    labels = listed(rng.sample((label, *others), len(others) + 1), "or")
    given = {"text": text, "labels": labels}
    right, wrong = ({"label": name, "Label": capitalised(name)} for name in (label, others[0]))
    return ask(rng, _TOPIC, text, given, right, wrong)


SKILLS = (
    Skill("sentiment", "review-labels", 130, sentiment, ("You label customer reviews for a shop.",)),
    Skill("topic", "review-labels", 95, topic, ("You sort news items into sections.",)),
)
