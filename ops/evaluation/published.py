"""What is published on ml-1m's leave-one-out split, full ranking without what was seen: to be shown beside one's own."""

from ops.data.movielens import MovieLens
from ops.training.holdout import Holdout
from ops.training.leave_one_out import LEAVE_ONE_OUT_FILE
from schemas.manifest import Figure

_USERS, _RATINGS = 6_040, 1_000_209

# HR@10 and NDCG@10. The last two: Klenitskiy and Vasilev, "Turning dross into gold loss" (2023); the others: Petrov and
# Macdonald, "gSASRec" (2023).
_LEAVE_ONE_OUT = {
    "SASRec, one negative": (0.2500, 0.1341),
    "BERT4Rec": (0.2843, 0.1537),
    "gSASRec": (0.3003, 0.1726),
    "SASRec, full softmax": (0.3152, 0.1821),
    "SASRec, 3,000 negatives": (0.3159, 0.1857),
}


def published(data: MovieLens, holdout: Holdout) -> dict[str, dict[str, Figure]]:
    """By model and by figure; nothing for other data, or for a split of one's own."""
    if (len(data.users), len(data.ratings), holdout.origin) != (_USERS, _RATINGS, LEAVE_ONE_OUT_FILE):
        return {}
    return {
        model: {
            "leave_one_out.hr@10": Figure(value=hit_rate, users=_USERS),
            "leave_one_out.ndcg@10": Figure(value=ndcg, users=_USERS),
        }
        for model, (hit_rate, ndcg) in _LEAVE_ONE_OUT.items()
    }
