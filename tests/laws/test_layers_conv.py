"""Convolutions and pooling with their options, held to every law of laws.py; and their errors."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

from tdfast import layers

# ---------------------------------------------------------------- cases


def pair(value, n):
    return value if isinstance(value, tuple) else (value,) * n


def meaning_of(options, n):
    """The arguments of the formulas that a layer's options mean."""
    out = {"act": options.get("activation", "linear"), "padding": options.get("padding", "valid")}
    for option, name in (("strides", "strides"), ("dilation_rate", "dilation")):
        if option in options:
            out[name] = pair(options[option], n)
    return out


def conv_case(name, kernel_size, shape, sizes=(1, 4, 17, 33), bounded=None, scale=1.0, spread=1.0, divide=1,
              only=None, **options):
    """Conv1D, Conv2D or Conv3D, by the number of axes; `divide`: filters are this times the size."""
    n = len(shape) - 1
    cls = getattr(layers, f"Conv{n}D")
    meaning = meaning_of(options, n)
    return Case(
        f"{cls.__name__} {name}", lambda size, dtype: cls(size * divide, kernel_size, dtype=dtype, **options),
        shape,
        lambda x, w, size: reference.conv(x, *w, groups=options.get("groups", 1), **meaning),
        sizes=sizes, bounded=False if bounded is None else bounded, scale=scale, spread=spread, laws=only,
    )


VALUES = (laws.equals_reference, laws.central_differences, laws.float32_gradients,
          laws.same_bits_on_every_isa)

CASES = [
    conv_case("valid", 1, ("T", 3)),
    conv_case("same", 3, ("T", 3), padding="same"),
    conv_case("same, even window", 4, ("T", 5), padding="same", use_bias=False),
    conv_case("causal", 3, ("T", 2), padding="causal", activation="tanh", bounded=True),
    conv_case("causal, dilation", 3, ("T", 3), padding="causal", dilation_rate=2, activation="relu"),
    conv_case("same, strides", 5, ("T", 3), padding="same", strides=3),
    conv_case("groups", 3, ("T", 6), padding="same", groups=3, divide=3, sizes=(1, 4, 11)),
    conv_case("groups of one channel", 3, ("T", 4), padding="causal", groups=4, divide=4, sizes=(1, 4, 9)),
    conv_case("valid", 3, (7, 6, 3)),
    conv_case("relu, valid, odd image", (2, 3), (5, 9, 3), activation="relu"),
    conv_case("same", 3, (5, 6, 3), padding="same", activation="sigmoid", bounded=True),
    conv_case("same, strides", (3, 2), (7, 8, 3), padding="same", strides=(2, 3)),
    conv_case("valid, strides", 2, (7, 9, 3), strides=2, activation="softmax", bounded=True),
    conv_case("dilation", 3, (9, 8, 2), dilation_rate=(2, 3), activation="gelu"),
    conv_case("same, dilation", 3, (5, 6, 2), padding="same", dilation_rate=2),
    conv_case("groups", 3, (6, 5, 4), groups=2, divide=2, sizes=(1, 4, 17), padding="same",
              activation="silu"),
    conv_case("window of a pixel", 1, (5, 6, 17)),
    conv_case("one pixel", 3, (3, 3, 5)),
    conv_case("wide image", 3, (3, 130, 3), sizes=(4, 65), only=VALUES[:1] + VALUES[2:]),
    conv_case("large kernel", 3, (4, 5, 70), sizes=(64,), padding="same",
              only=(laws.float32_gradients, laws.same_bits_on_every_isa, laws.same_bits_on_any_threads)),
    conv_case("valid", 2, (3, 4, 3, 3), sizes=(1, 4, 17)),
    conv_case("same", 3, (3, 2, 4, 2), padding="same", activation="tanh", bounded=True, sizes=(1, 17)),
    conv_case("same, strides", (2, 3, 1), (4, 5, 3, 2), padding="same", strides=(3, 2, 1), activation="relu",
              sizes=(1, 5)),
    conv_case("dilation", 2, (5, 4, 3, 2), dilation_rate=(3, 2, 1), use_bias=False, sizes=(1, 4)),
    conv_case("same, dilation along the rows", 2, (2, 3, 5, 2), padding="same", dilation_rate=(1, 1, 3),
              sizes=(4,)),
    conv_case("groups", (2, 1, 3), (3, 3, 4, 4), groups=2, divide=2, sizes=(1, 9), padding="same",
              activation="gelu"),
    conv_case("groups of one channel", 2, (3, 4, 3, 3), groups=3, divide=3, sizes=(1, 2), padding="same",
              dilation_rate=2),
    conv_case("one element", (3, 2, 2), (3, 2, 2, 5), sizes=(4,)),
    conv_case("one plane", (1, 3, 3), (2, 4, 4, 3), sizes=(4,), padding="same"),
    conv_case("wide volume", 3, (3, 3, 70, 2), sizes=(17,), only=VALUES[:1] + VALUES[2:]),
    conv_case("large kernel of volumes", 3, (3, 3, 4, 24), sizes=(64,), padding="same",
              only=(laws.float32_gradients, laws.same_bits_on_every_isa, laws.same_bits_on_any_threads)),
    *(conv_case(f"activation {a}", 3, (4, 4, 3), activation=a, only=VALUES, sizes=(1, 17), scale=0.4,
                spread=2)
      for a in reference.ACTIVATIONS),
]


