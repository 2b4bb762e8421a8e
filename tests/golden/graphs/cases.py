"""Models with several inputs, outputs or branches, written as a user of Keras writes them.

For each, NAME.keras and NAME.npz hold what Keras saved and computed: predictions, logs and weights of three
training steps, predictions after them.
"""

import numpy as np

f32 = np.float32


def normal(*s):
    return lambda r, n: r.normal(size=(n, *s)).astype(f32)


def uniform(lo, hi, *s):
    return lambda r, n: r.uniform(lo, hi, (n, *s)).astype(f32)


def ints(hi, *s):
    return lambda r, n: r.integers(0, hi, (n, *s)).astype("int32")


def onehot(k, *s):
    return lambda r, n: np.eye(k, dtype=f32)[r.integers(0, k, (n, *s))]


def bits(*s):
    return lambda r, n: r.integers(0, 2, (n, *s)).astype(f32)


def lengths(r, n, t):
    """How many steps each row keeps: at least one, all in the first."""
    k = r.integers(1, t + 1, n)
    k[0] = t
    return k


def tokens(hi, t):
    """Ids from 1, then zeros of padding."""

    def make(r, n):
        x = r.integers(1, hi, (n, t)).astype("int32")
        x[np.arange(t)[None] >= lengths(r, n, t)[:, None]] = 0
        return x

    return make


def padded(t, i):
    """Steps of numbers, then steps of zeros."""

    def make(r, n):
        x = r.normal(size=(n, t, i)).astype(f32)
        x[np.arange(t)[None] >= lengths(r, n, t)[:, None]] = 0
        return x

    return make


# What one backend of Keras does otherwise than the others; these recordings are of the others.
TF_SPARSE = {"tensorflow": "squares the gradients of a token's occurrences one by one in adaptive optimizers"}
JAX_MASK = {"jax": "does not hand the masks of a functional model to weighted metrics"}
JAX_ACTIVITY = {"jax": "counts the activity penalty of a layer that is called twice otherwise"}
BATCHES = [list(range(0, 6)), list(range(6, 11)), list(range(0, 6))]


def case(name, what, build, x, y, compile, xs=None, ys=None, n=11, batch=4, batches=BATCHES, **kw):
    """xs, ys: None for one array, a list of numbers for a list of arrays, of names for a dict."""
    return dict(
        name=name,
        what=what,
        build=build,
        x=x,
        y=y,
        compile=compile,
        xs=xs,
        ys=ys,
        n=n,
        batch=batch,
        batches=batches,
        **kw,
    )


def adam(loss, **kw):
    return lambda K: dict(optimizer=K.optimizers.Adam(0.01), loss=loss, **kw)


