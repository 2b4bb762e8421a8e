"""ZeroPadding, Cropping and UpSampling, held to the laws; their masks, infinities and errors."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

from tdfast import Sequential
from tdfast.layers import (
    LSTM,
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Dense,
    GlobalAveragePooling1D,
    Input,
    Masking,
    TimeDistributed,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)


def case(cls, shape, formula, mask=False, only=None, **options):
    return Case(f"{cls.__name__} {options} {shape}", lambda size, dtype: cls(dtype=dtype, **options), shape,
                lambda x, w, size, mask=None: formula(x), mask=mask, sizes=(4,), laws=only)


# NaN in x leaves the new zeros alone
ZEROS = tuple(law for law in laws.LAWS if law is not laws.saturation_and_nan)
PADDING = [((1, 1),), ((2, 0),), ((0, 3),), ((0, 0),)]
PLANE = [((1, 1), (1, 1)), ((2, 2), (0, 0)), ((0, 1), (3, 2))]
SPACE = [((1, 1), (1, 1), (1, 1)), ((0, 1), (2, 0), (0, 0))]

CASES = [
    *(case(ZeroPadding1D, ("T", 3), lambda x, w=w: reference.around(x, w), mask=mask, only=ZEROS,
           padding=w[0])
      for w in PADDING for mask in (False, True)),
    case(ZeroPadding1D, ("T", 17), lambda x: reference.around(x, [(2, 2)]), only=ZEROS, padding=2),
    *(case(ZeroPadding2D, (4, 3, 5), lambda x, w=w: reference.around(x, w), only=ZEROS, padding=w)
      for w in PLANE),
    case(ZeroPadding2D, (2, 3, 1), lambda x: reference.around(x, [(1, 1), (2, 2)]), only=ZEROS,
         padding=(1, 2)),
    *(case(ZeroPadding3D, (3, 2, 4, 5), lambda x, w=w: reference.around(x, w), only=ZEROS, padding=w)
      for w in SPACE),
    case(ZeroPadding3D, (1, 2, 3, 1), lambda x: reference.around(x, [(1, 1), (0, 0), (2, 2)]), only=ZEROS,
         padding=(1, 0, 2)),
    *(case(Cropping1D, (6, 3), lambda x, w=w: reference.cropped(x, w), cropping=w[0]) for w in PADDING),
    case(Cropping1D, (5, 17), lambda x: reference.cropped(x, [(2, 2)]), cropping=2),
    *(case(Cropping2D, (5, 6, 3), lambda x, w=w: reference.cropped(x, w), cropping=w) for w in PLANE),
    case(Cropping2D, (5, 6, 33), lambda x: reference.cropped(x, [(1, 1), (2, 2)]), cropping=(1, 2)),
    *(case(Cropping3D, (4, 3, 5, 3), lambda x, w=w: reference.cropped(x, w), cropping=w) for w in SPACE),
    case(Cropping3D, (3, 5, 2, 17), lambda x: reference.cropped(x, [(1, 1), (2, 2), (0, 0)]),
         cropping=(1, 2, 0)),
    *(case(UpSampling3D, (2, 3, 2, 5), lambda x, s=s: reference.upsampled(x, s), size=s)
      for s in ((2, 2, 2), (1, 3, 2))),
    *(case(UpSampling1D, ("T", 3), lambda x, n=n: reference.upsampled(x, (n,)), mask=mask, size=n)
      for n in (1, 2, 5) for mask in (False, True)),
    *(case(UpSampling2D, shape, lambda x, s=s, kind=kind: reference.upsampled(x, s, kind), size=s,
           interpolation=kind)
      for kind in ("nearest", "bilinear")
      for shape, s in (((3, 4, 3), (2, 2)), ((4, 3, 1), (3, 1)), ((1, 5, 17), (2, 4)), ((2, 1, 2), (5, 3)))),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


@pytest.mark.parametrize("layer, mask, want", [
    (ZeroPadding1D((2, 1)), [[1, 1, 0], [0, 1, 1]], [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]]),
    (Cropping1D((1, 0)), [[1, 1, 0], [0, 1, 1]], [[1, 0], [1, 1]]),
    (UpSampling1D(2), [[1, 0], [0, 1]], [[1, 1, 0, 0], [0, 0, 1, 1]]),
], ids=lambda v: type(v).__name__)
def test_a_mask_goes_with_its_steps(layer, mask, want):
    mask = np.array(mask, bool)
    out = layer.compute_mask(np.zeros((*mask.shape, 3)), mask)
    assert out.dtype == bool and out.flags.c_contiguous and np.array_equal(out, np.array(want, bool))
    assert layer.compute_mask(np.zeros((*mask.shape, 3)), None) is None


@pytest.mark.parametrize("make", [lambda: ZeroPadding1D((2, 1)), lambda: Cropping1D((1, 1)),
                                  lambda: UpSampling1D(3)],
                         ids=["ZeroPadding1D", "Cropping1D", "UpSampling1D"])
def test_masked_steps_stay_without_effect(make):
    """Targets at masked steps change nothing; and lengths say the same as the mask."""
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(4, 5, 2)).astype("float32"), np.array([5, 2, 3, 1])
    right = np.arange(5) < lengths[:, None]
    y = rng.normal(size=(4, *make().compute_output_shape((4, 5, 2))[1:2], 1)).astype("float32")

    def model(masking):
        m = Sequential([Input((5, 2)), *([Masking(9.0)] if masking else []), make(),
                        LSTM(3, return_sequences=True), Dense(1)])
        m.compile("sgd", "mse")
        return m

    first, second, by_lengths = model(True), model(True), model(False)
    second.set_weights(first.get_weights())
    by_lengths.set_weights(first.get_weights())
    padded, y_other = np.where(right[..., None], x, np.float32(9)), y.copy()
    y_other[~first.layers[1].compute_mask(None, right)] = 1e3
    assert first.train_on_batch(padded, y) == second.train_on_batch(padded, y_other)
    by_lengths.fit(np.where(right[..., None], x, np.float32(0)), y, batch_size=4, shuffle=False, verbose=0,
                   lengths=lengths)
    for a, b, c in zip(first.get_weights(), second.get_weights(), by_lengths.get_weights()):
        assert np.array_equal(a, b)
        np.testing.assert_allclose(c, a, atol=1e-6)
    got = by_lengths.predict(np.where(right[..., None], x, np.float32(7)), lengths=lengths, verbose=0)
    np.testing.assert_allclose(got, first.predict(padded, verbose=0), atol=1e-6)


@pytest.mark.parametrize("layer", [ZeroPadding2D(), Cropping2D(1), UpSampling2D(), ZeroPadding3D(),
                                   Cropping3D(1), UpSampling3D()],
                         ids=lambda layer: type(layer).__name__)
def test_no_mask_goes_through_images(layer):
    with pytest.raises(TypeError, match=f"{layer.name}.*cannot carry a mask"):
        layer.compute_mask(np.zeros((2, *(4,) * layer.rank, 1)), np.ones((2, 4), bool))


def test_time_distributed_keeps_the_mask_of_its_steps():
    model = Sequential([Input((5, 4, 2)), TimeDistributed(UpSampling1D(2)),
                        TimeDistributed(GlobalAveragePooling1D())])
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 2)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), x.mean(axis=2), atol=1e-6)


@pytest.mark.parametrize("size", [2, 3])
def test_infinities_and_nan_spread_no_farther_than_their_lines(size):
    """0 times an infinity is no part of any sum."""
    x = np.zeros((1, 5, 5, 1), "float32")
    x[0, 2, 2], x[0, 0, 0], x[0, 4, 4] = np.inf, -np.inf, np.nan
    at = (np.arange(5 * size) + 0.5) / size - 0.5
    for kind, reach in (("nearest", 0.5), ("bilinear", 1 - 1e-6)):
        y = UpSampling2D(size, interpolation=kind)(x)[0, ..., 0]
        rows = {place: np.abs(np.clip(at, 0, 4) - place) < reach for place in (0, 2, 4)}
        spots = {place: row[:, None] & row for place, row in rows.items()}
        assert np.array_equal(y == np.inf, spots[2])
        assert np.array_equal(y == -np.inf, spots[0])
        assert np.array_equal(np.isnan(y), spots[4])
        assert np.array_equal(np.isfinite(y), ~(spots[0] | spots[2] | spots[4]))
    for layer, want in ((ZeroPadding2D(1), 3), (Cropping2D(1), 1)):
        assert (~np.isfinite(layer(x))).sum() == want


def test_open_sizes():
    assert ZeroPadding1D(2).compute_output_shape((None, None, 3)) == (None, None, 3)
    assert Cropping2D(2).compute_output_shape((None, None, 9, 3)) == (None, None, 5, 3)
    assert UpSampling2D((2, 3)).compute_output_shape((None, None, 2, 3)) == (None, None, 6, 3)
    assert ZeroPadding3D(1).compute_output_shape((None, None, 2, 3, 1)) == (None, None, 4, 5, 1)
    assert Cropping3D().compute_output_shape((None, None, 4, 5, 1)) == (None, None, 2, 3, 1)
    assert UpSampling3D((2, 3, 1)).compute_output_shape((None, None, 2, 3, 1)) == (None, None, 6, 3, 1)
    model = Sequential([Input((None, 2)), ZeroPadding1D((1, 0)), UpSampling1D(2), Cropping1D((0, 1))])
    for T in (1, 4):
        assert model.predict(np.ones((3, T, 2)), verbose=0).shape == (3, 2 * T + 1, 2)


@pytest.mark.parametrize("make, words", [
    (lambda: ZeroPadding1D(-1), "padding must be a whole number of at least 0 or 2 of them, got -1"),
    (lambda: ZeroPadding1D((1, 2, 3)), "padding must be"),
    (lambda: ZeroPadding1D(1.5), "padding must be"),
    (lambda: ZeroPadding1D(True), "padding must be"),
    (lambda: ZeroPadding1D(data_format="channels_first"), "channels_first"),
    (lambda: ZeroPadding2D(((1, 2), (3, -1))), "padding must be"),
    (lambda: ZeroPadding2D((1, 2, 3)), "((top, bottom), (left, right))"),
    (lambda: ZeroPadding2D("same"), "padding must be"),
    (lambda: Cropping1D(-1), "cropping must be"),
    (lambda: Cropping1D((2, 3), name="odd")(np.ones((2, 5, 1))),
     "Layer 'odd' (Cropping1D): cropping=(2, 3) leaves nothing of 5 steps"),
    (lambda: Cropping2D(((0, 0), (2, 2)))(np.ones((2, 9, 4, 1))), "leaves nothing of 4 width"),
    (lambda: Cropping2D(1, data_format="channels_first"), "channels_first"),
    (lambda: UpSampling1D(0), "size must be a whole number of at least 1, got 0"),
    (lambda: UpSampling1D((2,)), "size must be"),
    (lambda: UpSampling2D((2, 0)), "size must be"),
    (lambda: ZeroPadding3D((1, 2)), "or 3 pairs ((front, back), (top, bottom), (left, right)), got (1, 2)"),
    (lambda: Cropping3D(((0, 0), (0, 0), (2, 2)))(np.ones((2, 9, 9, 4, 1))), "leaves nothing of 4 width"),
    (lambda: UpSampling3D((2, 2)), "size must be a whole number of at least 1 or 3 of them"),
    (lambda: UpSampling2D(2, interpolation="bicubic"),
     "interpolation must be one of 'nearest', 'bilinear', got 'bicubic'"),
    (lambda: UpSampling2D(2, "channels_first"), "channels_first"),
    (lambda: ZeroPadding1D()(np.ones((2, 3))), "expects input of shape (batch, steps, channels), got (2, 3)"),
    (lambda: UpSampling2D()(np.ones((2, 3, 4))), "(batch, height, width, channels)"),
    (lambda: Cropping2D()(np.ones((2, 3, 4, 5, 6))), "TimeDistributed(Cropping2D(...))"),
    (lambda: Sequential([Input((6, 2)), ZeroPadding1D(1), LSTM(2)]).streamer(), "streamed"),
])
def test_refuses(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)