def depthwise_case(kind, name, kernel_size, shape, sizes=(1, 4, 17, 33), separable=False, only=None,
                   **options):
    """DepthwiseConv, its depth_multiplier the size, or SeparableConv, its filters the size."""
    cls = getattr(layers, f"{kind}{len(shape) - 1}D")
    meaning, separable = meaning_of(options, len(shape) - 1), kind == "SeparableConv"
    formula = reference.separable_conv if separable else reference.depthwise_conv

    def make(size, dtype):
        return cls(size, kernel_size, dtype=dtype,
                   **options) if separable else cls(kernel_size, depth_multiplier=size, dtype=dtype,
                                                    **options)

    return Case(f"{cls.__name__} {name}", make, shape, lambda x, w, size: formula(x, *w, **meaning),
                sizes=sizes, bounded=False, laws=only)


CASES += [
    depthwise_case("DepthwiseConv", "valid", 3, (7, 3), sizes=(1, 2, 5)),
    depthwise_case("DepthwiseConv", "same, strides", 4, ("T", 5), padding="same", strides=2,
                   activation="gelu", sizes=(1, 3)),
    depthwise_case("DepthwiseConv", "causal, dilation", 3, ("T", 17), padding="causal", dilation_rate=2,
                   use_bias=False, sizes=(1, 2)),
    depthwise_case("DepthwiseConv", "one channel", 3, ("T", 1), padding="same", activation="tanh"),
    depthwise_case("DepthwiseConv", "valid", 3, (7, 6, 3), sizes=(1, 2, 6)),
    depthwise_case("DepthwiseConv", "33 channels", 3, (5, 7, 33), sizes=(1,), activation="relu",
                   padding="same"),
    depthwise_case("DepthwiseConv", "strides", (3, 2), (7, 9, 4), strides=(2, 3), sizes=(1, 4),
                   activation="softmax"),
    depthwise_case("DepthwiseConv", "same, strides and dilation", 3, (6, 9, 4), padding="same",
                   strides=(1, 2), dilation_rate=2, sizes=(1, 2)),
    depthwise_case("DepthwiseConv", "wide image", 3, (3, 130, 3), sizes=(1, 5), only=VALUES[:1] + VALUES[2:]),
    depthwise_case("SeparableConv", "valid", 2, (6, 3)),
    depthwise_case("SeparableConv", "same, multiplier", 3, ("T", 5), padding="same", depth_multiplier=2,
                   activation="sigmoid"),
    depthwise_case("SeparableConv", "causal, dilation", 3, ("T", 2), padding="causal", dilation_rate=3,
                   activation="relu"),
    depthwise_case("SeparableConv", "strides", 3, ("T", 4), padding="same", strides=2, use_bias=False),
    depthwise_case("SeparableConv", "valid", 3, (5, 6, 3), activation="silu"),
    depthwise_case("SeparableConv", "same, strides, multiplier", (2, 3), (6, 7, 3), padding="same", strides=2,
                   depth_multiplier=3),
    depthwise_case("SeparableConv", "dilation of one channel", 2, (6, 7, 1), dilation_rate=(2, 3)),
]


