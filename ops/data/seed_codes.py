"""The codes of the seed's command line (`-a 0 -g 1 -j 10`), which are those of Paddle's movielens dataset."""

from schemas.profile import AGE_GROUPS, GENDERS, OCCUPATIONS, Gender

# paddle.dataset.movielens, UserInfo.value(): 0 if male else 1.
SEED_GENDERS: tuple[Gender, ...] = ("M", "F")
AGE_NAMES = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56 and up")
GENDER_NAMES = ("male", "female")


def age_in_years(code: int) -> int:
    """The lower bound of an age group, which stands for the group in ml-1m."""
    return AGE_GROUPS[code]


def combinations() -> list[tuple[int, int, int]]:
    """Every (age, gender, job) there is, 294 of them."""
    return [
        (age, gender, job)
        for age in range(len(AGE_GROUPS))
        for gender in range(len(GENDERS))
        for job in range(len(OCCUPATIONS))
    ]


def table() -> str:
    """All codes, for a help text."""
    ages = ", ".join(f"{code} {name}" for code, name in enumerate(AGE_NAMES))
    genders = ", ".join(f"{code} {name}" for code, name in enumerate(GENDER_NAMES))
    jobs = ", ".join(f"{code} {name}" for code, name in enumerate(OCCUPATIONS))
    return f"-a: {ages}.\n\n-g: {genders}.\n\n-j: {jobs}."
