"""What every layer, activation and loss computes, in float64 NumPy: the specification.

Forward formulas only, written from their definitions with no thought for speed, and independent of
the package under test. The laws (laws.py) compare every layer with these and take derivatives by
differences.
"""

import math

import numpy as np

# ---------------------------------------------------------------- activations

_erf = np.vectorize(math.erf, otypes=["float64"])


def sigmoid(x):
    """1 / (1 + e^-x), written with e^-|x| so that it cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def softplus(x):
    """log(1 + e^x)"""
    return np.logaddexp(0, x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def sparse_plus(x):
    return np.where(x <= -1, 0.0, np.where(x < 1, (x + 1) ** 2 / 4, x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    z = x - x.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def sparsemax(x):
    """The Euclidean projection of each row onto the simplex (Martins and Astudillo, 2016)."""
    out = np.empty(x.shape)
    for row, y in zip(x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1])):
        z = np.sort(row)[::-1]
        tau = (np.cumsum(z) - 1) / np.arange(1, len(z) + 1)
        y[...] = np.maximum(row - tau[np.flatnonzero(z > tau)[-1]], 0)
    return out


ACTIVATIONS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x >= 0, x, 0.2 * x),
    "elu": elu,
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "celu": elu,
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "exponential": np.exp,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "log_sigmoid": lambda x: -softplus(-x),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sparsemax": sparsemax,
}
ROW_ACTIVATIONS = ("softmax", "log_softmax", "sparsemax")


def activation(name, x):
    return ACTIVATIONS[name or "linear"](np.asarray(x, "float64"))


# ---------------------------------------------------------------- layers


def dense(x, kernel, bias=None, act=None):
    """f(x W + b) on the last axis, whatever stands before it."""
    z = np.einsum("...k,kn->...n", x, kernel)
    return activation(act, z if bias is None else z + bias)


def time_distributed(f, x):
    """f on the slice of every time step."""
    return np.stack([f(x[:, t]) for t in range(x.shape[1])], axis=1)


def lstm(x, kernel, recurrent, bias=None, *, act="tanh", rec_act="sigmoid", mask=None, reverse=False,
         h0=None, c0=None, input_drop=None, recurrent_drop=None):
    """A long short-term memory (Hochreiter and Schmidhuber, 1997; with Gers' forget gate).

    z = x_t W + h_{t-1} U + b, split into i, f, g, o;
    c_t = s(f) c_{t-1} + s(i) a(g);  h_t = s(o) a(c_t).
    A step whose mask is False changes no state, and gives the output before it once more (zeros when
    there is none, whatever the initial state: so do Keras's TensorFlow and torch backends).

    Args:
        x: (B, T, I).
        kernel, recurrent, bias: (I, 4H), (H, 4H), (4H).
        mask: booleans (B, T).
        reverse: run from the last step to the first; the outputs come in the order of the run.
        h0, c0: (B, H), zeros when None.
        input_drop: (B, I) factors on every x_t; recurrent_drop: (B, H) factors on every h_{t-1}.

    Returns:
        (y, h, c): outputs (B, T, H) and the last states (B, H).
    """
    B, T, _ = x.shape
    H = recurrent.shape[0]
    h = np.zeros((B, H)) if h0 is None else np.asarray(h0, "float64")
    c = np.zeros((B, H)) if c0 is None else np.asarray(c0, "float64")
    steps = range(T - 1, -1, -1) if reverse else range(T)
    y, outputs = np.zeros((B, H)), []
    for t in steps:
        x_t = x[:, t] if input_drop is None else x[:, t] * input_drop
        h_in = h if recurrent_drop is None else h * recurrent_drop
        z = x_t @ kernel + h_in @ recurrent
        if bias is not None:
            z = z + bias
        i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
        c_new = activation(rec_act, f) * c + activation(rec_act, i) * activation(act, g)
        h_new = activation(rec_act, o) * activation(act, c_new)
        if mask is None:
            h, c, y = h_new, c_new, h_new
        else:
            keep = mask[:, t, None]
            h, c, y = np.where(keep, h_new, h), np.where(keep, c_new, c), np.where(keep, h_new, y)
        outputs.append(y)
    return np.stack(outputs, axis=1), h, c


def gru(x, kernel, recurrent, bias=None, *, act="tanh", rec_act="sigmoid", reset_after=True, mask=None,
        reverse=False, h0=None, input_drop=None, recurrent_drop=None):
    """A gated recurrent unit (Cho et al., 2014), with the reset gate after or before the product.

    z, r = s(x_t W + b + h_{t-1} U + d) in their parts; c = a(x_t W_h + b_h + r (h_{t-1} U_h + d_h)), or
    a(x_t W_h + b_h + (r h_{t-1}) U_h);  h_t = z h_{t-1} + (1 - z) c.
    recurrent_drop stands on h_{t-1} in the products alone. The rest is as in lstm().

    Args:
        kernel, recurrent: (I, 3H), (H, 3H) in the order z, r, h.
        bias: (2, 3H), b and d, or (3H), b alone, without reset_after.

    Returns:
        (y, h): outputs (B, T, H) and the last state (B, H).
    """
    B, T, _ = x.shape
    H = recurrent.shape[0]
    h = np.zeros((B, H)) if h0 is None else np.asarray(h0, "float64")
    rows = np.zeros((2, 3 * H))
    if bias is not None:
        rows[: 2 if reset_after else 1] = bias
    parts = [slice(k * H, (k + 1) * H) for k in range(3)]
    y, outputs = np.zeros((B, H)), []
    for t in range(T - 1, -1, -1) if reverse else range(T):
        x_t = x[:, t] if input_drop is None else x[:, t] * input_drop
        h_in = h if recurrent_drop is None else h * recurrent_drop
        xz, xr, xc = (x_t @ kernel[:, p] + rows[0, p] for p in parts)
        hz, hr, hc = (h_in @ recurrent[:, p] + rows[1, p] for p in parts)
        z, r = activation(rec_act, xz + hz), activation(rec_act, xr + hr)
        c = activation(act, xc + (r * hc if reset_after else (r * h_in) @ recurrent[:, parts[2]]))
        h_new = z * h + (1 - z) * c
        if mask is None:
            h = y = h_new
        else:
            keep = mask[:, t, None]
            h, y = np.where(keep, h_new, h), np.where(keep, h_new, y)
        outputs.append(y)
    return np.stack(outputs, axis=1), h


def simple_rnn(x, kernel, recurrent, bias=None, *, act="tanh", mask=None, reverse=False, h0=None,
               input_drop=None, recurrent_drop=None):
    """A simple recurrent network (Elman, 1990): h_t = a(x_t W + h_{t-1} U + b). The rest is as in lstm().

    Args:
        kernel, recurrent, bias: (I, H), (H, H), (H).

    Returns:
        (y, h): outputs (B, T, H) and the last state (B, H).
    """
    B, T, _ = x.shape
    h = np.zeros((B, recurrent.shape[0])) if h0 is None else np.asarray(h0, "float64")
    y, outputs = np.zeros_like(h), []
    for t in range(T - 1, -1, -1) if reverse else range(T):
        x_t = x[:, t] if input_drop is None else x[:, t] * input_drop
        h_in = h if recurrent_drop is None else h * recurrent_drop
        h_new = activation(act, x_t @ kernel + h_in @ recurrent + (0 if bias is None else bias))
        if mask is None:
            h = y = h_new
        else:
            keep = mask[:, t, None]
            h, y = np.where(keep, h_new, h), np.where(keep, h_new, y)
        outputs.append(y)
    return np.stack(outputs, axis=1), h


# ---------------------------------------------------------------- losses
# Each gives one number for every sample (and time step): the mean or sum over the last axis.

EPSILON = 1e-7      # Keras's fuzz factor


def mean_squared_error(y, p):
    return np.mean((p - y) ** 2, axis=-1)


def mean_absolute_error(y, p):
    return np.mean(np.abs(p - y), axis=-1)


def huber(y, p, delta=1.0):
    e = np.abs(p - y)
    return np.mean(np.where(e <= delta, e * e / 2, delta * e - delta * delta / 2), axis=-1)


def categorical_crossentropy(y, p, from_logits=False, label_smoothing=0.0):
    """-sum y log p, with p scaled to a sum of 1 and clipped to [EPSILON, 1 - EPSILON]."""
    y = y * (1 - label_smoothing) + label_smoothing / y.shape[-1]
    if from_logits:
        return -np.sum(y * log_softmax(p), axis=-1)
    p = np.clip(p / p.sum(axis=-1, keepdims=True), EPSILON, 1 - EPSILON)
    return -np.sum(y * np.log(p), axis=-1)


def sparse_categorical_crossentropy(labels, p, from_logits=False):
    """The same for whole-number labels of shape p.shape[:-1]."""
    labels = np.asarray(labels).astype("int64").reshape(p.shape[:-1])
    return categorical_crossentropy(np.eye(p.shape[-1])[labels], p, from_logits)


def binary_crossentropy(y, p, from_logits=False, label_smoothing=0.0):
    y = y * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:
        return np.mean(y * softplus(-p) + (1 - y) * softplus(p), axis=-1)
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p), axis=-1)


def reduced(values, sample_weight=None):
    """The mean over everything, after the weights: Keras's "sum_over_batch_size"."""
    if sample_weight is not None:
        weight = np.asarray(sample_weight, "float64")
        values = values * weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))
    return float(np.mean(values))