def transposed_case(name, kernel_size, shape, sizes=(1, 4, 17, 33), only=None, **options):
    n = len(shape) - 1
    cls = getattr(layers, f"Conv{n}DTranspose")
    meaning = meaning_of(options, n)
    if "output_padding" in options:
        meaning["output_padding"] = pair(options["output_padding"], n)
    return Case(f"{cls.__name__} {name}", lambda size, dtype: cls(size, kernel_size, dtype=dtype, **options),
                shape,
                lambda x, w, size: reference.conv_transpose(x, *w, **meaning), sizes=sizes, bounded=False,
                laws=only)


# there are outputs that see no input
GAPS = tuple(law for law in laws.LAWS if law is not laws.saturation_and_nan)

CASES += [
    transposed_case("valid", 3, ("T", 3)),
    transposed_case("valid, strides", 4, ("T", 5), strides=2, activation="tanh"),
    transposed_case("same", 3, ("T", 17), padding="same", use_bias=False),
    transposed_case("same, even window", 4, ("T", 3), padding="same", activation="gelu"),
    transposed_case("same, strides", 5, ("T", 2), padding="same", strides=3, activation="relu"),
    transposed_case("strides beyond the window", 2, ("T", 3), strides=4, only=GAPS),
    transposed_case("same, strides beyond the window", 2, ("T", 3), strides=5, padding="same", only=GAPS),
    transposed_case("same, output_padding", 3, ("T", 4), strides=3, padding="same", output_padding=2,
                    only=GAPS),
    transposed_case("same, dilation", 3, ("T", 3), padding="same", dilation_rate=2),
    transposed_case("valid, dilation", 2, ("T", 3), dilation_rate=3, only=GAPS),
    transposed_case("window of a step", 1, ("T", 3), activation="softmax"),
    transposed_case("valid", 3, (4, 5, 3)),
    transposed_case("same, strides", (3, 4), (5, 4, 3), padding="same", strides=2, activation="silu"),
    transposed_case("valid, output_padding", (3, 2), (3, 4, 4), strides=(2, 3), output_padding=(0, 2),
                    only=GAPS),
    transposed_case("same, output_padding", (5, 4), (3, 4, 2), strides=(3, 2), padding="same",
                    output_padding=(1, 1), activation="softmax"),
    transposed_case("valid", 2, (2, 3, 2, 3), sizes=(1, 17)),
    transposed_case("same, strides", (3, 2, 1), (2, 3, 2, 4), padding="same", strides=(2, 1, 3), sizes=(1, 5),
                    activation="gelu", only=GAPS),
    transposed_case("valid, output_padding", (2, 3, 3), (2, 2, 3, 2), strides=(3, 2, 3), sizes=(4,),
                    output_padding=(1, 0, 2), only=GAPS),
    transposed_case("same, dilation", 2, (3, 2, 3, 2), padding="same", dilation_rate=(2, 1, 3), sizes=(4,),
                    use_bias=False, only=GAPS),
    transposed_case("same, strides of a wide image", 3, (3, 130, 3), sizes=(4, 65), strides=2, padding="same",
                    only=VALUES[:1] + VALUES[2:]),
    transposed_case("large kernel", 3, (4, 5, 70), sizes=(64,), padding="same",
                    only=(laws.float32_gradients, laws.same_bits_on_every_isa,
                          laws.same_bits_on_any_threads)),
]


def pool_case(cls, name, shape, formula, mask=False, **options):
    return Case(f"{cls.__name__} {name}", lambda size, dtype: cls(dtype=dtype, **options), shape,
                lambda x, w, size, **call: formula(x, **call), mask=mask, sizes=(4,))


def window_cases(cls, formula):
    """1D, 2D or 3D, by the name of the class."""
    if cls.__name__.endswith("1D"):
        choices = [((9, 3), {"pool_size": 2}), ((9, 17), {"pool_size": 3, "strides": 2}),
                   (("T", 5), {"pool_size": 3, "padding": "same"}),
                   (("T", 1), {"pool_size": 2, "strides": 1, "padding": "same"})]
    elif cls.__name__.endswith("3D"):
        choices = [((4, 5, 4, 3), {"pool_size": 2}),
                   ((5, 4, 3, 17), {"pool_size": (3, 2, 1), "strides": (2, 1, 1)}),
                   ((3, 4, 5, 9), {"pool_size": 3, "strides": 2, "padding": "same"}),
                   ((3, 5, 4, 2), {"pool_size": (2, 1, 3), "strides": 3, "padding": "same"})]
    else:
        choices = [((6, 7, 3), {"pool_size": 2}), ((7, 6, 17), {"pool_size": (3, 2), "strides": (2, 1)}),
                   ((5, 6, 33), {"pool_size": 3, "strides": 2, "padding": "same"}),
                   ((5, 6, 2), {"pool_size": (2, 4), "strides": 3, "padding": "same"})]
    for shape, options in choices:
        n = len(shape) - 1
        window, strides = pair(options["pool_size"], n), pair(options.get("strides", options["pool_size"]), n)
        padding = options.get("padding", "valid")
        yield pool_case(cls, str(options), shape, lambda x, a=(window, strides, padding): formula(x, *a),
                        **options)


