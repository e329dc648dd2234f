"""What parts of histories the sequence model learns from."""

import numpy as np

from ops.training.batches import SHORT_WINDOW, WINDOW, batches, epoch_windows


def test_a_history_is_learnt_as_it_ends_and_a_little_of_it_from_anywhere() -> None:
    histories = [np.arange(1, length + 1) for length in (0, 1, 2, 30, 3 * WINDOW)]
    short_starts, long_ends = set(), set()

    for seed in range(200):
        windows = epoch_windows(histories, np.random.default_rng(seed))
        whole, short = windows[:4], windows[4:]

        assert sorted(user for user, _ in whole) == [1, 2, 3, 4]  # an empty history teaches nothing
        assert sorted(user for user, _ in short) == [2, 3, 4]  # what comes after one movie is wanted at least
        for user, window in windows:
            assert (np.diff(window) == 1).all()  # one piece of it, in its order
            assert len(window) <= min(WINDOW, len(histories[user]))
        assert {user: len(window) for user, window in whole} == {1: 1, 2: 2, 3: 30, 4: WINDOW}
        assert all(2 <= len(window) <= SHORT_WINDOW for _, window in short)
        short_starts |= {int(window[0]) for user, window in short if user == 3}
        long_ends |= {int(window[-1]) for user, window in whole if user == 4}

    assert short_starts == set(range(1, 30))
    assert 3 * WINDOW in long_ends and len(long_ends) > 50


def test_batches_hold_every_window_once_and_no_more_than_they_may() -> None:
    random = np.random.default_rng(0)
    windows = epoch_windows([np.arange(1, length + 1) for length in range(2, 400)], random)

    made = batches(windows, 1_000, random)

    assert sorted(len(window) for batch in made for _, window in batch) == sorted(len(w) for _, w in windows)
    assert max(sum(len(window) for _, window in batch) for batch in made) <= 1_000
