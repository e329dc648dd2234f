"""Invented titles with years, written as ml-1m writes them: `Silent Harbor, The (1987)`."""

import numpy as np

# ml-1m's genres; the words are what a title of the genre likes to be made of.
GENRE_WORDS = {
    "Action": ("Bullet", "Strike", "Fury", "Siege", "Impact", "Vengeance", "Outlaw", "Rampage"),
    "Adventure": ("Voyage", "Treasure", "Island", "Expedition", "Quest", "River", "Summit", "Compass"),
    "Animation": ("Rabbit", "Tin", "Dragonfly", "Puppet", "Star", "Balloon", "Whale", "Cricket"),
    "Children's": ("Puppy", "Secret", "Garden", "Wizard", "Kite", "Lantern", "Pony", "Cousin"),
    "Comedy": ("Wedding", "Neighbor", "Vacation", "Cousins", "Roommate", "Mustache", "Casserole", "Bachelor"),
    "Crime": ("Heist", "Alibi", "Syndicate", "Verdict", "Fence", "Getaway", "Informer", "Ledger"),
    "Documentary": (
        "Portrait",
        "Archive",
        "Letters",
        "Century",
        "Witness",
        "Orchestra",
        "Glacier",
        "Workshop",
    ),
    "Drama": ("Winter", "House", "Silence", "Daughter", "Harvest", "Promise", "Station", "Inheritance"),
    "Fantasy": ("Crown", "Enchantment", "Raven", "Mirror", "Kingdom", "Spell", "Unicorn", "Throne"),
    "Film-Noir": ("Alley", "Cigarette", "Stranger", "Midnight", "Shadow", "Nightfall", "Detour", "Widow"),
    "Horror": ("Crypt", "Scream", "Cellar", "Curse", "Blood", "Asylum", "Possession", "Grave"),
    "Musical": ("Melody", "Chorus", "Broadway", "Serenade", "Rhythm", "Ballroom", "Duet", "Encore"),
    "Mystery": ("Clue", "Disappearance", "Key", "Cipher", "Manor", "Enigma", "Footsteps", "Telegram"),
    "Romance": ("Kiss", "Valentine", "Spring", "Affair", "Heart", "Letter", "Paris", "Honeymoon"),
    "Sci-Fi": ("Orbit", "Android", "Galaxy", "Signal", "Colony", "Quantum", "Nebula", "Horizon"),
    "Thriller": ("Pursuit", "Deadline", "Hostage", "Conspiracy", "Edge", "Obsession", "Trap", "Countdown"),
    "War": ("Battalion", "Trench", "Bridge", "Armistice", "Regiment", "Convoy", "Barracks", "Medal"),
    "Western": ("Saddle", "Canyon", "Sheriff", "Stagecoach", "Prairie", "Gunsmith", "Mustang", "Ranch"),
}
GENRES = tuple(GENRE_WORDS)

ADJECTIVES = (
    "Last", "Silent", "Crimson", "Broken", "Golden", "Distant", "Hidden", "Little", "Lonely", "Endless", "Crooked",
    "Burning", "Frozen", "Forgotten", "Restless", "Second", "Perfect", "Strange", "Wild", "Quiet", "Velvet", "Hollow",
)  # fmt: skip
NAMES = (
    "Abigail", "Bruno", "Clara", "Desmond", "Esther", "Felix", "Greta", "Hector", "Ingrid", "Jasper", "Lucille",
    "Mabel", "Nadia", "Oscar", "Priscilla", "Quentin", "Rosalind", "Silas", "Theodora", "Victor",
)  # fmt: skip
NUMERALS = ("II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")


def invent_titles(genres: list[list[str]], years: list[int], random: np.random.Generator) -> list[str]:
    """A title for each movie, no two alike; a name that is taken becomes a sequel."""
    taken: dict[str, int] = {}
    titles = []
    for movie_genres, year in zip(genres, years, strict=True):
        name = _name([word for genre in movie_genres for word in GENRE_WORDS[genre]], random)
        count = taken[name] = taken.get(name, 0) + 1
        part = "" if count == 1 else f" {NUMERALS[count - 2]}" if count - 2 < len(NUMERALS) else f" {count}"
        titles.append(f"{_catalogued(name + part)} ({year})")
    return titles


def _name(words: list[str], random: np.random.Generator) -> str:
    first, second = (words[place] for place in random.integers(len(words), size=2))
    adjective = ADJECTIVES[random.integers(len(ADJECTIVES))]
    name = NAMES[random.integers(len(NAMES))]
    forms = (
        f"The {adjective} {first}",
        f"{adjective} {first}",
        f"{name}'s {first}",
        f"{first} of the {second}",
        f"{name} and the {first}",
        f"A {adjective} {second}",
    )
    return forms[random.integers(len(forms))]


def _catalogued(name: str) -> str:
    """ml-1m puts a leading article last."""
    for article in ("The", "A"):
        if name.startswith(f"{article} "):
            return f"{name.removeprefix(article).lstrip()}, {article}"
    return name