for cls, formula in ((layers.MaxPooling1D, reference.max_pool), (layers.MaxPooling2D, reference.max_pool),
                     (layers.AveragePooling1D, reference.average_pool),
                     (layers.AveragePooling2D, reference.average_pool),
                     (layers.MaxPooling3D, reference.max_pool),
                     (layers.AveragePooling3D, reference.average_pool)):
    CASES.extend(window_cases(cls, formula))

CASES += [
    pool_case(layers.GlobalMaxPooling1D, "", ("T", 5), lambda x: x.max(axis=1)),
    pool_case(layers.GlobalMaxPooling2D, "keepdims", (4, 3, 5), lambda x: x.max(axis=(1, 2), keepdims=True),
              keepdims=True),
    pool_case(layers.GlobalAveragePooling1D, "", ("T", 17), reference.masked_mean),
    pool_case(layers.GlobalAveragePooling1D, "mask", ("T", 5), reference.masked_mean, mask=True),
    pool_case(layers.GlobalAveragePooling1D, "mask keepdims", ("T", 5),
              lambda x, mask: reference.masked_mean(x, mask, keepdims=True), mask=True, keepdims=True),
    pool_case(layers.GlobalAveragePooling2D, "", (4, 3, 5), lambda x: x.mean(axis=(1, 2))),
    *(pool_case(getattr(layers, f"Adaptive{kind}Pooling{len(n)}D"), f"{n} of {shape}", shape,
                lambda x, n=n, f=f: reference.adaptive_pool(x, n, f), output_size=n)
      for kind, f in (("Max", np.max), ("Average", np.mean))
      for n, shape in (((2,), (7, 3)), ((5,), (7, 17)), ((9,), (4, 1)), ((3,), ("T", 5)), ((2, 4), (6, 7, 3)),
                       ((3, 3), (6, 3, 33)), ((2, 1, 3), (5, 4, 4, 3)), ((2, 2, 2), (4, 4, 2, 9)))),
    pool_case(layers.GlobalMaxPooling3D, "", (2, 3, 4, 5), lambda x: x.max(axis=(1, 2, 3))),
    pool_case(layers.GlobalAveragePooling3D, "keepdims", (3, 2, 3, 5),
              lambda x: x.mean(axis=(1, 2, 3), keepdims=True), keepdims=True),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


@pytest.mark.parametrize("make, words", [
    (lambda: layers.Conv1D(0, 3), "filters must be a whole number of at least 1, got 0"),
    (lambda: layers.Conv1D(2, 3, data_format="channels_first"), "np.moveaxis(x, 1, -1)"),
    (lambda: layers.Conv2D(2, (3, 3, 3)),
     "kernel_size must be a whole number of at least 1 or 2 of them, got (3, 3, 3)"),
    (lambda: layers.Conv2D(2, 3, strides=2, dilation_rate=2),
     "strides and dilation_rate cannot both be above 1"),
    (lambda: layers.Conv2D(2, 3, padding="causal"), "padding must be one of 'valid', 'same', got 'causal'"),
    (lambda: layers.Conv2D(3, 3, groups=2), "groups must divide filters"),
    (lambda: layers.Conv1D(2, 3, groups=2)(np.ones((1, 4, 3))), "groups must divide the input's channels"),
    (lambda: layers.Conv1D(2, 6, name="odd")(np.ones((1, 5, 2))), "Layer 'odd' (Conv1D): a window of 6"),
    (lambda: layers.DepthwiseConv1D(3, depth_multiplier=0),
     "depth_multiplier must be a whole number of at least 1, got 0"),
    (lambda: layers.DepthwiseConv2D(3, padding="causal"), "padding must be one of 'valid', 'same'"),
    (lambda: layers.DepthwiseConv2D(0), "kernel_size must be"),
    (lambda: layers.DepthwiseConv2D(3, data_format="channels_first"), "channels_first"),
    (lambda: layers.DepthwiseConv1D(3, dilation_rate=3)(np.ones((1, 6, 2))),
     "a window of 7 (kernel_size, with dilation_rate) does not fit"),
    (lambda: layers.DepthwiseConv1D(3)(np.ones((1, 6))),
     "(batch, steps, channels), got (1, 6). If the axis of channels is missing"),
    (lambda: layers.SeparableConv1D(0, 3), "filters must be"),
    (lambda: layers.SeparableConv2D(2, 3)(np.ones((1, 6, 5))), "(batch, height, width, channels)"),
    (lambda: layers.SeparableConv1D(2, 3, kernel_initializer="zeros"), "'kernel_initializer'"),
    (lambda: layers.Conv1DTranspose(2, 3, padding="causal"), "padding must be one of 'valid', 'same'"),
    (lambda: layers.Conv1DTranspose(2, 3, 2, output_padding=2),
     "output_padding must be below strides on each axis, got output_padding=(2,)"),
    (lambda: layers.Conv2DTranspose(2, 3, 3, output_padding=(1, -1)),
     "output_padding must be a whole number of at least 0"),
    (lambda: layers.Conv2DTranspose(2, 3, strides=2, dilation_rate=2), "cannot both be above 1"),
    (lambda: layers.Conv1DTranspose(2, 4, 2, "same", output_padding=0)(np.ones((1, 1, 3))),
     "would give an output of shape (1, 0, 2)"),
    (lambda: layers.Conv1DTranspose(2, 3)(np.ones((1, 0, 3))), "an input of shape (1, 0, 3)"),
    (lambda: layers.MaxPooling1D(4)(np.ones((1, 3, 2))), "(pool_size) does not fit"),
    (lambda: layers.Conv3D(2, (3, 3)), "kernel_size must be a whole number of at least 1 or 3 of them"),
    (lambda: layers.Conv3D(2, 3, data_format="channels_first"), "channels_first"),
    (lambda: layers.Conv3D(2, 3)(np.ones((2, 4, 4, 4))),
     "(batch, depth, height, width, channels), got (2, 4, 4, 4). If the axis of channels is missing"),
    (lambda: layers.Conv3D(2, 3)(np.ones((2, 3, 4, 4, 4, 1))), "TimeDistributed(Conv3D(...))"),
    (lambda: layers.Conv3D(2, 3)(np.ones((2, 2, 4, 4, 1))), "a window of 3 x 3 x 3"),
    (lambda: layers.Conv3DTranspose(2, 3, 2, output_padding=(1, 1, 2)),
     "output_padding must be below strides"),
    (lambda: layers.MaxPooling3D((2, 2, 4))(np.ones((1, 3, 3, 3, 2))), "(pool_size) does not fit"),
    (lambda: layers.AdaptiveMaxPooling1D(0), "output_size must be a whole number of at least 1, got 0"),
    (lambda: layers.AdaptiveAveragePooling2D((2, 3, 4)), "output_size must be"),
    (lambda: layers.AdaptiveAveragePooling3D(2, "channels_first"), "channels_first"),
    (lambda: layers.AdaptiveMaxPooling1D(2)(np.ones((1, 0, 2))), "nothing to pool"),
    (lambda: layers.AdaptiveMaxPooling2D(2)(np.ones((1, 3, 2))), "(batch, height, width, channels)"),
    (lambda: layers.GlobalAveragePooling3D()(np.ones((1, 0, 3, 3, 2))), "nothing to pool"),
    (lambda: layers.AveragePooling2D(2, padding="causal"), "padding must be one of"),
    (lambda: layers.GlobalMaxPooling1D()(np.ones((1, 0, 2))), "nothing to pool"),
])
def test_refuses(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize("layer", [layers.DepthwiseConv1D(2), layers.SeparableConv1D(3, 2),
                                   layers.Conv1DTranspose(3, 2)],
                         ids=lambda layer: type(layer).__name__)
def test_other_channels_and_masks_are_refused(layer):
    layer(np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match="was built for 4 channels"):
        layer(np.ones((2, 5, 3)))
    with pytest.raises(TypeError, match=f"{layer.name}.*cannot carry a mask"):
        layer.compute_mask(np.ones((2, 5, 4)), np.ones((2, 5), bool))
