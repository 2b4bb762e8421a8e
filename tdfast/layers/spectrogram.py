"""Sound as spectrograms: STFTSpectrogram, whose waves can be trained, and MelSpectrogram."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, initializers
from tdfast.engine import window_functions
from tdfast.engine.layer import Layer
from tdfast.layers.convolution import shapes
from tdfast.layers.convolution.conv import convolve, convolve_back, kernel_sizes
from tdfast.layers.core import positive_int
from tdfast.layers.rescaling import restored

if TYPE_CHECKING:
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes

EPSILON = 1e-7
"""The least power that STFTSpectrogram takes a root of, and the least root for a logarithm, as in Keras."""

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class _Spectrogram(Layer):
    """What both share: a window that is a name or numbers, in configs too."""

    supports_masking = False

    @property
    def _who(self) -> str:
        return f"Layer '{self.name}' ({type(self).__name__})"

    @classmethod
    def from_config(cls, config: Config) -> Any:
        return cls(**{k: restored(v) if k == "window" else v for k, v in config.items()})


class STFTSpectrogram(_Spectrogram):
    """The frequencies in each frame of a signal: a short-time Fourier transform by convolution.

    ``re[j, k] = sum over t of x[j s + t] real_kernel[t, 0, k]`` and im likewise, with s = frame_step and the
    fft_length // 2 + 1 frequencies k; each channel by itself. The kernels begin as waves under a window
    (`tdfast.initializers.STFT`), and training changes them: ``trainable=False`` keeps them as they are.
    Source: https://keras.io/api/layers/preprocessing_layers/audio_preprocessing/stft_spectrogram/.

    Args:
        mode: the output, with power = re^2 + im^2: 'log' ``log(sqrt(max(power, 1e-7)))``, 'magnitude' the
            same without the logarithm, 'psd' power, doubled but for the first and the last frequency, 'real'
            re, 'imag' im, 'angle' ``atan2(im, re)``, or 'stft' re and behind it im.
        frame_length: samples of a frame.
        frame_step: from one frame to the next; None: half a frame.
        fft_length: twice the number of frequencies, less two; None: the next power of two.
        window: 'hann', 'hamming', another name of ``scipy.signal.get_window``, the numbers, or None.
        periodic: of a window by its name: as if the number after the last were the first.
        scaling: what the waves are divided by: 'density' the root of the sum of the window's squares,
            'spectrum' the sum of its magnitudes, None nothing.
        padding: 'valid' (frames inside the signal) or 'same' (zeros around it).
        expand_dims: True: the channels have an axis of their own, the last, as images have.
        data_format: None or 'channels_last'; 'channels_first' for inputs (batch, channels, samples).

    Raises:
        ValueError: for an unknown option, a frame_step that is not from 1 to frame_length, an fft_length
            below frame_length, a signal shorter than a frame, or an input of another rank.

    Input (batch, samples, channels), output (batch, frames, channels * frequencies), or with expand_dims
    (batch, frames, frequencies, channels). With 'channels_first' (batch, channels * frequencies, frames), or
    (batch, channels, frames, frequencies). A mask cannot go through.

    >>> import numpy as np
    >>> layer = STFTSpectrogram("magnitude", frame_length=64, frame_step=16, scaling="spectrum")
    >>> t = np.arange(800) / 8000
    >>> y = layer(np.sin(2 * np.pi * 1000 * t)[None, :, None])
    >>> y.shape, y[0].argmax(axis=-1).tolist()[:3]         # 8 of the 32 steps up to 4000 Hz
    ((1, 47, 33), [8, 8, 8])
    """

    def __init__(self, mode: str = "log", frame_length: int = 256, frame_step: int | None = None,
                 fft_length: int | None = None, window: Any = "hann", periodic: bool = False,
                 scaling: str | None = "density", padding: str = "valid", expand_dims: bool = False,
                 data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._mode = shapes.one_of(mode, MODES, "mode", self)
        self.frame_length = positive_int(frame_length, "frame_length", self)
        self.frame_step, self.fft_length = frame_step, fft_length
        self._step = max(self.frame_length // 2, 1) if frame_step is None else frame_step
        if self._step != positive_int(self._step, "frame_step", self) or self._step > self.frame_length:
            raise ValueError(f"{self._who}: frame_step must be from 1 to frame_length={frame_length}, got "
                             f"{frame_step}.")
        size = 2 ** math.ceil(math.log2(self.frame_length)) if fft_length is None else fft_length
        if positive_int(size, "fft_length", self) < self.frame_length:
            raise ValueError(f"{self._who}: fft_length must be at least frame_length={frame_length}, got "
                             f"{fft_length}.")
        self._bins = size // 2 + 1
        self.window, self.periodic = window, self._flag(periodic, "periodic")
        window_functions.values(window, self.frame_length, self.periodic, self._who)
        if scaling not in ("density", "spectrum", None):
            raise ValueError(f"{self._who}: scaling must be 'density', 'spectrum' or None, got {scaling!r}.")
        self.scaling = scaling
        self.padding = shapes.one_of(padding, ("valid", "same"), "padding", self)
        self.expand_dims = self._flag(expand_dims, "expand_dims")
        self.data_format = shapes.one_of(data_format or "channels_last", ("channels_last", "channels_first"),
                                         "data_format", self)
        self.real_kernel: Any = None
        self.imag_kernel: Any = None

    @property
    def _first(self) -> bool:
        return self.data_format == "channels_first"

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != 3 or input_shape[1 if self._first else 2] is None:
            axes = "channels, samples" if self._first else "samples, channels"
            hint = " If the axis of channels is missing, add it: x[..., None]." * (len(input_shape) == 2)
            raise ValueError(f"{self._who} expects input of shape (batch, {axes}), got {tuple(input_shape)}."
                             + hint)
        self._frames(input_shape[2 if self._first else 1])

    def _frames(self, samples: int | None) -> Any:
        return shapes.output_sizes((samples,), (self.frame_length,), (self._step,), self.padding, self,
                                   "frame_length")[0]

    def build(self, input_shape: Shapes) -> None:
        shape = (self.frame_length, 1, self._bins)
        for side in ("real", "imag"):
            if self._mode not in ("real", "imag") or self._mode == side:
                start = initializers.STFT(side, self.window, self.scaling, self.periodic)
                setattr(self, f"{side}_kernel", self.add_weight(shape, start, f"{side}_kernel"))

    @property
    def _sides(self) -> list[Any]:
        """The weights that there are: real_kernel, imag_kernel or both."""
        return [kernel for kernel in (self.real_kernel, self.imag_kernel) if kernel is not None]

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        batch, *rest = input_shape
        channels, samples = rest if self._first else rest[::-1]
        frames, bins = self._frames(samples), self._bins * (1 + (self._mode == "stft"))
        if self._first:
            return (batch, channels, frames, bins) if self.expand_dims else (batch, channels * bins, frames)
        return (batch, frames, bins, channels) if self.expand_dims else (batch, frames, channels * bins)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        batch, *rest = x.shape
        channels, samples = rest if self._first else rest[::-1]
        signals = rec.buffer("signals", (batch, channels, samples), x.dtype)
        signals[...] = x if self._first else x.transpose(0, 2, 1)
        rows = signals.reshape(batch * channels, samples, 1)
        sizes = kernel_sizes(rows.shape, (self.frame_length,), self._bins, (self._step,),
                             padding=self.padding)
        parts = [convolve(tape.push(self), tape, rows, kernel.value, sizes) for kernel in self._sides]
        y = self._outcome(rec, *parts)
        y = y.reshape(batch, channels, *y.shape[1:])                    # (batch, channels, frames, bins)
        shape = self.compute_output_shape(x.shape)
        out = rec.buffer("out", shape, x.dtype)
        self._axes(out, channels)[...] = y
        if tape.keep:
            rec.parts, rec.shape, rec.channels = parts, x.shape, channels
        return out

    def _axes(self, out: Array, channels: int) -> Array:
        """A view of an output, or of its gradient, with the axes (batch, channels, frames, bins)."""
        bins = self._bins * (1 + (self._mode == "stft"))
        if self.expand_dims:
            return out if self._first else out.transpose(0, 3, 1, 2)
        if self._first:
            return out.reshape(len(out), channels, bins, out.shape[-1]).transpose(0, 1, 3, 2)
        return out.reshape(*out.shape[:2], channels, bins).transpose(0, 2, 1, 3)

    def _outcome(self, rec: Record, first: Array, second: Any = None) -> Array:
        """What the mode makes of re and im."""
        if second is None:
            return first
        if self._mode == "angle":
            return np.arctan2(second, first)
        if self._mode == "stft":
            return np.concatenate([first, second], axis=-1)
        power = first * first
        power += second * second
        if self._mode == "psd":
            power[..., 1:-1] *= 2
            return power
        rec.heard = power > EPSILON
        root = np.sqrt(np.maximum(power, power.dtype.type(EPSILON)))
        rec.divisor = root if self._mode == "magnitude" else power
        return root if self._mode == "magnitude" else np.log(np.maximum(root, power.dtype.type(EPSILON)))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        records = [tape.pop(self) for _ in self._sides][::-1]
        rec = tape.pop(self)
        d = np.ascontiguousarray(self._axes(dy, rec.channels))
        d = d.reshape(d.shape[0] * d.shape[1], *d.shape[2:])
        grads = self._back(rec, d, *rec.parts)
        parts = [convolve_back(record, grad, kernel, need_dx)
                 for record, grad, kernel in zip(records, grads, self._sides)]
        if not need_dx:
            return None
        dx = parts[0]
        for part in parts[1:]:
            np.add(dx, part, out=dx)
        dx = dx.reshape(rec.shape[0], rec.channels, dx.shape[1])
        return dx if self._first else np.ascontiguousarray(dx.transpose(0, 2, 1))

    def _back(self, rec: Record, d: Array, first: Array, second: Any = None) -> list[Array]:
        """The gradients with respect to re and im."""
        if second is None:
            return [d]
        if self._mode == "stft":
            return [np.ascontiguousarray(d[..., part]) for part in (slice(None, self._bins),
                                                                    slice(self._bins, None))]
        if self._mode == "angle":
            d = _quotient(d, first * first + second * second)
            return [-d * second, d * first]
        if self._mode == "psd":
            d = 2 * d
            d[..., 1:-1] *= 2
        else:
            d = np.where(rec.heard, _quotient(d, rec.divisor), d.dtype.type(0))
        return [d * first, d * second]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "mode": self._mode,
            **{name: getattr(self, name) for name in ("frame_length", "frame_step", "fft_length")},
            "window": _as_list(self.window),
            **{name: getattr(self, name) for name in ("periodic", "scaling", "padding", "data_format",
                                                      "expand_dims")},
        }


def _as_list(window: Any) -> Any:
    """A window for a config. Keras writes an array into one, and cannot read it again."""
    return window.tolist() if isinstance(window, np.ndarray) else window


def _quotient(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


class MelSpectrogram(_Spectrogram):
    """The loudness of a signal by pitch: frames, their frequencies, and these in bands of the mel scale.

    The signal is mirrored at its ends by fft_length // 2 samples. Each frame of fft_length samples under the
    window has magnitudes at fft_length // 2 + 1 frequencies; to the power of mag_exp they are summed in
    num_mel_bins triangles, which stand at equal steps of ``mel(f) = 1127 log(1 + f / 700)``. With power_to_db
    the sums become ``10 log10(max(sum, min_power)) - 10 log10(max(abs(ref_power), min_power))``, and none
    stays more than top_db below the loudest one of the whole batch. Nothing is trained.
    Source: https://keras.io/api/layers/preprocessing_layers/audio_preprocessing/mel_spectrogram/.

    Args:
        fft_length: samples of a frame, and the number of its frequencies, with those that mirror others.
        sequence_stride: samples from one frame to the next.
        sequence_length: of the window, which stands in the middle of a frame; None: fft_length.
        window: 'hann', 'hamming', sequence_length numbers, or None: all ones.
        sampling_rate: samples of a second.
        num_mel_bins: the number of triangles.
        min_freq, max_freq: in Hz, where the first one begins and the last one ends; None: at half of
            sampling_rate.
        power_to_db: give decibels. False: give the sums.
        top_db: decibels below the loudest that stay.
        mag_exp: 1 for magnitudes, 2 for powers.
        min_power: sums below it count as it.
        ref_power: the sum of 0 dB.

    Raises:
        ValueError: for a sequence_length above fft_length, an unknown window, numbers below 1 where there are
            none, or an input of another rank.

    Input (batch, samples) or (samples,), output (batch, num_mel_bins, frames) or (num_mel_bins, frames), with
    ``1 + samples // sequence_stride`` frames where fft_length is even.

    With power_to_db a row's result depends on its batch, as in Keras: the loudest sum is that of the batch.

    >>> import numpy as np
    >>> MelSpectrogram(num_mel_bins=80, sampling_rate=8000, sequence_stride=128)(np.zeros((2, 16000))).shape
    (2, 80, 126)
    """

    def __init__(self, fft_length: int = 2048, sequence_stride: int = 512, sequence_length: int | None = None,
                 window: Any = "hann", sampling_rate: int = 16000, num_mel_bins: int = 128,
                 min_freq: float = 20.0, max_freq: float | None = None, power_to_db: bool = True,
                 top_db: float = 80.0, mag_exp: float = 2.0, min_power: float = 1e-10, ref_power: float = 1.0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("fft_length", fft_length), ("sequence_stride", sequence_stride),
                            ("sequence_length", sequence_length or fft_length),
                            ("num_mel_bins", num_mel_bins)):
            setattr(self, name, positive_int(value, name, self))
        self.fft_length: int
        self.sequence_stride: int
        self.sequence_length: int
        self.num_mel_bins: int
        if self.sequence_length > self.fft_length:
            raise ValueError(f"{self._who}: sequence_length must not be above fft_length={fft_length}, got "
                             f"{sequence_length}.")
        if isinstance(window, str) and window not in ("hann", "hamming"):
            raise ValueError(
                f"{self._who}: window must be 'hann', 'hamming', the numbers or None, got {window!r}."
            )
        self.window, self.sampling_rate, self.min_freq = window, sampling_rate, min_freq
        self.max_freq = max_freq or int(sampling_rate / 2)
        self.power_to_db = self._flag(power_to_db, "power_to_db")
        self.top_db, self.mag_exp, self.min_power, self.ref_power = top_db, mag_exp, min_power, ref_power
        numbers = window_functions.values(window, self.sequence_length, True, self._who)
        left = (self.fft_length - self.sequence_length) // 2
        self._window = np.ones(self.fft_length, self.dtype)
        if numbers is not None:
            self._window[:] = 0
            self._window[left : left + self.sequence_length] = numbers
        self._bands = mel_bands(self.num_mel_bins, self.fft_length // 2 + 1, sampling_rate, min_freq,
                                self.max_freq).astype(self.dtype)

    @property
    def batch_coupled(self) -> bool:  # type: ignore[override]
        """Whether a row's result depends on its batch, of which it hears the loudest sum."""
        return self.power_to_db

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) not in (1, 2):
            hint = " Sound of several channels: one MelSpectrogram for each, x[..., 0] and so on."
            raise ValueError(f"{self._who} expects input of shape (batch, samples), got {tuple(input_shape)}."
                             + hint * (len(input_shape) == 3))
        samples = input_shape[-1]
        if samples is not None and len(input_shape) == 2 and self._frames(samples) < 1:
            raise ValueError(
                f"{self._who} needs at least one sample, or two where fft_length is odd, got input of shape "
                f"{tuple(input_shape)}."
            )

    def _frames(self, samples: int | None) -> Any:
        if samples is None:
            return None
        return (samples - self.fft_length % 2) // self.sequence_stride + 1 if samples else 0

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return (*input_shape[:-1], self.num_mel_bins, self._frames(input_shape[-1]))

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.single, rec.samples = x.ndim == 1, x.shape[-1]
        signals = x[None] if rec.single else x
        N = self.fft_length
        padded = signals[:, self._mirror(rec.samples)]
        frames = np.lib.stride_tricks.sliding_window_view(padded, N, axis=1)[:, :: self.sequence_stride]
        waves = np.fft.rfft(frames * self._window).astype(np.result_type(x.dtype, np.complex64), copy=False)
        powers = np.ascontiguousarray(np.square(waves.real) + np.square(waves.imag))
        heard = powers if self.mag_exp == 2 else np.power(np.sqrt(powers), x.dtype.type(self.mag_exp))
        sums = self._in_bands(rec, tape, heard)
        y = self._in_decibels(rec, sums) if self.power_to_db else sums
        if tape.keep:
            rec.waves, rec.powers, rec.heard, rec.sums = waves, powers, heard, sums
        out = rec.buffer("out", (len(signals), self.num_mel_bins, sums.shape[1]), x.dtype)
        out[...] = y.transpose(0, 2, 1)
        return out[0] if rec.single else out

    def _mirror(self, samples: int) -> Array:
        """Which sample stands at each place of the mirrored signal."""
        steps = np.arange(-(self.fft_length // 2), samples + self.fft_length // 2)
        period = max(2 * (samples - 1), 1)
        steps = steps % period
        return np.minimum(steps, period - steps) if samples > 1 else np.zeros_like(steps)

    def _in_bands(self, rec: Record, tape: Tape, heard: Array) -> Array:
        """The sums in the triangles."""
        K, M = self._bands.shape[0], math.prod(heard.shape[:-1])
        N = self.num_mel_bins
        packed, ready = rec.packed_weights(tape, self._bands, (_kernels.dense_pack_size(K, N),), heard.dtype)
        if not ready:
            _kernels.dense_pack(K, N, self._bands, packed)
        sums = rec.buffer("sums", (*heard.shape[:-1], N), heard.dtype)
        _kernels.dense_forward(act=0, M=M, K=K, N=N, x=heard, packed=packed, bias=None, z=None, y=sums)
        return sums

    def _in_decibels(self, rec: Record, sums: Array) -> Array:
        kind = sums.dtype.type
        y = kind(10) * np.log10(np.maximum(sums, kind(self.min_power)))
        y -= kind(10 * math.log10(max(abs(self.ref_power), self.min_power)))
        if not y.size:
            return y
        rec.loudest = y.max()
        rec.quiet = y < rec.loudest - kind(self.top_db)
        rec.at_loudest = y == rec.loudest
        return np.maximum(y, rec.loudest - kind(self.top_db))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        d = np.ascontiguousarray((dy[None] if rec.single else dy).transpose(0, 2, 1))
        if self.power_to_db and d.size:
            d = self._decibels_back(rec, d)
        d = self._bands_back(rec, d)
        kind = d.dtype.type
        if self.mag_exp == 2:
            d = 2 * d
        else:
            d = _quotient(kind(self.mag_exp) * d * rec.heard, rec.powers)
        dx = self._waves_back(d * rec.waves, rec.samples)
        return dx[0] if rec.single else dx

    def _decibels_back(self, rec: Record, d: Array) -> Array:
        """What is cut off below the loudest sums moves with these."""
        moved = d[rec.quiet].sum() / rec.at_loudest.sum()
        d = np.where(rec.quiet, d.dtype.type(0), d)
        d[rec.at_loudest] += moved
        d *= d.dtype.type(10 / math.log(10))
        return np.where(rec.sums > self.min_power, _quotient(d, rec.sums), d.dtype.type(0))

    def _bands_back(self, rec: Record, d: Array) -> Array:
        K, N = self._bands.shape
        M = math.prod(d.shape[:-1])
        dx = rec.buffer("dheard", (*d.shape[:-1], K), d.dtype)
        unused = rec.buffer("dbands", (K, N), d.dtype)
        scratch = rec.buffer("scratch", (_kernels.dense_scratch_size(K, N),), d.dtype)
        _kernels.dense_backward(act=0, M=M, K=K, N=N, x=rec.heard, kernel=self._bands, z=None, y=rec.sums,
                                dy=d, dz=rec.buffer("dz", d.shape, d.dtype), dx=dx, dkernel=unused,
                                dbias=None, scratch=scratch)
        return dx

    def _waves_back(self, d: Array, samples: int) -> Array:
        """The gradient of the signal, from that of its frequencies."""
        N = self.fft_length
        d *= d.real.dtype.type(N)
        d[..., 1 : (N + 1) // 2] *= d.real.dtype.type(0.5)          # irfft counts these twice
        frames = np.fft.irfft(d, N).astype(self.dtype, copy=False) * self._window
        padded = np.zeros((len(d), samples + 2 * (N // 2)), self.dtype)
        for j in range(frames.shape[1]):
            padded[:, j * self.sequence_stride : j * self.sequence_stride + N] += frames[:, j]
        half = N // 2
        dx = padded[:, half : half + samples].copy()
        outside = np.r_[0:half, half + samples : samples + 2 * half]
        rows = np.arange(len(d))[:, None]
        np.add.at(dx, (rows, self._mirror(samples)[outside]), padded[:, outside])
        return dx

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in ("fft_length", "sequence_stride", "sequence_length")},
            "window": _as_list(self.window),
            **{name: getattr(self, name) for name in (
                "sampling_rate", "num_mel_bins", "min_freq", "max_freq", "power_to_db", "top_db", "mag_exp",
                "min_power", "ref_power")},
        }


def mel_bands(number: int, frequencies: int, sampling_rate: float, low: float, high: float) -> Array:
    """The triangles of `MelSpectrogram`, (frequencies, number): how much each sum takes of a frequency.

    The frequencies go from 0, which no sum takes, to half of the sampling rate.

    >>> mel_bands(2, 5, 8000, 0, 4000).round(2).tolist()
    [[0.0, 0.0], [0.6, 0.4], [0.0, 0.87], [0.0, 0.38], [0.0, 0.0]]
    """
    def mel(f: Any) -> Any:
        return 1127 * np.log1p(np.asarray(f, np.float64) / 700)

    places = mel(np.linspace(0, sampling_rate / 2, frequencies))[:, None]
    edges = np.linspace(mel(low), mel(high), number + 2)
    width = edges[1] - edges[0]
    out = np.maximum(0, np.minimum((places - edges[:-2]) / width, (edges[2:] - places) / width))
    out[0] = 0
    return out
