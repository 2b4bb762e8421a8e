"""STFTSpectrogram and MelSpectrogram: their rows for the laws, what a tone sounds like, and their errors."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

import tdfast
from tdfast import Sequential, layers
from tdfast.layers import MelSpectrogram, STFTSpectrogram
from tdfast.testing import check_layer


def stft_case(mode, frame_length, step, shape=("T", 2), only=None, spread=1.0, bounded=False, **options):
    """The number of frequencies is the size + 1, or what a frame needs."""
    given = {"mode": mode, "frame_length": frame_length, "frame_step": step, **options}
    return Case(
        f"STFTSpectrogram {mode} {frame_length} {step} {options}",
        lambda size, dtype: STFTSpectrogram(fft_length=max(2 * size, frame_length), dtype=dtype, **given),
        shape,
        lambda x, w, size: reference.stft_spectrogram(
            x, *w, mode=mode, step=step, padding=options.get("padding", "valid"),
            channels_first=options.get("data_format") == "channels_first", images=options.get("expand_dims")),
        bounded=bounded, spread=spread, laws=only,
    )


def mel_case(name, samples, n, stride, length=None, window="hann", only=None, spread=1.0, **options):
    """The number of triangles is the size."""
    length = length or n
    turn = 2 * np.pi * np.arange(length) / length
    numbers = {"hann": 0.5 - 0.5 * np.cos(turn), "hamming": 0.54 - 0.46 * np.cos(turn)}.get(
        window if isinstance(window, str) else None, np.ones(length) if window is None else window)
    left = (n - length) // 2
    whole = np.zeros(n)
    whole[left : left + length] = numbers
    names = {"power_to_db": "decibels", "top_db": "top", "mag_exp": "exponent", "min_power": "least",
             "ref_power": "ref"}
    meaning = {names[key]: value for key, value in options.items() if key in names}
    rate, low = options.get("sampling_rate", 16000), options.get("min_freq", 20.0)

    def formula(x, weights, size):
        return reference.mel_spectrogram(x, n=n, stride=stride, window=whole, rate=rate, bins=size, low=low,
                                         high=options.get("max_freq") or rate / 2, **meaning)

    return Case(
        f"MelSpectrogram {name}",
        lambda size, dtype: MelSpectrogram(n, stride, length, window, num_mel_bins=size, dtype=dtype,
                                           **options),
        (samples,), formula, bounded=False, spread=spread, laws=only,
    )


# The loudest sum is that of the whole batch, so a row is not what it is alone, nor does NaN stay in its row.
OF_THE_BATCH = tuple(law for law in laws.LAWS if law not in (laws.batch_is_its_rows, laws.saturation_and_nan))

CASES = [
    *(stft_case(mode, 3, 2, padding="same", spread=100 if mode in ("log", "angle") else 1)
      for mode in ("log", "psd", "real", "imag", "angle", "stft")),
    stft_case("magnitude", 4, 2, padding="same"),
    stft_case("log", 1, 1, spread=100),
    stft_case("stft", 4, 3, (9, 2), expand_dims=True),
    stft_case("magnitude", 4, 4, (3, 9), data_format="channels_first"),
    stft_case("stft", 4, 1, (3, 9), data_format="channels_first", expand_dims=True, padding="same"),
    stft_case("psd", 2, 1, (9, 1), window=[0.5, 2.0], scaling=None),
    mel_case("sums", 40, 16, 5, power_to_db=False),
    mel_case("magnitudes", 23, 16, 16, length=10, window="hamming", power_to_db=False, mag_exp=1.0),
    mel_case("odd frames", 31, 15, 4, window=None, power_to_db=False, mag_exp=3.0, min_freq=0.0),
    mel_case("of one sample", 1, 8, 3, power_to_db=False, window=np.arange(1.0, 9.0), sampling_rate=8000,
             max_freq=3000.0),
    mel_case("decibels", 40, 16, 5, only=OF_THE_BATCH, spread=10),
    mel_case("decibels, few", 40, 16, 5, only=OF_THE_BATCH, spread=10, top_db=6.0, ref_power=0.25,
             min_power=0.5),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


@pytest.mark.parametrize("layer, shape", [
    (STFTSpectrogram("stft", 4, 3), (11, 2)), (STFTSpectrogram("real", 3, 1, padding="same"), (None, 1)),
    (STFTSpectrogram("psd", 4, expand_dims=True, data_format="channels_first"), (2, 7)),
    (MelSpectrogram(8, 3, num_mel_bins=4, power_to_db=False), (None,)),
    (MelSpectrogram(8, 3, num_mel_bins=4), (20,)),
], ids=lambda value: getattr(value, "name", None))
def test_check_layer(layer, shape):
    check_layer(layer, shape)


# ---------------------------------------------------------------- what it is for


def tone(frequency, rate=8000, samples=4000):
    return np.sin(2 * np.pi * frequency * np.arange(samples) / rate).astype("float32")


def test_the_waves_are_a_fourier_transform():
    """Frames under the window, by NumPy's FFT."""
    x = np.random.default_rng(0).normal(size=(2, 300, 1))
    layer = STFTSpectrogram("stft", 60, 20, 64, scaling=None, dtype="float64")
    frames = np.lib.stride_tricks.sliding_window_view(x[..., 0], 60, axis=1)[:, ::20]
    want = np.fft.rfft(frames * np.hanning(60), 64)
    assert np.allclose(layer(x), np.concatenate([want.real, want.imag], axis=-1), atol=1e-12)