def cases():
    def build(K, L):
        a, b = K.Input((6, 3), name="past"), K.Input((4,), name="static")
        h = L.LSTM(7)(a)
        z = L.Concatenate()([h, L.Dense(5, activation="relu")(b)])
        return K.Model([a, b], L.Dense(2)(z))

    yield case(
        "two-inputs-concatenate",
        "a sequence and static features, joined",
        build,
        [normal(6, 3), normal(4)],
        [normal(2)],
        adam("mse"),
        xs=[0, 1],
    )

    def build(K, L):
        src, tgt = K.Input((7,), dtype="int32", name="source"), K.Input((5,), dtype="int32", name="target")
        _, h, c = L.LSTM(8, return_state=True, name="encoder")(
            L.Embedding(12, 6, mask_zero=True, name="source_embedding")(src)
        )
        y = L.LSTM(8, return_sequences=True, name="decoder")(
            L.Embedding(11, 5, mask_zero=True, name="target_embedding")(tgt), initial_state=[h, c]
        )
        return K.Model([src, tgt], L.TimeDistributed(L.Dense(11, activation="softmax"))(y))

    yield case(
        "seq2seq-lstm-states",
        "encoder-decoder: the encoder's states start the decoder, masks on both sides reach the loss",
        build,
        [tokens(12, 7), tokens(11, 5)],
        [ints(11, 5)],
        adam("sparse_categorical_crossentropy", weighted_metrics=["accuracy"]),
        xs=[0, 1],
        unlike=TF_SPARSE | JAX_MASK,
        reference="torch",
    )

    def build(K, L):
        src, tgt = K.Input((6, 4)), K.Input((5, 3))
        _, f, b = L.Bidirectional(L.GRU(5, return_state=True))(src)
        s = L.Concatenate()([f, b])
        y, last = L.GRU(10, return_sequences=True, return_state=True)(tgt, initial_state=s)
        return K.Model([src, tgt], [L.Dense(3)(y), L.Dense(1)(last)])

    yield case(
        "seq2seq-bigru-two-outputs",
        "states of both directions joined start a GRU whose sequence and last state are both used",
        build,
        [normal(6, 4), normal(5, 3)],
        [normal(5, 3), normal(1)],
        adam(["mse", "mae"]),
        xs=[0, 1],
        ys=[0, 1],
    )

    def build(K, L):
        src, tgt = K.Input((7,), dtype="int32"), K.Input((5,), dtype="int32")
        e = L.LSTM(6, return_sequences=True)(L.Embedding(12, 6, mask_zero=True)(src))
        d = L.LSTM(6, return_sequences=True)(L.Embedding(10, 6, mask_zero=True)(tgt))
        context = L.Attention()([d, e])
        return K.Model([src, tgt], L.Dense(10, activation="softmax")(L.Concatenate()([context, d])))

    yield case(
        "attention-luong-masks",
        "dot-product attention of a decoder over an encoder, masks of query and value",
        build,
        [tokens(12, 7), tokens(10, 5)],
        [ints(10, 5)],
        adam("sparse_categorical_crossentropy"),
        xs=[0, 1],
        unlike=TF_SPARSE,
    )

    def build(K, L):
        q, v = K.Input((4, 6)), K.Input((7, 6))
        y, scores = L.AdditiveAttention()([q, v], return_attention_scores=True)
        return K.Model([q, v], [L.Dense(2)(y), scores])

    yield case(
        "attention-additive-scores",
        "additive attention, its scores are an output without a loss",
        build,
        [normal(4, 6), normal(7, 6)],
        [normal(4, 2), normal(4, 7)],
        adam(["mse", None]),
        xs=[0, 1],
        ys=[0, 1],
    )

    def build(K, L):
        x = K.Input((9, 8))
        a = L.MultiHeadAttention(2, 4)(x, x)
        h = L.LayerNormalization(epsilon=1e-6)(L.Add()([x, a]))
        f = L.Dense(8)(L.Dense(16, activation="relu")(h))
        h = L.LayerNormalization(epsilon=1e-6)(L.Add()([h, f]))
        return K.Model(x, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(h)))

    yield case(
        "transformer-encoder-block",
        "self-attention, residuals, layer normalization, feed-forward",
        build,
        [normal(9, 8)],
        [onehot(3)],
        adam("categorical_crossentropy", metrics=["accuracy"]),
    )

    def build(K, L):
        x = K.Input((12, 4))
        h, skips = L.Conv1D(6, 1)(x), []
        for d in (1, 2, 4):
            t = L.Conv1D(6, 2, padding="causal", dilation_rate=d, activation="tanh")(h)
            s = L.Conv1D(6, 2, padding="causal", dilation_rate=d, activation="sigmoid")(h)
            z = L.Multiply()([t, s])
            skips.append(L.Conv1D(5, 1)(z))
            h = L.Add()([h, L.Conv1D(6, 1)(z)])
        return K.Model(x, L.Conv1D(1, 1)(L.Activation("relu")(L.Add()(skips))))

    yield case(
        "wavenet-residual-skips",
        "dilated causal convolutions, gates by Multiply, residual and skip sums of three",
        build,
        [normal(12, 4)],
        [normal(12, 1)],
        adam("huber"),
    )

    def build(K, L):
        a, b = K.Input((6, 3)), K.Input((6, 3))
        shared = L.LSTM(5, name="shared")
        ha, hb = shared(a), shared(b)
        return K.Model(
            [a, b],
            L.Dense(1, activation="sigmoid")(
                L.Concatenate()([L.Subtract()([ha, hb]), L.Multiply()([ha, hb])])
            ),
        )

    yield case(
        "siamese-shared-lstm",
        "one LSTM on two inputs: its gradients add",
        build,
        [normal(6, 3), normal(6, 3)],
        [bits(1)],
        adam("binary_crossentropy", metrics=["accuracy"]),
        xs=[0, 1],
    )

    def build(K, L):
        x = K.Input((8,), dtype="int32", name="words")
        h = L.Bidirectional(L.LSTM(5, return_sequences=True))(L.Embedding(15, 6, mask_zero=True)(x))
        tags = L.TimeDistributed(L.Dense(4, activation="softmax"), name="tags")(h)
        kind = L.Dense(3, activation="softmax", name="kind")(L.GlobalMaxPooling1D()(L.Dense(6)(h)))
        return K.Model(x, {"tags": tags, "kind": kind})

    yield case(
        "two-outputs-dict-loss-weights",
        "tags of each step and the kind of the whole: losses, weights and metrics by output name",
        build,
        [tokens(15, 8)],
        [ints(4, 8), onehot(3)],
        adam(
            {"tags": "sparse_categorical_crossentropy", "kind": "categorical_crossentropy"},
            loss_weights={"tags": 1.0, "kind": 0.3},
            metrics={"kind": ["accuracy"]},
        ),
        ys=["tags", "kind"],
        unlike=TF_SPARSE,
    )

    def build(K, L):
        ins = {
            "temperature": K.Input((10, 2), name="temperature"),
            "weekday": K.Input((1,), dtype="int32", name="weekday"),
        }
        day = L.Flatten()(L.Embedding(7, 3)(ins["weekday"]))
        h = L.GRU(6)(ins["temperature"])
        return K.Model(ins, L.Dense(4)(L.Concatenate()([h, day])))

    yield case(
        "dict-inputs",
        "inputs by name",
        build,
        [normal(10, 2), ints(7, 1)],
        [normal(4)],
        adam("mae"),
        xs=["temperature", "weekday"],
        unlike=TF_SPARSE,
    )

    def build(K, L):
        x = K.Input((9, 5))
        m = L.Masking()(x)
        a = L.LSTM(5, return_sequences=True)(m)
        b = L.Add()([m, a])
        c = L.Add()([b, L.GRU(5, return_sequences=True)(b)])
        return K.Model(x, L.TimeDistributed(L.Dense(2))(c))

    yield case(
        "residual-recurrent-masked",
        "residual sums of masked sequences, the mask reaches the loss",
        build,
        [padded(9, 5)],
        [normal(9, 2)],
        adam("mse"),
    )

    def build(K, L):
        frame = K.Input((8, 8, 1))
        f = L.Conv2D(4, 3, activation="relu")(frame)
        f = L.Concatenate()([L.GlobalAveragePooling2D()(f), L.Flatten()(L.MaxPooling2D(3)(f))])
        cnn = K.Model(frame, f, name="cnn")
        clip = K.Input((5, 8, 8, 1))
        return K.Model(clip, L.Dense(3, activation="softmax")(L.LSTM(6)(L.TimeDistributed(cnn)(clip))))

    yield case(
        "time-distributed-functional-cnn",
        "a branched model of one frame, applied to each frame",
        build,
        [normal(5, 8, 8, 1)],
        [onehot(3)],
        adam("categorical_crossentropy"),
    )

    def build(K, L):
        enc = K.Sequential(
            [K.Input((6, 3)), L.GRU(4, return_sequences=True), L.Dropout(0.0), L.GRU(4)], name="encoder"
        )
        a, b = K.Input((6, 3)), K.Input((6, 3))
        return K.Model([a, b], L.Dense(1)(L.Average()([enc(a), enc(b)])))

    yield case(
        "nested-sequential-twice",
        "a Sequential model used as a layer, twice",
        build,
        [normal(6, 3), normal(6, 3)],
        [normal(1)],
        lambda K: dict(optimizer=K.optimizers.SGD(0.1, momentum=0.9), loss="mse"),
        xs=[0, 1],
    )

    def build(K, L):
        a, b, c = K.Input((5, 4)), K.Input((5, 4)), K.Input((5, 1))
        z = [
            L.Average()([a, b]),
            L.Maximum()([a, b]),
            L.Minimum()([a, b]),
            L.Multiply()([a, c]),
            L.Dot(axes=(2, 2), normalize=True)([a, b]),
        ]
        return K.Model([a, b, c], L.Dense(2)(L.SimpleRNN(6)(L.Concatenate(axis=-1)(z))))

    yield case(
        "merges-broadcast-dot",
        "Average, Maximum, Minimum, Multiply with broadcasting, normalized Dot",
        build,
        [normal(5, 4), normal(5, 4), normal(5, 1)],
        [normal(2)],
        adam("mse"),
        xs=[0, 1, 2],
    )

    def build(K, L):
        x = K.Input((6, 4))
        h = L.LSTM(5, return_sequences=True, name="hidden")(x)
        return K.Model(x, [h, L.Dense(1, name="out")(L.GlobalMaxPooling1D()(h))])

    yield case(
        "intermediate-is-output",
        "an inner tensor is an output as well, with a loss of its own",
        build,
        [normal(6, 4)],
        [normal(6, 5), normal(1)],
        adam(["mse", "mse"], loss_weights=[0.2, 1.0]),
        ys=[0, 1],
    )

    def build(K, L):
        x = K.Input((8, 3))
        h = L.LSTM(4, return_sequences=True)(x)
        y = h + L.Dense(4)(x) * 0.5
        return K.Model(x, L.Dense(2)(y[:, -1, :] - K.ops.mean(y, axis=1)))

    yield case(
        "operators-and-ops",
        "sums, products and slices of tensors, keras.ops in the graph",
        build,
        [normal(8, 3)],
        [normal(2)],
        adam("mse"),
    )

    def build(K, L):
        x = K.Input((5, 3))
        bn, d = (
            L.BatchNormalization(),
            L.Dense(3, kernel_regularizer="l2", activity_regularizer=K.regularizers.L1(0.01)),
        )
        a = bn(d(x))
        b = bn(d(a))
        frozen = L.Dense(4, trainable=False)(b)
        return K.Model(x, L.Dense(1)(L.GRU(3, kernel_constraint="max_norm")(frozen)))

    yield case(
        "shared-batchnorm-regularized",
        "a normalization and a regularized Dense called twice, a frozen layer",
        build,
        [normal(5, 3)],
        [normal(1)],
        adam("mse"),
        unlike=JAX_ACTIVITY,
        reference="torch",
    )

    def build(K, L):
        x = K.Input((6, 3))
        h = L.GRU(5, return_sequences=True)(x)
        return K.Model(x, [L.Dense(1, name="level")(h), L.Dense(2, activation="softmax", name="turn")(h)])

    yield case(
        "resume-two-outputs",
        "training goes on from a file with the state of the optimizer, sample weights by output",
        build,
        [normal(6, 3)],
        [normal(6, 1), onehot(2, 6)],
        lambda K: dict(
            optimizer=K.optimizers.AdamW(0.01, clipnorm=1.0),
            loss={"level": "mse", "turn": "categorical_crossentropy"},
            loss_weights={"level": 2.0, "turn": 0.5},
        ),
        ys=[0, 1],
        sw=[uniform(0, 2, 6), uniform(0, 2, 6)],
        resume=True,
    )

    def build(K, L):
        a, b = K.Input((4,), dtype="int32"), K.Input((6,), dtype="int32")
        e = L.Embedding(9, 5, mask_zero=True)
        j = L.Concatenate(axis=1)([e(a), e(b)])
        return K.Model([a, b], L.Dense(3, activation="softmax")(L.LSTM(6)(j)))

    yield case(
        "concatenate-in-time-masks",
        "two masked sequences one after the other, one embedding for both",
        build,
        [tokens(9, 4), tokens(9, 6)],
        [onehot(3)],
        adam("categorical_crossentropy"),
        xs=[0, 1],
        unlike=TF_SPARSE,
    )
