"""Trains the sequence model: first the heads without order, then the next movie at every place of a history."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.evaluation.holdout import LIKED_STARS, Holdout, by_user
from ops.training.batches import Tables, batches, epoch_windows, padded
from ops.training.closed_form import fit_kin, fit_liked
from ops.training.continuing import take_over
from ops.training.devices import agreed, average_gradients, devices, rank
from ops.training.head_weights import best_weights, head_scores, shortened
from ops.training.hyperparameters import SequenceHyperparameters
from ops.training.layers import softmax_loss
from ops.training.loop import State, stable_names, warmed_cosine
from ops.training.sequence import SequenceModel
from ops.training.tastes import Hiding, Tastes, sittings_of
from schemas.profile import PROFILE_FIELDS
from worker.release.features import Features
from worker.release.paddle_engine import paddle

Rows = NDArray[np.int64]
Tensor = Any

PROFILE = ("user_id", *PROFILE_FIELDS)
HEAD_WEIGHTS = "user.shares"  # their name in files of weights


# Share of all steps in which the learning rate rises to its highest.
WARM_UP_SHARE = 0.04
CLIP_NORM = 1.0


class NextMovie:
    """A `Course`: the network, the histories it learns from, and its optimizer."""

    def __init__(
        self,
        data: MovieLens,
        holdout: Holdout,
        features: Features,
        hyper: SequenceHyperparameters,
        start: State | None = None,
    ) -> None:
        paddle.seed(hyper.seed)
        with stable_names():
            self.network = SequenceModel(
                features.vocabularies,
                dimension=hyper.dimension,
                later=hyper.later,
                liked=hyper.liked,
                kin=hyper.kin,
                heads=hyper.heads,
                blocks=hyper.blocks,
                dropout=hyper.dropout,
                later_dropout=hyper.later_dropout,
            )
        if start is not None:
            take_over(self.network, start)
        self.trained = np.bincount(data.ratings.movies[holdout.train], minlength=len(data.movies)) > 0
        self._hyper = hyper
        self._tables = Tables(data, features, self.network)
        self._movies = {name: rows[self.trained] for name, rows in self._tables.movies.items()}
        # Only trained movies are ranked in training; they are counted from 1, and 0 is no movie.
        place = np.cumsum(self.trained).astype(np.int64)
        parts = by_user(data, holdout.train)
        self._histories: list[Rows] = [place[data.ratings.movies[rows]] for rows in parts]
        liked = [rows[data.ratings.stars[rows] >= LIKED_STARS] for rows in parts]
        fit_liked(
            self.network,
            self._movies,
            self._tables.users,
            {user: place[data.ratings.movies[rows]] - 1 for user, rows in enumerate(liked) if len(rows)},
        )
        fit_kin(self.network, self._movies)
        self._tastes = Tastes(
            self.network,
            self._movies,
            self._tables.users,
            {user: history - 1 for user, history in enumerate(self._histories) if len(history)},
            {
                user: begins
                for user, rows in enumerate(parts)
                if len(begins := sittings_of(data.ratings.timestamps[rows]))
            },
        )
        self._validation = holdout.validation
        self._adam = paddle.optimizer.AdamW(
            hyper.learning_rate,
            beta2=0.98,
            parameters=self.network.parameters(),
            weight_decay=hyper.weight_decay,
            grad_clip=paddle.nn.ClipGradByGlobalNorm(CLIP_NORM),
        )
        self._averaged = {name: tensor.clone() for name, tensor in self._parameters()}
        self._steps = 0

    def epoch(self, number: int) -> Iterator[tuple[float, float]]:
        hyper = self._hyper
        random = np.random.default_rng([hyper.seed, number])
        paddle.seed(hyper.seed * 10_007 + number * devices() + rank())
        self.network.seed_dropout(hyper.seed, number, rank())
        self.network.train()
        before = self._tastes_steps(random) if number == 0 else []
        made = batches(epoch_windows(self._histories, random), hyper.batch, random)
        made = made[rank() : len(made) // devices() * devices() : devices()]
        steps, total = len(before) + len(made), 0.0
        for step, (rate, make) in enumerate(before, 1):
            yield step / steps, self._step(make(), rate)
        if before:
            self._set(self._averaged)  # the head `later` is done; `next` has not begun
            self._steps = 0
        for step, batch in enumerate(made, 1):
            done = (number + step / len(made)) / hyper.epochs
            total += self._step(self._loss(batch, random), warmed_cosine(done, WARM_UP_SHARE))
            yield (len(before) + step) / steps, total / step

    def _tastes_steps(self, random: np.random.Generator) -> list[tuple[float, Callable[[], Tensor]]]:
        """Shares of the highest learning rate and losses of the steps of `later`."""
        hyper, tastes = self._hyper, self._tastes
        hiding = Hiding(hyper.people, hyper.profile_dropout, hyper.movie_dropout)
        missing = [tastes.missing] * self._steps_of(hyper.missing_passes, len(tastes.rated))
        later = [tastes.later] * self._steps_of(hyper.later_passes, len(tastes.sittings))
        steps = [*missing, *later]
        return [
            (warmed_cosine(step / len(steps), WARM_UP_SHARE), partial(loss, hiding, random))
            for step, loss in enumerate(steps, 1)
        ]

    def _steps_of(self, passes: int, people: int) -> int:
        return -(-passes * people // self._hyper.people)

    def _step(self, loss: Tensor, rate: float) -> float:
        """Learn from a loss, at this share of the highest rate, and give its value."""
        self._adam.set_lr(self._hyper.learning_rate * rate)
        loss.backward()
        average_gradients(self.network.parameters())
        with stable_names():
            self._adam.step()
        self._adam.clear_grad(set_to_zero=False)  # a head without a gradient stays as it is
        self._average()
        return float(loss.item())

    def measure(self) -> float:
        """1 - NDCG@10 of the averaged weights on the validation part."""
        own = {name: tensor.clone() for name, tensor in self._parameters()}
        self._set(self._averaged)
        settle(self.network, self._tables, self.trained)
        cases = [*self._validation, *shortened(self._validation)]
        weights, figures = best_weights(head_scores(self.network, self._tables, cases), cases)
        self._weigh(weights)
        self._set(own)
        return agreed(1.0 - float(figures[: len(self._validation)].mean()))

    def said(self, measured: float) -> str:
        return f"NDCG@10 {1.0 - measured:.4f}"

    def weights(self) -> State:
        averaged = {name: tensor.numpy() for name, tensor in self._averaged.items()}
        return averaged | {HEAD_WEIGHTS: self.network.user.shares.numpy()}

    def state(self) -> State:
        return {
            "network": {name: tensor.numpy() for name, tensor in self._parameters()},
            "averaged": {name: tensor.numpy() for name, tensor in self._averaged.items()},
            "adam": self._adam.state_dict(),
            "steps": self._steps,
        }

    def restore(self, state: State) -> None:
        self._set({name: paddle.to_tensor(array) for name, array in state["network"].items()})
        self._averaged = {name: paddle.to_tensor(array) for name, array in state["averaged"].items()}
        self._adam.set_state_dict(state["adam"])
        self._steps = state["steps"]

    def serve(self, weights: State) -> SequenceModel:
        """The network with these weights, ready to be exported."""
        self._set({name: paddle.to_tensor(array) for name, array in weights.items()})
        self._weigh(weights[HEAD_WEIGHTS])
        settle(self.network, self._tables, self.trained)
        return self.network

    def _weigh(self, heads: Any) -> None:
        self.network.user.shares.set_value(np.asarray(heads, np.float32))

    def _loss(self, batch: list[tuple[int, Rows]], random: np.random.Generator) -> Tensor:
        """Cross-entropy of each movie of the windows, given the profile and all before it."""
        movies = self._movie_vectors(random)
        table = paddle.concat([paddle.zeros_like(movies[:1]), movies])
        rows = padded(batch)
        before = rows[:, :-1] if rows.shape[1] > 1 else np.zeros_like(rows)
        recent = paddle.to_tensor(before)
        watched = paddle.gather(table, recent.flatten()).reshape([*before.shape, -1])
        profile = self._profile(np.array([user for user, _ in batch]), random)
        states = self.network.user.next.all_positions(profile, watched, recent)[:, : rows.shape[1]]
        # Logits are most of the work, so none are made where nothing comes next.
        wanted = np.flatnonzero(rows.ravel())
        asked = paddle.gather(states.reshape([-1, self._hyper.dimension]), paddle.to_tensor(wanted))
        told = paddle.gather(table, paddle.to_tensor(rows.ravel()[wanted]))
        return softmax_loss(asked, movies, told, paddle.full([len(wanted), 1], 1.0 / len(wanted)))

    def _movie_vectors(self, random: np.random.Generator) -> Tensor:
        """Vectors of the head `next` of all trained movies, [n, d]; some ids are hidden, so that their content is trained."""
        hidden = random.random(len(self._movies["movie_id"])) < self._hyper.movie_dropout
        inputs = self._movies | {"movie_id": np.where(hidden, 0, self._movies["movie_id"])}
        return self.network.movie.next(*map(paddle.to_tensor, inputs.values()))

    def _profile(self, users: Rows, random: np.random.Generator) -> Tensor:
        """First tokens of these users, [n, 1, d], some of their features hidden."""
        hyper, rows = self._hyper, self._tables.users
        shares = [hyper.user_dropout if name == "user_id" else hyper.profile_dropout for name in PROFILE]
        shown = [
            np.where(random.random(len(users)) < share, 0, rows[name][users])
            for name, share in zip(PROFILE, shares, strict=True)
        ]
        return self.network.user.next.first_token(
            paddle.to_tensor(shown[0]), [*map(paddle.to_tensor, shown[1:])]
        )

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self.network.named_parameters())

    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, tensor in self._parameters():
            tensor.set_value(weights[name])

    def _average(self) -> None:
        self._steps += 1
        # Few steps have little to average: a new mean forgets faster.
        keep = min(self._hyper.averaging, self._steps / (self._steps + 10))
        with paddle.no_grad():
            for name, tensor in self._parameters():
                # In this form an unchanged weight stays exactly the same.
                self._averaged[name] += (tensor - self._averaged[name]) * (1.0 - keep)


def settle(network: SequenceModel, tables: Tables, trained: NDArray[np.bool_]) -> None:
    """Make a network what serves; see `SequenceModel.settle`."""
    network.eval()
    order = np.argsort(tables.movies["movie_id"])  # the vocabulary's: later entries are at its end
    network.settle({name: rows[order] for name, rows in tables.movies.items()}, trained[order])
