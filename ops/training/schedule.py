"""How fast to learn: up in a straight line, then down to nothing along a cosine."""

import math


def warmed_cosine(done: float, warm_up: float) -> float:
    """Share of the highest learning rate, by the share of all steps that is done; `warm_up` is that of the rise."""
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (done - warm_up) / (1.0 - warm_up)))
