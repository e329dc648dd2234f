"""Data like ml-1m's, with planted tastes, so that a model that learns them beats popularity.

A user's liking of a movie is the movie's quality, plus the user's taste for its genres (by gender, age, occupation and user), plus
hidden traits that only a history shows. Users choose movies by popularity and liking; their taste drifts along a history.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import DataError
from ops.data.movielens import MOVIES_FILE, USERS_FILE
from ops.data.ratings import RATINGS_FILE
from schemas.profile import AGE_GROUPS, GENDERS, OCCUPATIONS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# ml-1m's genres, each with words for its titles.
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

# ml-1m's shares.
FEMALE_SHARE = 0.283
AGE_SHARES = (0.037, 0.183, 0.347, 0.198, 0.091, 0.081, 0.063)
FIRST_RATING, LAST_RATING = 956_700_000, 1_046_450_000  # April 2000 to February 2003
FEWEST_RATINGS = 20

# Stars of a movie of average quality from an indifferent user. Users choose movies that they like, so that the mean is near
# ml-1m's 3.58.
BASE_STARS = 2.65

TRAITS = 6
# Standard deviations of the parts of a rating, in stars.
GENDER_TASTE, AGE_TASTE, OCCUPATION_TASTE, OWN_TASTE = 0.35, 0.35, 0.2, 0.25
QUALITY, LENIENCY, TRAIT_TASTE, NOISE = 0.45, 0.4, 0.45, 0.65
# Weight of liking beside popularity in the choice of movies.
CHOICE = 2.0


@dataclass(frozen=True)
class Sizes:
    """How much to generate. The defaults train in about half a minute on two cores."""

    users: int = 2_000
    movies: int = 1_500
    ratings: int = 200_000


@dataclass(frozen=True)
class _People:
    genders: Integers
    ages: Integers  # rows of AGE_GROUPS
    occupations: Integers
    taste: Floats  # [users, genres], stars
    traits: Floats  # [users, TRAITS]
    drift: Floats  # [users, genres]: taste for the later part of a history


@dataclass(frozen=True)
class _Films:
    ids: Integers
    genres: Floats  # [movies, genres], rows sum to 1
    titles: list[str]
    quality: Floats  # [movies], stars
    popularity: Floats  # [movies], log of the weight
    traits: Floats  # [movies, TRAITS]


def generate(folder: Path, seed: int, sizes: Sizes) -> None:
    """Write users.dat, movies.dat and ratings.dat; the same seed and sizes give the same bytes.

    Raises:
        DataError: the sizes do not fit each other.
    """
    if not sizes.users * FEWEST_RATINGS <= sizes.ratings <= sizes.users * sizes.movies // 2:
        raise DataError(
            f"{sizes.ratings} ratings do not fit {sizes.users} users and {sizes.movies} movies: give at least "
            f"{FEWEST_RATINGS} a user, and at most half of all pairs"
        )
    random = np.random.Generator(np.random.PCG64(seed))
    films = _films(sizes.movies, random)
    people = _people(sizes.users, random)
    ratings = _ratings(people, films, sizes.ratings, random)
    folder.mkdir(parents=True, exist_ok=True)
    _write_users(folder / USERS_FILE, people, random)
    _write_movies(folder / MOVIES_FILE, films)
    (folder / RATINGS_FILE).write_text("".join(ratings))


def _films(count: int, random: np.random.Generator) -> _Films:
    # A few genres are common, most are rare, and some gaps in the ids, as in ml-1m.
    shares = random.permutation(1.0 / np.arange(1, len(GENRES) + 1) ** 0.7)
    ids = np.sort(random.choice(np.arange(1, count + count // 50 + 2), count, replace=False))
    member = np.zeros((count, len(GENRES)))
    for row, size in zip(member, random.choice([1, 2, 3], count, p=[0.5, 0.35, 0.15]), strict=True):
        row[random.choice(len(GENRES), size, replace=False, p=shares / shares.sum())] = 1.0
    years = (2000 - np.minimum(random.exponential(14.0, count), 80)).astype(np.int64)
    quality = random.normal(0.0, QUALITY, count)
    named = [[GENRES[place] for place in np.flatnonzero(row)] for row in member]
    return _Films(
        ids=ids,
        genres=member / member.sum(axis=1, keepdims=True),
        titles=invent_titles(named, years.tolist(), random),
        quality=quality,
        popularity=random.normal(0.0, 1.1, count) + 1.2 * quality,
        traits=random.normal(0.0, 1.0, (count, TRAITS)),
    )


def _people(count: int, random: np.random.Generator) -> _People:
    genders = (random.random(count) >= FEMALE_SHARE).astype(np.int64)
    ages = random.choice(len(AGE_GROUPS), count, p=AGE_SHARES)
    occupations = random.integers(len(OCCUPATIONS), size=count)

    def taste(rows: int, deviation: float) -> Floats:
        # Genres are averaged over one to three, which takes away some of the deviation.
        return random.normal(0.0, 1.3 * deviation, (rows, len(GENRES)))

    return _People(
        genders=genders,
        ages=ages,
        occupations=occupations,
        taste=taste(len(GENDERS), GENDER_TASTE)[genders]
        + taste(len(AGE_GROUPS), AGE_TASTE)[ages]
        + taste(len(OCCUPATIONS), OCCUPATION_TASTE)[occupations]
        + taste(count, OWN_TASTE),
        traits=random.normal(0.0, TRAIT_TASTE / np.sqrt(TRAITS), (count, TRAITS)),
        drift=taste(count, 1.0),
    )


def _counts(users: int, movies: int, total: int, random: np.random.Generator) -> Integers:
    """Ratings of each user: long-tailed, at least FEWEST_RATINGS, together `total`."""
    spare = total - users * FEWEST_RATINGS
    weights = random.lognormal(0.0, 1.1, users)
    counts: Integers = FEWEST_RATINGS + np.floor(spare * weights / weights.sum()).astype(np.int64)
    counts = np.minimum(counts, movies * 3 // 4)
    while (missing := total - int(counts.sum())) > 0:
        room = np.flatnonzero(counts < movies * 3 // 4)
        counts[random.choice(room, min(missing, len(room)), replace=False)] += 1
    return counts


def _ratings(people: _People, films: _Films, total: int, random: np.random.Generator) -> list[str]:
    """Lines of ratings.dat, by user and then by time."""
    users = len(people.genders)
    counts = _counts(users, len(films.ids), total, random)
    leniency = random.normal(0.0, LENIENCY, users)
    joined = random.integers(FIRST_RATING, LAST_RATING - 90 * 86_400, users)
    lines: list[str] = []
    for user in range(users):
        liking = films.genres @ people.taste[user] + films.traits @ people.traits[user]
        # The largest of (log weight + Gumbel noise) are a weighted sample without replacement.
        weight = films.popularity + CHOICE * liking + random.gumbel(size=len(liking))
        chosen = np.argpartition(-weight, counts[user])[: counts[user]]
        order = films.genres[chosen] @ people.drift[user] + random.normal(0.0, 0.7, len(chosen))
        chosen = chosen[np.argsort(order, kind="stable")]
        exact = BASE_STARS + leniency[user] + films.quality[chosen] + liking[chosen]
        stars = np.clip(np.rint(exact + random.normal(0.0, NOISE, len(chosen))), 1, 5).astype(np.int64)
        times = joined[user] + np.cumsum(random.exponential(600.0, len(chosen)).astype(np.int64) + 1)
        rated = zip(films.ids[chosen].tolist(), stars.tolist(), times.tolist(), strict=True)
        lines.extend(f"{user + 1}::{movie}::{star}::{time}\n" for movie, star, time in rated)
    return lines


def _write_users(path: Path, people: _People, random: np.random.Generator) -> None:
    zips = random.integers(1_000, 99_951, len(people.genders))
    rows = zip(
        people.genders.tolist(), people.ages.tolist(), people.occupations.tolist(), zips.tolist(), strict=True
    )
    path.write_text(
        "".join(
            f"{user}::{GENDERS[gender]}::{AGE_GROUPS[age]}::{occupation}::{zip_code:05d}\n"
            for user, (gender, age, occupation, zip_code) in enumerate(rows, 1)
        )
    )


def _write_movies(path: Path, films: _Films) -> None:
    lines = []
    for id_, title, row in zip(films.ids.tolist(), films.titles, films.genres, strict=True):
        lines.append(f"{id_}::{title}::{'|'.join(GENRES[place] for place in np.flatnonzero(row))}\n")
    path.write_text("".join(lines), encoding="latin-1")


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