# ---------------------------------------------------------------- convolution and pooling
# Sequences (B, T, C) and images (B, H, W, C) alike: n axes between batch and channels, and as many numbers
# in kernel sizes, strides and dilations. Window after window, from the definition.


def padded(x, window, strides, padding, value=0.0):
    """x with `value` around it, as padding asks for windows that span so much of each axis."""
    widths = [(0, 0)]
    for size, k, s in zip(x.shape[1:-1], window, strides):
        total = {"valid": 0, "causal": k - 1, "same": max((-(-size // s) - 1) * s + k - size, 0)}[padding]
        before = total if padding == "causal" else total // 2
        widths.append((before, total - before))
    return np.pad(x, [*widths, (0, 0)], constant_values=value)


def each_window(x, window, strides, dilation):
    """(index of the output, window of shape (B, *kernel size, C)) for every place of the window in x."""
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation)]
    counts = [(size - span) // s + 1 for size, span, s in zip(x.shape[1:-1], spans, strides)]
    for place in np.ndindex(*counts):
        cut = tuple(slice(i * s, i * s + span, d) for i, s, span, d in zip(place, strides, spans, dilation))
        yield place, x[(slice(None), *cut)]


def windowed(x, window, strides, dilation, f):
    """The array of f(window of shape (B, *kernel size, C)), a number for each channel it gives."""
    places = list(each_window(x, window, strides, dilation))
    counts = [n + 1 for n in places[-1][0]]
    out = [f(cut) for _, cut in places]
    return np.stack(out, axis=1).reshape(len(x), *counts, -1)


def conv(x, kernel, bias=None, strides=None, padding="valid", dilation=None, groups=1, act="linear"):
    """y = act(sum over the window and the group's channels of x kernel + bias)."""
    n = x.ndim - 2
    strides, dilation = strides or (1,) * n, dilation or (1,) * n
    size = kernel.shape[:n]
    x = padded(x, [(k - 1) * d + 1 for k, d in zip(size, dilation)], strides, padding)
    over = list(range(1, n + 2)), list(range(n + 1))
    parts = [
        windowed(xs, size, strides, dilation, lambda cut, ks=ks: np.tensordot(cut, ks, over))
        for xs, ks in zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1))
    ]
    return activation(act, np.concatenate(parts, axis=-1) + (0 if bias is None else bias))


def depthwise_conv(x, kernel, bias=None, **options):
    """Filter q of channel c reads that channel alone and writes output channel c * multiplier + q."""
    *size, channels, multiplier = kernel.shape
    return conv(x, kernel.reshape(*size, 1, channels * multiplier), bias, groups=channels, **options)


def separable_conv(x, depthwise, pointwise, bias=None, act="linear", **options):
    """A depthwise convolution, then one with a window of 1."""
    return conv(depthwise_conv(x, depthwise, **options), pointwise, bias, act=act)


def conv_transpose(x, kernel, bias=None, strides=None, padding="valid", dilation=None, output_padding=None,
                   act="linear"):
    """A convolution with the mirrored kernel of x with zeros between its elements and around them; kernel
    (*size, F, C).

    With "valid", all places that the kernel reaches, and zeros up to the next stride; output_padding says how
    many. With "same", strides times as many as x has; with output_padding (n - 1) strides + (1 if the window
    is odd) + it.
    """
    n = x.ndim - 2
    strides, dilation, more = strides or (1,) * n, dilation or (1,) * n, output_padding or (None,) * n
    spread = np.zeros((len(x), *((size - 1) * s + 1 for size, s in zip(x.shape[1:-1], strides)), x.shape[-1]),
                      x.dtype)
    spread[(slice(None), *(slice(None, None, s) for s in strides))] = x
    widths = []
    for size, k, s, d, p in zip(x.shape[1:-1], kernel.shape, strides, dilation, more):
        span = (k - 1) * d + 1
        if padding == "valid":
            before, total = span - 1, max(span, s) - span if p is None else p
            total += (size - 1) * s + span
        else:
            total = size * s if p is None else (size - 1) * s + span % 2 + p
            around = total + span - 1 - ((size - 1) * s + 1)
            before = min(around - around // 2, span - 1)
        widths.append((before, total + span - 1 - ((size - 1) * s + 1) - before))
    mirrored = np.swapaxes(np.flip(kernel, tuple(range(n))), -1, -2)
    return conv(np.pad(spread, [(0, 0), *widths, (0, 0)]), mirrored, bias, dilation=dilation, act=act)


def max_pool(x, window, strides=None, padding="valid"):
    strides = strides or window
    x = padded(x, window, strides, padding, -np.inf)
    over = tuple(range(1, x.ndim - 1))
    return windowed(x, window, strides, (1,) * len(window), lambda cut: cut.max(axis=over))


def average_pool(x, window, strides=None, padding="valid"):
    """The mean of what lies inside the image."""
    strides = strides or window
    inside = padded(np.ones_like(x), window, strides, padding)
    x = padded(x, window, strides, padding)
    over = tuple(range(1, x.ndim - 1))
    total, count = (windowed(a, window, strides, (1,) * len(window), lambda cut: cut.sum(axis=over))
                    for a in (x, inside))
    return total / count


def adaptive_pool(x, sizes, f):
    """f (a mean or a maximum, over axes) of window i of n along each axis: from the floor of i / n of the
    axis to the ceiling of (i + 1) / n of it."""
    out = np.empty((len(x), *sizes, x.shape[-1]))
    for place in np.ndindex(*sizes):
        cut = tuple(slice(i * size // n, -(-(i + 1) * size // n))
                    for i, n, size in zip(place, sizes, x.shape[1:]))
        out[(slice(None), *place)] = f(x[(slice(None), *cut)], axis=tuple(range(1, x.ndim - 1)))
    return out


def masked_mean(x, mask=None, keepdims=False):
    """The mean over the steps that the mask leaves; 0 where it leaves none."""
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    total = np.sum(np.where(mask[..., None], x, 0), axis=1, keepdims=keepdims)
    return total / np.maximum(mask.sum(axis=1), 1).reshape(len(x), *(1,) * (total.ndim - 1))


def around(x, widths):
    """x with so many zeros (before, behind) on each axis between batch and channels."""
    return np.pad(x, [(0, 0), *widths, (0, 0)])


def cropped(x, widths):
    """x without so many elements (before, behind) of each axis between batch and channels."""
    return x[(slice(None), *(slice(before, size - behind) for (before, behind),
                             size in zip(widths, x.shape[1:])))]


def upsampled(x, sizes, interpolation="nearest"):
    """Element i of an axis is at (i + 1/2) / size - 1/2 of x's: the nearest there, or between the two around
    it."""
    for axis, size in enumerate(sizes, 1):
        n = x.shape[axis]
        at = (np.arange(n * size) + 0.5) / size - 0.5
        at = np.floor(at + 0.5) if interpolation == "nearest" else at
        below = np.floor(at)
        part = (at - below).reshape(-1, *(1,) * (x.ndim - axis - 1))
        one, other = (np.take(x, np.clip(below + i, 0, n - 1).astype(int), axis) for i in (0, 1))
        x = np.where(part == 0, one, one * (1 - part) + other * part)      # no infinity times 0
    return x


# ---------------------------------------------------------------- recurrent wrappers


def bidirectional(run, x, merge, sequences):
    """A sequence read from both ends (Schuster and Paliwal, 1997).

    Args:
        run: run(x, which, reverse) -> (y, *states), outputs of every step in the order of the run;
            which is 0 for the layer that reads forward, 1 for the other.
        merge: "concat", "sum", "mul", "ave" or None.
        sequences: the outputs of all steps, or those at the end of each run.

    Returns:
        (y, *states of the one, *states of the other); two outputs when merge is None.
    """
    y, *states = run(x, 0, False)
    z, *more = run(x, 1, True)
    y, z = (y, z[:, ::-1]) if sequences else (y[:, -1], z[:, -1])
    merged = {"concat": lambda: [np.concatenate([y, z], axis=-1)], "sum": lambda: [y + z],
              "mul": lambda: [y * z],
              "ave": lambda: [(y + z) / 2], None: lambda: [y, z]}[merge]()
    return (*merged, *states, *more)
# ------------------------------------------------------------------ optimizers
# Weights after the gradients (a list of arrays), from w; the slots begin as Keras's do.
def sgd(w, gradients, lr, momentum=0.0, nesterov=False):
    m = 0
    for g in gradients:
        m = momentum * m - lr * g
        w = w + (momentum * m - lr * g if nesterov else m)
    return w


def adam(w, gradients, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False):
    m = v = top = 0
    for t, g in enumerate(gradients, 1):
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
        top = np.maximum(top, v) if amsgrad else v
        w = w - lr * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (np.sqrt(top) + epsilon)
    return w


def rmsprop(w, gradients, lr, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    v = c = m = 0
    for g in gradients:
        v, c = rho * v + (1 - rho) * g * g, rho * c + (1 - rho) * g
        m = momentum * m + lr * g / np.sqrt(v - centered * c * c + epsilon)
        w = w - m
    return w


def adagrad(w, gradients, lr, initial_accumulator_value=0.1, epsilon=1e-7):
    v = initial_accumulator_value
    for g in gradients:
        v = v + g * g
        w = w - lr * g / np.sqrt(v + epsilon)
    return w


def adadelta(w, gradients, lr, rho=0.95, epsilon=1e-7):
    v = u = 0
    for g in gradients:
        v = rho * v + (1 - rho) * g * g
        d = g * np.sqrt(u + epsilon) / np.sqrt(v + epsilon)
        u = rho * u + (1 - rho) * d * d
        w = w - lr * d
    return w


def adamax(w, gradients, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m = u = 0
    for t, g in enumerate(gradients, 1):
        m, u = beta_1 * m + (1 - beta_1) * g, np.maximum(beta_2 * u, np.abs(g))
        w = w - lr / (1 - beta_1**t) * m / (u + epsilon)
    return w


def nadam(w, gradients, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    def u(t):
        return beta_1 * (1 - 0.96**t / 2)

    m, v, product = 0, 0, 1.0
    for t, g in enumerate(gradients, 1):
        product *= u(t)
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
        ahead = u(t + 1) * m / (1 - product * u(t + 1)) + (1 - u(t)) * g / (1 - product)
        w = w - lr * ahead / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
    return w


def ftrl(w, gradients, lr, learning_rate_power=-0.5, initial_accumulator_value=0.1,
         l1_regularization_strength=0.0,
         l2_regularization_strength=0.0, l2_shrinkage_regularization_strength=0.0, beta=0.0):
    n, z, p, l1 = initial_accumulator_value + 0 * w, 0, -learning_rate_power, l1_regularization_strength
    for g in gradients:
        z = z + g + 2 * l2_shrinkage_regularization_strength * w - ((n + g * g) ** p - n**p) / lr * w
        n = n + g * g
        w = (np.clip(z, -l1, l1) - z) / (n**p / lr + 2 * l2_regularization_strength + beta / lr)
    return w


def lion(w, gradients, lr, beta_1=0.9, beta_2=0.99):
    m = 0
    for g in gradients:
        w = w - lr * np.sign(beta_1 * m + (1 - beta_1) * g)
        m = beta_2 * m + (1 - beta_2) * g
    return w


def lamb(w, gradients, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m = v = 0
    for t, g in enumerate(gradients, 1):
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
        u = m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        norms = np.sqrt(np.sum(w * w)), np.sqrt(np.sum(u * u))
        w = w - lr * (norms[0] / norms[1] if min(norms) > 0 else 1.0) * u
    return w


def schedulefreeadamw(w, gradients, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-8, warmup_steps=0):
    """The three sequences of the paper, each on its own."""
    z = x = w
    v = 0
    for t, g in enumerate(gradients, 1):
        v = beta_2 * v + (1 - beta_2) * g * g
        rate = lr * min(t / warmup_steps, 1) if warmup_steps else lr
        z = z - rate * g / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        x = (1 - 1 / t) * x + z / t
        w = (1 - beta_1) * z + beta_1 * x
    return w


def adafactor(w, gradients, lr, beta_2_decay=-0.8, epsilon_1=1e-30, epsilon_2=1e-3, clip_threshold=1.0):
    def rms(a):
        return np.sqrt(np.mean(a**2))

    r = c = v = 0
    for t, g in enumerate(gradients, 1):
        old, s = 1 - t**beta_2_decay, g * g + epsilon_1
        if w.ndim < 2:
            v = old * v + (1 - old) * s
        else:
            r, c = old * r + (1 - old) * s.mean(-1), old * c + (1 - old) * s.mean(-2)
            v = np.einsum("...i,...j->...ij", r / r.mean(-1, keepdims=True), c)
        u = g / np.sqrt(v)
        w = w - max(epsilon_2, rms(w)) * min(lr, t**-0.5) * u / max(1, rms(u) / clip_threshold)
    return w


def muon(w, gradients, lr, adam_beta_1=0.9, adam_beta_2=0.999, adam_weight_decay=0.004, epsilon=1e-7,
         weight_decay=0.004, momentum=0.95, ns_steps=5, nesterov=True, rms_rate=0.2, adam_lr_ratio=1):
    """Of a matrix by its singular values: the iteration changes these alone."""
    if w.ndim != 2:
        m = v = 0
        for t, g in enumerate(gradients, 1):
            w = w - lr * (adam_weight_decay or 0) * w
            m = adam_beta_1 * m + (1 - adam_beta_1) * g
            v = adam_beta_2 * v + (1 - adam_beta_2) * g * g
            rate = lr * adam_lr_ratio * np.sqrt(1 - adam_beta_2**t) / (1 - adam_beta_1**t)
            w = w - rate * m / (np.sqrt(v) + epsilon)
        return w
    m = 0
    for g in gradients:
        w = w - lr * (weight_decay or 0) * w
        m = momentum * m + g
        u, s, vt = np.linalg.svd(g + momentum * m if nesterov else m, full_matrices=False)
        s = s / (np.sqrt(np.sum(s * s)) + 1e-7)
        for _ in range(ns_steps):
            s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
        step = u * s @ vt
        w = w - lr * step * (1 if rms_rate is None else rms_rate * np.sqrt(max(w.shape)))
    return w


# ---------------------------------------------------------------- normalization


def layer_normalization(x, gamma, beta, axes=(-1,), epsilon=1e-3):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    shape = [n if a - x.ndim in axes else 1 for a, n in enumerate(x.shape)]
    return (x - mean) / np.sqrt(variance + epsilon) * gamma.reshape(shape) + beta.reshape(shape)


def batch_normalization(x, gamma, beta, mean, variance, training=False, mask=None, epsilon=1e-3):
    """Features last. In training the statistics are those of the batch, of its valid steps where there is a
    mask."""
    if training:
        weight = np.ones(x.shape[:-1]) if mask is None else mask.astype(float)
        total = weight.sum() + (0 if mask is None else 1e-7)
        axes = tuple(range(x.ndim - 1))
        mean = (x * weight[..., None]).sum(axes) / total
        variance = ((x - mean) ** 2 * weight[..., None]).sum(axes) / total
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


# ---------------------------------------------------------------- elementwise layers


def relu_with(x, max_value=np.inf, negative_slope=0.0, threshold=0.0):
    """min(x, max_value) above the threshold, a line of another slope through (threshold, 0) elsewhere."""
    return np.where(x > threshold, np.minimum(x, max_value), negative_slope * (x - threshold))


def softmax_over(x, axes, mask=None):
    e = np.exp(x - x.max(axes, keepdims=True)) * (1 if mask is None else mask)
    total = e.sum(axes, keepdims=True)
    return e / np.where(total == 0, 1, total)


def rms_normalization(x, scale, axes, epsilon=1e-6):
    return x / np.sqrt((x**2).mean(axes, keepdims=True) + epsilon) * scale


def group_normalization(x, gamma, beta, groups, epsilon=1e-3):
    """Features last."""
    out = np.empty_like(x)
    size = x.shape[-1] // groups
    for b in range(len(x)):
        for g in range(0, x.shape[-1], size):
            part = x[b, ..., g : g + size]
            out[b, ..., g : g + size] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
    return out * gamma + beta
# ---------------------------------------------------------------- ConvLSTM


def conv_lstm(x, kernel, recurrent, bias=None, *, act="tanh", rec_act="sigmoid", strides=None,
              padding="valid",
              dilation=None, mask=None, reverse=False):
    """A convolutional LSTM (Shi et al., 2015, without peepholes): as lstm(), with * a convolution.

    z = x_t * W + h_{t-1} * U + b; U with padding 'same' and strides of 1.

    Args:
        x: (B, T, ..., C); kernel, recurrent, bias: (*window, C, 4F), (*window, F, 4F), (4F).

    Returns:
        (y, h, c): outputs (B, T, ..., F) and the last states.
    """
    F, n = recurrent.shape[-2], kernel.ndim - 2
    more = {"padding": padding, "strides": strides or (1,) * n, "dilation": dilation or (1,) * n}
    T, h, c, y, outputs = x.shape[1], 0.0, 0.0, 0.0, []
    for t in range(T - 1, -1, -1) if reverse else range(T):
        z = conv(x[:, t], kernel, bias, **more)
        if outputs:
            z = z + conv(h, recurrent, padding="same")
        i, f, g, o = (z[..., k * F : (k + 1) * F] for k in range(4))
        c_new = activation(rec_act, f) * c + activation(rec_act, i) * activation(act, g)
        h_new = activation(rec_act, o) * activation(act, c_new)
        keep = np.ones_like(h_new, bool) if mask is None else mask[:, t].reshape(-1, *(1,) * (h_new.ndim - 1))
        h, c, y = np.where(keep, h_new, h), np.where(keep, c_new, c), np.where(keep, h_new, y)
        outputs.append(y)
    return np.stack(outputs, axis=1), h, c
# ---------------------------------------------------------------- attention


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def seen(T, S, mask=None, causal=False, window=None):
    """Which of S keys each of T queries sees, (1 or B, T, S); mask: (B, S) of the keys."""
    away = np.arange(T)[:, None] - np.arange(S)
    out = np.ones((1, T, S), bool)
    if mask is not None:
        out = out & mask[:, None]
    if causal:
        out = out & (away >= 0)
    if window:
        out = out & (abs(away) < window)
    return out


def scored_attention(query, value, score, mask=None, causal=False):
    """softmax(score(query, value)) value, (B, T, width), and the shares (B, T, S).

    What is not seen has a score lower by 1e9; the output is 0 where the query does not count, which has the
    value's mask.
    """
    scores = score(query[:, :, None], value[:, None])
    shares = softmax(scores - 1e9 * ~seen(*scores.shape[1:], mask, causal))
    y = shares @ value
    return (y if mask is None else y * mask[..., None]), shares


def multi_head_attention(query, value, weights, mask=None, causal=False, window=None, gate=False, zero=False):
    """Heads of the query, of which several may share a key: the output and the shares (B, heads, T, S).

    Args:
        weights: kernel (features, heads, width) and bias of the query, the key, the gate if there is one, and
            the value; kernel (heads, width, features) and bias of the output.
        mask: of the steps of both inputs.
        zero: what is not seen has no share, even where nothing is.
    """
    pairs = [weights[i : i + 2] for i in range(0, len(weights), 2)]
    inputs = [query, value, query, value] if gate else [query, value, value]
    q, k, *gates, v = (np.einsum("btf,fhd->bhtd", x, kernel) + bias[:, None]
                       for x, (kernel, bias) in zip(inputs, pairs))
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    counts = seen(*scores.shape[2:], mask, causal, window)
    if mask is not None:
        counts = counts & mask[:, :, None]
    shares = softmax(np.where(counts[:, None], scores, -1e9))
    if zero:
        shares = shares * counts[:, None]
    context = shares @ v
    if gate:
        context = context / (1 + np.exp(-gates[0]))
    kernel, bias = pairs[-1]
    return np.einsum("bhtd,hdf->btf", context, kernel) + bias, shares


# ---------------------------------------------------------------- sound


def stft_spectrogram(x, *kernels, mode="log", step, padding="valid", channels_first=False, images=False):
    """Frames times waves, channel by channel; kernels: (frame, 1, bins), re and im or one of them."""
    x = np.swapaxes(x, 1, 2) if channels_first else x
    length = len(kernels[0])
    if padding == "same":
        count = -(-x.shape[1] // step)
        missing = max((count - 1) * step + length - x.shape[1], 0)
        x = np.pad(x, [(0, 0), (missing // 2, missing - missing // 2), (0, 0)])
    starts = range(0, x.shape[1] - length + 1, step)
    frames = np.stack([x[:, i : i + length] for i in starts], axis=1)     # (batch, frames, length, channels)
    parts = [np.einsum("bjtc,tk->bjck", frames, kernel[:, 0]) for kernel in kernels]
    if mode in ("real", "imag"):
        y, = parts
    elif mode == "angle":
        y = np.arctan2(parts[1], parts[0])
    elif mode == "stft":
        y = np.concatenate(parts, axis=-1)
    else:
        y = parts[0] ** 2 + parts[1] ** 2
        if mode == "psd":
            y = y * np.array([1.0, *[2.0] * (y.shape[-1] - 2), 1.0][: y.shape[-1]])
        else:
            y = np.sqrt(np.maximum(y, 1e-7))
            y = np.log(y) if mode == "log" else y
    if images:
        return np.moveaxis(y, 2, 1) if channels_first else np.moveaxis(y, 2, 3)
    y = y.reshape(*y.shape[:2], -1)
    return np.swapaxes(y, 1, 2) if channels_first else y


def mel_spectrogram(x, *, n, stride, window, rate, bins, low, high, decibels=True, top=80.0, exponent=2.0,
                    least=1e-10, ref=1.0):
    """By sines and cosines; window: n numbers."""
    x = np.pad(x, [(0, 0), (n // 2, n // 2)], mode="reflect" if x.shape[1] > 1 else "edge")
    frames = np.stack([x[:, i : i + n] * window for i in range(0, x.shape[1] - n + 1, stride)], axis=1)
    turn = 2 * np.pi * np.outer(np.arange(n), np.arange(n // 2 + 1)) / n
    heard = np.hypot(frames @ np.cos(turn), frames @ np.sin(turn)) ** exponent

    def mel(f):
        return 1127 * math.log(1 + f / 700)

    edges = [mel(low) + i * (mel(high) - mel(low)) / (bins + 1) for i in range(bins + 2)]
    bands = np.zeros((n // 2 + 1, bins))
    for k in range(1, n // 2 + 1):
        place = mel(rate / 2 * k / (n // 2))
        for m in range(bins):
            rising = (place - edges[m]) / (edges[m + 1] - edges[m])
            falling = (edges[m + 2] - place) / (edges[m + 2] - edges[m + 1])
            bands[k, m] = max(0.0, min(rising, falling))
    sums = np.swapaxes(heard @ bands, 1, 2)
    if not decibels:
        return sums
    y = 10 * np.log10(np.maximum(sums, least)) - 10 * math.log10(max(abs(ref), least))
    return np.maximum(y, y.max() - top)
