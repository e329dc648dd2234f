"""STORE/evaluations/RELEASE.json: how well a release recommends, written by `marquee evaluate`."""

from pydantic import BaseModel, ConfigDict, Field


class EvaluationResult(BaseModel):
    """One figure. Two are comparable only on the same metric, split and data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metric: str = Field(description="ndcg@10, hr@10, rmse, …")
    split: str = Field(description="What it was measured on: leave-one-out, global-time, users, random.")
    data: str = Field(description="Fingerprint of the data, as in the manifest.")
    value: float
    higher_is_better: bool = True

    @property
    def measures(self) -> tuple[str, str, str]:
        """What must be equal for two figures to be comparable."""
        return self.metric, self.split, self.data


class Evaluation(BaseModel):
    """All figures of one release."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    release: str
    results: list[EvaluationResult]