@pytest.mark.parametrize("scaling, height", [("spectrum", 0.5), ("density", None)])
def test_scaling(scaling, height):
    layer = STFTSpectrogram("magnitude", 256, 128, window="hann", scaling=scaling)
    y = layer(tone(1000)[None, :, None])
    assert (y.argmax(axis=-1) == 32).all()
    if height:
        assert np.allclose(y.max(axis=-1), height, atol=1e-3), "half of a sine's height"


def test_mel_hears_the_pitch():
    layer = MelSpectrogram(num_mel_bins=40, sampling_rate=8000, sequence_stride=200, fft_length=1024)
    low, high = (layer(tone(f)[None])[0].mean(axis=1).argmax() for f in (300, 2500))
    assert 3 < low < 10 and 28 < high < 38
    y = layer(np.stack([tone(300), 1e-3 * tone(300)]))
    assert y.max() - y.min() == pytest.approx(80), "60 dB below, then nothing"
    alone = layer(tone(300))
    assert alone.shape == layer.compute_output_shape((4000,)) == (40, 21)
    assert np.array_equal(alone, layer(tone(300)[None])[0])


def test_trainable():
    x = np.random.default_rng(0).normal(size=(8, 64, 1))
    y = np.abs(x[:, :4, 0]).sum(axis=1)
    for trainable in (True, False):
        model = Sequential([layers.Input((64, 1)), STFTSpectrogram(frame_length=16, trainable=trainable),
                            layers.Flatten(), layers.Dense(1)])
        assert len(model.trainable_weights) == (4 if trainable else 2) and model.count_params() > 0
        before = model.get_weights()
        model.compile(tdfast.optimizers.SGD(0.01), "mse")
        model.fit(x, y, epochs=2, verbose=0)
        same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
        assert same == [not trainable, not trainable, False, False]


def test_silence_has_no_slope():
    """Neither a root nor an angle of 0 makes NaN."""
    from tdfast.engine.tape import Tape

    for layer in (*(STFTSpectrogram(mode, 8) for mode in ("log", "magnitude", "angle", "psd")),
                  *(MelSpectrogram(16, 4, num_mel_bins=3, mag_exp=e, power_to_db=d)
                    for e in (1.0, 2.0, 0.5) for d in (True, False))):
        x = np.zeros((2, 32, 1) if isinstance(layer, STFTSpectrogram) else (2, 32), "float32")
        layer.ensure_built(x.shape)
        tape = Tape()
        y = layer.forward(x, tape)
        dx = layer.backward(np.ones_like(y), tape)
        assert np.isfinite(y).all() and (dx == 0).all()
        assert all((w.grad == 0).all() for w in layer.weights)


