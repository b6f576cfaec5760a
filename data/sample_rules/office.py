"""Skills of the source `office-tasks`: extraction to JSON, dates, weekdays, small tables, polite wording."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

from .draft import Draft, Skill, ask
from .words import (
    CITIES,
    JOBS,
    MONTHS,
    NAMES,
    SURNAMES,
    THINGS,
    WEEKDAYS,
    capitalised,
    clock,
    listed,
    with_article,
)

Record = dict[str, str | int]

_PLACES = ("library", "town hall", "main office", "museum", "school gym", "harbour cafe", "city park", "lecture hall")
_EVENTS = (
    "book sale", "spring concert", "team meeting", "chess evening", "first aid course", "garden tour", "board meeting",
    "poetry reading", "staff lunch", "fire drill", "art workshop", "job fair",
)  # fmt: skip


def _order(rng: Random) -> Record:
    return {"customer": rng.choice(NAMES), "item": rng.choice(THINGS), "quantity": rng.randint(2, 60),
            "price": rng.randint(3, 99)}  # fmt: skip


def _booking(rng: Random) -> Record:
    return {"name": rng.choice(SURNAMES), "guests": rng.randint(2, 12), "day": rng.choice(WEEKDAYS), "time": clock(rng)}


def _event(rng: Random) -> Record:
    return {"event": rng.choice(_EVENTS), "place": rng.choice(_PLACES), "time": clock(rng),
            "date": f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"}  # fmt: skip


def _person(rng: Random) -> Record:
    return {"name": f"{rng.choice(NAMES)} {rng.choice(SURNAMES)}", "age": rng.randint(19, 67), "job": rng.choice(JOBS),
            "city": rng.choice(CITIES)}  # fmt: skip


def _parcel(rng: Random) -> Record:
    return {"sender": rng.choice(SURNAMES), "parcel": f"{rng.choice('ABCDEFGH')}{rng.randint(100, 999)}",
            "weight_kg": rng.randint(1, 30), "city": rng.choice(CITIES)}  # fmt: skip


def _train(rng: Random) -> Record:
    start, end = rng.sample(CITIES, 2)
    return {"from": start, "to": end, "departure": clock(rng), "platform": rng.randint(1, 18)}


_RECORDS: tuple[tuple[Callable[[Random], Record], tuple[str, ...]], ...] = (
    (_order, (
        "{customer} ordered {quantity} {item} for {price} dollars.",
        "We sold {quantity} {item} to {customer}; the invoice is over {price} dollars.",
        "Invoice for {customer}: {quantity} {item}, total {price} dollars.",
    )),
    (_booking, (
        "Table for {guests} on {day} at {time}, booked by {name}.",
        "This is {name}. I would like to reserve for {guests} people on {day}, {time}.",
        "{day} at {time} works for us. We will be {guests}, please book it for {name}.",
    )),
    (_event, (
        "The {event} takes place in the {place} on {date} at {time}.",
        "Join us on {date} for the {event}! Doors of the {place} open at {time}.",
        "Reminder: {event}, {date}, {time}, {place}.",
    )),
    (_person, (
        "{name}, {age}, lives in {city} and works as a {job}.",
        "Our new {job} is {name} from {city}, who is {age} years old.",
        "At the age of {age}, {name} moved to {city} to work as a {job}.",
    )),
    (_parcel, (
        "Parcel {parcel} from {sender} weighs {weight_kg} kg and goes to {city}.",
        "{sender} sends {weight_kg} kg to {city}, parcel number {parcel}.",
        "To {city}: parcel {parcel}, {weight_kg} kg, sender {sender}.",
    )),
    (_train, (
        "The train from {from} to {to} leaves at {departure} from platform {platform}.",
        "Platform {platform}: departure {departure} from {from}, final stop {to}.",
        "To get to {to}, take the {departure} from {from}, platform {platform}.",
    )),
)  # fmt: skip
_EXTRACT = (
    ("Extract {keys} as JSON: {text}", "{json}"),
    ("Turn this note into a JSON object with the keys {keys}.\n{text}", "{json}"),
    ("{text}\n\nReturn JSON with {keys}.", "{json}"),
    ("Read the message and fill in {keys}. Format: JSON.\nMessage: {text}", "{json}"),
    ('Give me {keys} from this text in JSON: "{text}"', "{json}"),
    ("Text: {text}\nFields: {keys}\nJSON:", "{json}"),
    ("I need {keys} for our database. Write them as JSON. {text}", "{json}"),
    ("Parse the sentence below. Output only JSON ({keys}).\n\n{text}", "{json}"),
    ("Which {keys} are mentioned? Answer as a JSON object. {text}", "{json}"),
    ("Convert to JSON, keys {keys}: {text}", "{json}"),
    ("Please pull {keys} out of this line and reply in JSON.\n{text}", "{json}"),
    ("Structure this information as JSON using {keys}. {text}", "{json}"),
)


_ASIDES = (
    "Please confirm.", "Sorry for the late message.", "Thank you for your help last week.", "Nothing else has changed.",
    "I will send the details later.", "The form is attached.", "As we said on the phone.", "More news will follow.",
    "Please pass this on.", "This replaces my last note.",
)  # fmt: skip


def extraction_json(rng: Random) -> Draft:
    """A one-line record and the fields wanted of it; in the wrong answer one field belongs to another record."""
    draw, wordings = rng.choice(_RECORDS)
    record, stray = draw(rng), draw(rng)
    text = capitalised(_with_articles(rng.choice(wordings), record))
    if rng.random() < 0.6:
        text = rng.choice((f"{text} {rng.choice(_ASIDES)}", f"{rng.choice(_ASIDES)} {text}"))
    wanted = rng.sample(list(record), rng.choice((2, 3, 3, 4)))
    right = {key: record[key] for key in wanted}
    slipped = rng.choice(wanted)
    while stray[slipped] == record[slipped]:
        stray = draw(rng)
    wrong = right | {slipped: stray[slipped]}
    given = {"text": text, "keys": listed(wanted)}
    return ask(rng, _EXTRACT, text, given, {"json": json.dumps(right)}, {"json": json.dumps(wrong)})


def _with_articles(wording: str, record: Record) -> str:
    if "job" in record:
        wording = wording.replace("as a {job}", f"as {with_article(str(record['job']))}")
    return wording.format(**record)


_Written = Callable[[date], str]
_DATE_STYLES: tuple[_Written, ...] = (
    lambda day: f"{day.day} {MONTHS[day.month - 1]} {day.year}",
    lambda day: f"{MONTHS[day.month - 1]} {day.day}, {day.year}",
    lambda day: day.isoformat(),
)
_SHIFT = (
    ("What is the date {count} {unit} {way} {start}?", "{end}"),
    ("Which date is {count} {unit} {way} {start}?", "It is {end}."),
    ("{start}: what is the date {count} {unit} {side}?", "{end}"),
    ("Count {count} {unit} {onwards} from {start}.", "That gives {end}."),
    ("Take {start} and go {count} {unit} {onwards}. Where do you land?", "You land on {end}."),
    ("An invoice is dated {start}. Give the date {count} {unit} {side}.", "{end}"),
    ("I need the date that lies {count} {unit} {way} {start}.", "That is {end}."),
    ("Find the day {count} {unit} {way} {start}, same format.", "{end}"),
    ("If today is {start}, what date is it {count} {unit} {side}?", "The date is {end}."),
    ("Our deadline was set {count} {unit} {way} {start}. When is it?", "The deadline is {end}."),
    ("Please calculate: {start}, {count} {unit} {onwards}.", "{end}"),
    ("Move {start} {count} {unit} {onwards} and say it in a sentence.", "{count} {unit} {way} {start} it is {end}."),
    ("I have a visit on {start} and one {count} {unit} {side}. When?", "{count} {unit} {way} {start} is {end}."),
)
_SPAN = (
    ("How many days are there from {start} to {end}?", "There are {count} days."),
    ("Count the days between {start} and {end}.", "{count}"),
    ("Our holiday starts on {start} and ends on {end}. How many days later is that?", "It is {count} days later."),
    ("Number of days from {start} until {end}?", "{count} days"),
    ("A parcel left on {start} and arrived on {end}. How many days did it take?", "It took {count} days."),
)


def date_arithmetic(rng: Random) -> Draft:
    """A date some days or weeks away, or the days between two dates; the wrong answer miscounts."""
    written = rng.choice(_DATE_STYLES)
    start = date(2019, 1, 1) + timedelta(days=rng.randrange(3000))
    if rng.random() < 0.25:
        days = rng.randint(3, 45)
        given: dict[str, object] = {"start": written(start), "end": written(start + timedelta(days=days))}
        off = days + rng.choice((-2, -1, 1, 2, 10))
        return ask(rng, _SPAN, f"{start} {days}", given, {"count": days}, {"count": off})
    unit, count = rng.choice((("days", rng.randint(2, 40)), ("days", rng.randint(2, 14)), ("weeks", rng.randint(2, 6))))
    later = rng.random() < 0.7
    days = (count if unit == "days" else 7 * count) * (1 if later else -1)
    way, side, onwards = ("after", "later", "forward") if later else ("before", "earlier", "back")
    given = {"start": written(start), "count": count, "unit": unit, "way": way, "side": side, "onwards": onwards}
    off = days + rng.choice((-7, -2, -1, 1, 2, 7, 30))
    right, wrong = (written(start + timedelta(days=shift)) for shift in (days, off))
    return ask(rng, _SHIFT, f"{start} {days}", given, {"end": right}, {"end": wrong})


_WEEKDAY = (
    ("Today is {start}. Which weekday is it {count} days {side}?", "{end}"),
    ("If it is {start} now, what day is it {count} days {side}?", "It is {end}."),
    ("What weekday comes {count} days {way} a {start}?", "{end}"),
    ("The meeting was on a {start}. It moves to {count} days {side}. Which day is that?", "That is a {end}."),
    ("{start}, {count} days {side}: which day of the week?", "{end}"),
    ("Name the day of the week {count} days {way} {start}.", "It is {end}."),
    ("{count} days {way} {start} is which weekday?", "{count} days {way} {start} is {end}."),
    ("Our shop takes stock {count} days {way} {start}. Tell me the weekday.", "The weekday is {end}."),
    ("Start at {start} and count {count} days {onwards}. Which weekday do you reach?", "You reach {end}."),
    ("Suppose today is a {start}. Give the weekday {count} days {side}.", "{end}"),
    ("I was born on a {start}, my cousin {count} days {side}. On which weekday was that?", "That was on a {end}."),
    ("What day is it {count} days {way} {start}? Show how you count.", "{working}, so it is {end}."),
    ("Work out the weekday {count} days {way} a {start} and explain.", "{working}. The answer is {end}."),
)


def weekday(rng: Random) -> Draft:
    """The day of the week some days away."""
    start, count = rng.randrange(7), rng.randint(2, 60)
    later = rng.random() < 0.7
    end = (start + (count if later else -count)) % 7
    way, side, onwards = ("after", "later", "forward") if later else ("before", "earlier", "back")
    weeks, rest = divmod(count, 7)
    working = f"{count} days are {weeks} {'week' if weeks == 1 else 'weeks'} and {rest} {'day' if rest == 1 else 'days'}"
    given = {"start": WEEKDAYS[start], "count": count, "way": way, "side": side, "onwards": onwards, "working": working}
    wrong = WEEKDAYS[(end + rng.choice((1, 2, 5, 6))) % 7]
    return ask(rng, _WEEKDAY, f"{start} {count} {later}", given, {"end": WEEKDAYS[end]}, {"end": wrong})


# What the rows are, what the column holds and in which unit, the rows to draw from, the range of the values.
_TABLES = (
    ("item", "price", "dollars", ("tea", "coffee", "juice", "soup", "salad", "bread", "cake", "milk", "soda"), (2, 19)),
    ("product", "stock", "pieces", ("pens", "folders", "lamps", "chairs", "desks", "cables", "staplers"), (3, 90)),
    ("city", "temperature", "degrees", CITIES, (4, 34)),
    ("room", "capacity", "seats", ("Amber", "Cedar", "Delta", "Maple", "Ruby", "Willow", "Birch", "Pearl"), (6, 80)),
    ("player", "score", "points", NAMES, (5, 99)),
    ("employee", "extension", "", NAMES, (101, 499)),
    ("team", "score", "points", ("Falcons", "Rovers", "Comets", "Tigers", "Harriers", "Giants", "Pilots"), (1, 30)),
)  # fmt: skip
_CELL = (
    ("{table}\n\nWhat is the {column} for {row}?", "{value}"),
    ("Use the table to answer.\n{table}\nQuestion: which {column} is listed for {row}?", "{value}"),
    ("{table}\nLook up {row} and tell me the {column}.", "The {column} for {row} is {value}."),
    ("Here is a small table:\n{table}\nPlease read off the {column} of {row}.", "The {column} of {row} is {value}."),
    ("Given this data, what is the {column} of {row}?\n{table}", "{row}: {value}"),
    ("Find the {column} of {row}.\n\n{table}", "{value}"),
)
_ROW = (
    ("{table}\n\nWhich {key} has the {column} {value}?", "{row}"),
    ("{table}\nThe {column} is {value}. Name the {key}.", "The {key} is {row}."),
    ("In the table below, find the {key} with {column} {value}.\n{table}", "{row}"),
    ("Which {key} is listed with {value}?\n{table}", "It is {row}."),
)
_EXTREME = (
    ("{table}\n\nWhich {key} has the {most} {column}?", "{row}"),
    ("{table}\nName the {key} with the {most} {column} and give the value.", "{row}, with {value}."),
    ("Look at this list and tell me the {key} with the {most} {column}.\n{table}", "It is {row} with {value}."),
    ("Which {key} comes out with the {most} {column}?\n{table}", "{row} has the {most} {column}, {value}."),
)


def table_lookup(rng: Random) -> Draft:
    """A table of three to five rows: the value of a row, the row of a value, or the extreme."""
    key, column, unit, names, (least, most) = rng.choice(_TABLES)
    rows = rng.sample(names, rng.randint(3, 5))
    values = rng.sample(range(least, most + 1), len(rows))
    table = rng.choice((_piped, _comma, _colon))(key, column, list(zip(rows, values, strict=True)))
    kind = rng.choice((_CELL, _CELL, _ROW, _EXTREME))
    if kind is _EXTREME and column == "extension":
        kind = _CELL
    largest = rng.random() < 0.5
    at = values.index(max(values) if largest else min(values)) if kind is _EXTREME else rng.randrange(len(rows))
    off = (at + rng.randint(1, len(rows) - 1)) % len(rows)

    def cell(index: int) -> dict[str, object]:
        return {"row": rows[index], "value": values[index]}

    given = {"table": table, "key": key, "column": column, "most": "highest" if largest else "lowest"}
    if kind is _CELL:
        shown = f" {unit}".rstrip()
        said = {index: {"value": f"{values[index]}{shown}"} for index in (at, off)}
        return ask(rng, _CELL, table, {**given, "row": rows[at]}, said[at], said[off])
    if kind is _ROW:
        return ask(rng, _ROW, table, {**given, "value": values[at]}, {"row": rows[at]}, {"row": rows[off]})
    return ask(rng, _EXTREME, table, given, cell(at), cell(off))


def _piped(key: str, column: str, rows: list[tuple[str, int]]) -> str:
    return "\n".join([f"| {key} | {column} |", "|---|---|", *(f"| {row} | {value} |" for row, value in rows)])


def _comma(key: str, column: str, rows: list[tuple[str, int]]) -> str:
    return "\n".join([f"{key},{column}", *(f"{row},{value}" for row, value in rows)])


def _colon(key: str, column: str, rows: list[tuple[str, int]]) -> str:
    return "\n".join([f"{capitalised(column)} by {key}", *(f"{row}: {value}" for row, value in rows)])


_REQUESTS = (
    ("send me", ("the report", "the signed contract", "the meeting notes", "the photos", "your new address",
                 "the price list", "the invoice")),
    ("check", ("the figures", "the draft", "my translation", "the guest list", "the delivery", "the printer")),
    ("call", ("the supplier", "the client in {city}", "the bank", "{name}", "the hotel in {city}")),
    ("book", ("a room in {city}", "a table for {n}", "a flight to {city}", "a taxi for {name}")),
    ("bring", ("the keys", "the blue folder", "{n} chairs", "your laptop", "the samples to {name}")),
    ("move", ("the meeting to {time}", "your car", "these boxes to room {n}", "the interview with {name}")),
    ("finish", ("the slides", "the summary", "chapter {n}", "the list for {name}", "the order for {city}")),
    ("tell", ("{name} about the delay", "the team about the visit", "the office in {city} about the change")),
    ("print", ("{n} copies of the programme", "the labels", "the agenda for {name}", "the map of {city}")),
)  # fmt: skip
_WHEN = ("", "", "by {day}", "before noon", "today", "this afternoon", "before the break", "tomorrow morning")
_POLITE = (
    ("Make this more polite: {blunt}", "Could you please {deed}?"),
    ('Rewrite politely: "{blunt}"', "Could you please {deed}?"),
    ("Say this in a friendly way. {blunt}", "It would be great if you could {deed}."),
    ('This mail sounds rude: "{blunt}" Please write a kinder version.', "Would you be so kind as to {deed}?"),
    ("Put the request in formal words: {blunt}", "I would be grateful if you could {deed}."),
    ("How do I ask this courteously? {blunt}", "You could write: Would you be able to {deed}? Thank you."),
    ("Soften this message for a colleague: {blunt}", "When you have a moment, could you {deed}? Thanks!"),
    ("{blunt}\nTurn this order into a polite question.", "Would you please {deed}?"),
    ("Help me sound more professional. I wrote: {blunt}", "I would appreciate it if you could {deed}."),
    ("Change the tone to polite.\n{blunt}", "Could you please {deed}?"),
    ('Write a respectful version of "{blunt}"', "May I ask you to {deed}?"),
)
_BLUNT = ("{Deed}.", "{Deed}!", "You have to {deed}.", "I want you to {deed}.", "You must {deed}.", "Go and {deed}.")


def polite_rewrite(rng: Random) -> Draft:
    """A blunt request to be put politely; the wrong answer asks for something else."""
    slots = {"name": rng.choice(NAMES), "city": rng.choice(CITIES), "n": rng.randint(3, 20), "time": clock(rng),
             "day": rng.choice(WEEKDAYS)}  # fmt: skip
    verb, objects = rng.choice(_REQUESTS)
    thing, stray = rng.sample(objects, 2)
    when = rng.choice(_WHEN)
    deed, other = (f"{verb} {what} {when}".strip().format(**slots) for what in (thing, stray))
    blunt = rng.choice(_BLUNT).format(deed=deed, Deed=capitalised(deed))
    return ask(rng, _POLITE, deed, {"blunt": blunt}, {"deed": deed}, {"deed": other})


SKILLS = (
    Skill("extraction_json", "office-tasks", 110, extraction_json, ("You turn notes into JSON records.",)),
    Skill("date_arithmetic", "office-tasks", 65, date_arithmetic, ("You help an office with dates and deadlines.",)),
    Skill("table_lookup", "office-tasks", 45, table_lookup, ("You read tables and answer from them only.",)),
    Skill("polite_rewrite", "office-tasks", 20, polite_rewrite, ("You edit office mail.",)),
    Skill("weekday", "office-tasks", 7, weekday, ("You answer questions about the calendar.",)),
)
