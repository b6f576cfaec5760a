"""Words that several skills share, and the small helpers that put them together."""

from collections.abc import Sequence
from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Amir Anna Aiko Ben Bella Carlos Chloe Dario Diana Elena Emil Farid Fiona George Grace Hana Hugo Ines Ivan Jonas "
    "Julia Karim Kira Leo Lena Lucia Marco Maya Mina Nadia Noah Nora Olga Omar Oscar Paula Pedro Petra Priya Rafael "
    "Rosa Ruth Samir Sara Simon Sofia Tara Theo Tomas Uma Victor Vera Wanda Willem Yara Yusuf Zara Zoe"
)
SURNAMES = _words(
    "Adler Bauer Castro Dalton Evans Ferrari Garcia Hansen Ito Jansen Keller Lopez Moreau Novak Okafor Patel Quinn "
    "Rossi Silva Tanaka Ueda Varga Walsh Yilmaz Zeller"
)
CITIES = _words(
    "Athens Bergen Bristol Cork Dakar Denver Dublin Florence Geneva Hamburg Helsinki Kyoto Leeds Lima Lisbon Lyon "
    "Madrid Milan Nairobi Oslo Porto Prague Quito Riga Seville Tallinn Toronto Turin Utrecht Vienna Warsaw Zurich"
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = _words("January February March April May June July August September October November December")
THINGS = _words(
    "apples pencils stickers marbles stamps shells beads buttons postcards cookies lemons tickets candles coins "
    "oranges notebooks magnets ribbons photos badges peaches envelopes tulips balloons spoons plates keys muffins"
)
WORDS = _words(
    "anchor apple arrow autumn basket beach bridge bright butter button candle carpet castle cheese circle cloud "
    "coffee copper corner cotton desert dinner dragon eagle engine evening fabric family farmer feather finger flower "
    "forest garden ginger glass grape guitar hammer harbor harvest honey island jacket jungle kettle kitchen ladder "
    "lemon letter light magnet marble market meadow mirror morning mountain needle number ocean office orange paper "
    "pencil pepper piano planet pocket potato quiet rabbit river rocket saddle salad school season shadow silver "
    "spring square station stone summer table teapot temple ticket tiger tomato towel travel tunnel valley velvet "
    "violin wagon water weather window winter wood yellow zebra bell bird boat book cake coat desk door drum farm "
    "fish flag gate gold hat hill horn ice jam key lake lamp leaf map milk moon nest nut oak pan pear pen pig plum "
    "rain ring road roof rope rose salt sand seed ship shoe silk snow soup star sun tea tent tree vase wall wind wolf "
    "wool"
)
JOBS = _words(
    "baker carpenter chemist dentist driver editor engineer farmer gardener journalist lawyer librarian mechanic "
    "nurse painter pilot plumber tailor teacher translator"
)

_SUBJECTS = (
    "my neighbour", "the teacher", "our guide", "the old baker", "my cousin", "the driver", "her brother", "the nurse",
    "a young student", "the gardener",
)  # fmt: skip
_DEEDS = (
    "left the keys on the table", "bought a loaf of bread", "wrote a long letter", "painted the garden fence",
    "found a small silver coin", "repaired the old bicycle", "carried the boxes upstairs", "waited for the last bus",
    "opened the kitchen window", "cooked soup for everyone", "read a book about birds", "fed the cat",
    "missed the morning train", "planted two apple trees", "closed the shop early", "washed the blue car",
)  # fmt: skip
_WHENS = ("yesterday", "this morning", "last week", "on Sunday", "before lunch", "after the storm", "in the evening")


def sentence(rng: Random) -> str:
    """A plain sentence about an everyday event, full stop included."""
    who = rng.choice((rng.choice(NAMES), rng.choice(_SUBJECTS)))
    when = rng.choice((*_WHENS, ""))
    return capitalised(f"{who} {rng.choice(_DEEDS)} {when}".strip() + ".")


def capitalised(text: str) -> str:
    """`text` with its first letter in upper case and the others as they are (unlike `str.capitalize`)."""
    return text[:1].upper() + text[1:]


def listed(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f" {last} ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else items[0]


def with_article(noun: str) -> str:
    """The noun after `a` or `an`; the words used here follow the spelling."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def clock(rng: Random) -> str:
    """A time of day such as `9:15` or `14:30`."""
    return f"{rng.randint(7, 20)}:{rng.choice((0, 15, 30, 45)):02d}"


def another(rng: Random, options: Sequence[str], than: str) -> str:
    """An option that is not `than`."""
    return rng.choice([option for option in options if option != than])