def test_a_model_of_sound():
    """From samples to a recurrent layer: an octave is told from a fifth."""
    tdfast.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = np.stack([tone(f * 440, samples=2000) + tone(440, samples=2000) + 0.1 * rng.normal(size=2000)
                  for f in np.where(y, 1.5, 2)])
    model = Sequential([
        layers.Input((2000,)), MelSpectrogram(512, 256, sampling_rate=8000, num_mel_bins=24),
        layers.Rescaling(0.02), layers.Permute((2, 1)), layers.GRU(8), layers.Dense(1, "sigmoid")])
    model.compile(tdfast.optimizers.Adam(0.03), "binary_crossentropy", metrics=["accuracy"])
    assert model.fit(x, y, epochs=15, verbose=0).history["accuracy"][-1] == 1


@pytest.mark.parametrize("make, match", [
    (lambda: STFTSpectrogram("loud"), "mode must be one of 'log', 'magnitude'"),
    (lambda: STFTSpectrogram(frame_length=0), "frame_length"),
    (lambda: STFTSpectrogram(frame_length=8, frame_step=9), "from 1 to frame_length=8, got 9"),
    (lambda: STFTSpectrogram(frame_length=8, frame_step=0), "frame_step"),
    (lambda: STFTSpectrogram(frame_length=8, fft_length=4), "at least frame_length=8, got 4"),
    (lambda: STFTSpectrogram(frame_length=8, window=[1.0, 2.0]), r"must have 8 numbers.*shape \(2,\)"),
    (lambda: STFTSpectrogram(scaling="loudness"), "'spectrum' or None, got 'loudness'"),
    (lambda: STFTSpectrogram(padding="causal"), "padding must be one of"),
    (lambda: STFTSpectrogram(frame_length=8)(np.zeros((2, 30))), r"add it: x\[..., None\]"),
    (lambda: STFTSpectrogram(frame_length=8)(np.zeros((2, 7, 1))), "smaller frame_length"),
    (lambda: MelSpectrogram(fft_length=8, sequence_length=9), "must not be above fft_length=8, got 9"),
    (lambda: MelSpectrogram(window="blackman"), "'hamming', the numbers or None, got 'blackman'"),
    (lambda: MelSpectrogram(fft_length=8, window=np.ones(9)), "must have 8 numbers"),
    (lambda: MelSpectrogram(num_mel_bins=0), "num_mel_bins"),
    (lambda: MelSpectrogram(fft_length=8)(np.zeros((2, 30, 2))), "several channels"),
    (lambda: MelSpectrogram(fft_length=8)(np.zeros((2, 0))), "needs at least one sample"),
    (lambda: tdfast.initializers.STFT("left"), "side must be 'real' or 'imag', got 'left'"),
    (lambda: tdfast.initializers.STFT(scaling="loud"), "'spectrum' or None, got 'loud'"),
    (lambda: tdfast.initializers.STFT()((3, 4)), r"shape \(samples of a frame, 1, bins\)"),
], ids=str)
def test_mistakes(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_windows_of_scipy(monkeypatch):
    signal = pytest.importorskip("scipy.signal")
    layer = STFTSpectrogram("real", 8, window="blackman", scaling=None)
    layer.build((None, 8, 1))
    assert np.allclose(layer.real_kernel.value[:, 0, 0], signal.get_window("blackman", 8, False), atol=1e-6)
    with pytest.raises(ValueError, match="window='loud' is no window"):
        STFTSpectrogram(window="loud")
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(ImportError, match="window='blackman' needs the package scipy"):
        STFTSpectrogram(window="blackman")
