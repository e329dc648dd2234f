"""The files of a release in the store: its manifest, written last, and its evaluation."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_FORMAT = 1

MANIFEST_FILE = "manifest.json"
CATALOGUE_FILE = "catalogue.parquet"
VOCABULARIES_FILE = "vocabularies.json"
WEIGHTS_FILE = "weights.pdparams"

# How Paddle wrote the inference programs: `pir` (.json) by 3.x, read by 3.x only; `pdmodel` by 2.6, read by both.
ProgramFormat = Literal["pir", "pdmodel"]
PROGRAM_SUFFIX: dict[ProgramFormat, str] = {"pir": ".json", "pdmodel": ".pdmodel"}
PARAMETERS_SUFFIX = ".pdiparams"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileEntry(_Part):
    """One file of the release."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, description="Size, in bytes.")


class TensorInput(_Part):
    """One input of a tower, in the order in which the program takes them."""

    name: str
    dtype: Literal["int64", "float32"]
    shape: list[int] = Field(description="Shape; -1 where the size follows the batch.")
    padding: int | None = Field(None, description="Value of empty places.")


class Tower(_Part):
    """A Paddle inference program."""

    program: str = Field(description="File of the program; its suffix follows `program_format`.")
    parameters: str = Field(description="File of the parameters.")
    inputs: list[TensorInput]


class Towers(_Part):
    """The two towers; each gives float32 vectors of shape [batch, dimension]."""

    user: Tower
    movie: Tower


class Stars(_Part):
    """How a score becomes a predicted rating: slope · score + intercept, cut to 1 to 5."""

    slope: float
    intercept: float


class Data(_Part):
    """The training data."""

    fingerprint: str = Field(description="sha256 over the three files of the data.")
    split: str = Field(
        description="Split that was held out of training: all, leave-one-out, global-time, users, random."
    )
    users: int
    movies: int
    ratings: int


class Manifest(_Part):
    """manifest.json, written last."""

    format: int = MANIFEST_FORMAT
    release: str
    created_at: datetime
    model: str = Field(description="fusion, sequence")
    program_format: ProgramFormat
    paddle_version: str
    dimension: int = Field(ge=1)
    metric: Literal["COSINE", "IP"]
    score_scale: float = Field(1.0, description="Factor of the score: score = score_scale x metric.")
    stars: Stars | None = None
    movies: int = Field(ge=0, description="Rows of the catalogue.")
    towers: Towers
    files: dict[str, FileEntry]
    extends: str | None = Field(
        None,
        description="Release with the same towers, whose vectors are reused for the movies of both.",
    )
    data: Data
    training: dict[str, Any] = Field(
        default_factory=dict, description="Hyper-parameters, seed and figures reached."
    )


class EvaluationResult(_Part):
    """One figure. Two are comparable only on the same metric, split and data."""

    metric: str = Field(description="ndcg@10, hr@10, rmse, …")
    split: str = Field(
        description="Split that it was measured on: leave-one-out, global-time, users (with the fold), random."
    )
    data: str = Field(description="Fingerprint of the data, as in the manifest.")
    value: float = Field(
        description="The figure; one that is no number (NaN, infinite) fails the check before activation."
    )
    higher_is_better: bool = True

    @property
    def measures(self) -> tuple[str, str, str]:
        """The parts that are equal in comparable figures."""
        return self.metric, self.split, self.data


class Figure(_Part):
    """A figure with its interval: for people, and not for the check before activation."""

    value: float
    low: float | None = Field(None, description="Lower end of the 95 % interval (bootstrap over users).")
    high: float | None = Field(None, description="Upper end of the 95 % interval.")
    users: int = Field(description="Users that it was measured on.")


class Protocol(_Part):
    """All figures of one split."""

    split: str
    origin: str = Field(description="File of the split, or the rule that derived it.")
    data: str = Field(description="Fingerprint of the data.")
    trained: str = Field(
        description="Release that was measured: one of the same configuration, trained on this split."
    )
    seed: int
    figures: dict[str, Figure] = Field(description="Figures by name, as leave_one_out.ndcg@10.")
    baselines: dict[str, dict[str, Figure]] = Field(description="Figures of each baseline.")
    differences: dict[str, dict[str, Figure]] = Field(
        description="The release's figure less the baseline's, over the same people, with the paired interval."
    )
    published: dict[str, dict[str, Figure]] = Field(
        default_factory=dict,
        description="Figures that others publish on the same split of the same data, by model.",
    )


class Evaluation(_Part):
    """All figures of one release."""

    release: str
    results: list[EvaluationResult]
    protocols: dict[str, Protocol] = Field(default_factory=dict, description="Protocols by split.")
