"""STORE/evaluations/RELEASE.json: how well a release recommends, written by `marquee evaluate`."""

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EvaluationResult(_Part):
    """One figure. Two are comparable only on the same metric, split and data."""

    metric: str = Field(description="ndcg@10, hr@10, rmse, …")
    split: str = Field(
        description="What it was measured on: leave-one-out, global-time, users (and which fold), random."
    )
    data: str = Field(description="Fingerprint of the data, as in the manifest.")
    value: float = Field(
        description="One that is no number (NaN, infinite) fails the check before activation."
    )
    higher_is_better: bool = True

    @property
    def measures(self) -> tuple[str, str, str]:
        """What must be equal for two figures to be comparable."""
        return self.metric, self.split, self.data


class Figure(_Part):
    """A figure among many, with its interval: for people who look, and not for the check before activation."""

    value: float
    low: float | None = Field(None, description="Lower end of the 95 % interval (bootstrap over users).")
    high: float | None = Field(None, description="Upper end of the 95 % interval.")
    users: int = Field(description="How many people it was measured on.")


class Protocol(_Part):
    """Everything that was measured on one split."""

    split: str
    origin: str = Field(description="The file that the split is from, or how it was derived.")
    data: str = Field(description="Fingerprint of the data.")
    trained: str = Field(
        description="The release that was measured: one of the same configuration, trained on this split."
    )
    seed: int
    figures: dict[str, Figure] = Field(description="By name, as leave_one_out.ndcg@10.")
    baselines: dict[str, dict[str, Figure]] = Field(description="The same for each baseline.")
    differences: dict[str, dict[str, Figure]] = Field(
        description="The release's figure less the baseline's, over the same people, with the paired interval."
    )
    published: dict[str, dict[str, Figure]] = Field(
        default_factory=dict, description="What others publish on the same split of the same data, by model."
    )


class Evaluation(_Part):
    """All figures of one release."""

    release: str
    results: list[EvaluationResult]
    protocols: dict[str, Protocol] = Field(default_factory=dict, description="By split.")
