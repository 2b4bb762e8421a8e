"""
Dates, read by attention
========================

People write a day in many ways: 3 May 1998, Sun May 03 1998, 05/03/98. Here they become
1998-05-03. An **encoder** reads the letters in both directions; a **decoder** writes
ten letters, and at each of them **attention** looks back at all that was read. The
dates and their spellings are made by Python's `datetime`.

The yardstick is the same model without attention, to which the encoder hands one vector
alone.
"""

import datetime
import random

import matplotlib.pyplot as plt
import numpy as np

import tdfast
from tdfast import Input, Model
from tdfast.layers import (
    LSTM,
    Attention,
    Bidirectional,
    Concatenate,
    Dense,
    Embedding,
    RepeatVector,
    TimeDistributed,
)
from tdfast.utils import pad_sequences, plot_attention

SPELLINGS = [
    "%d %B %Y",
    "%B %d, %Y",
    "%A, %d %b %Y",
    "%d.%m.%Y",
    "%m/%d/%y",
    "%a %b %d %Y",
    "%Y/%m/%d",
    "%d-%b-%y",
]
DIGITS = "0123456789-"

first, last = (datetime.date(*day).toordinal() for day in ((1970, 1, 1), (2068, 12, 31)))
days = random.Random(0).sample(range(first, last + 1), 5000)
dates = [datetime.date.fromordinal(day) for day in days]
written = [date.strftime(SPELLINGS[k % len(SPELLINGS)]) for k, date in enumerate(dates)]
print(*written[: len(SPELLINGS)], sep="\n")

# %%
# Letters as numbers from 1 on; 0 fills up the shorter ones and is masked. The last
# thousand days are for the test.
letters = {
    letter: number for number, letter in enumerate(sorted(set("".join(written))), start=1)
}
x = pad_sequences(
    [[letters[letter] for letter in text] for text in written], padding="post"
)
y = np.array([[DIGITS.index(letter) for letter in date.isoformat()] for date in dates])


def network(attention: bool) -> Model:
    """An encoder and a decoder; with attention it has its weights as a second output."""
    inputs = Input(x.shape[1:])
    read = Embedding(len(letters) + 1, 24, mask_zero=True)(inputs)
    memory, *states = Bidirectional(LSTM(32, return_sequences=True, return_state=True))(
        read
    )
    whole = Concatenate()([states[0], states[2]])
    decoded = LSTM(64, return_sequences=True)(RepeatVector(10)(whole))
    if attention:
        context, weights = Attention(use_scale=True)(
            [decoded, memory], return_attention_scores=True
        )
        decoded = Concatenate()([decoded, context])
    outputs = TimeDistributed(Dense(len(DIGITS), activation="softmax"))(decoded)
    model = Model(inputs, outputs)
    model.compile(tdfast.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    model.fit(x[:4000], y[:4000], batch_size=32, epochs=7, verbose=0)
    return Model(inputs, [outputs, weights]) if attention else model


# %%
# The encoder's layer is called once and hands its states on; a model with two outputs
# shares the weights of the trained one.
tdfast.utils.set_random_seed(0)
with_attention = network(attention=True)
tdfast.utils.set_random_seed(0)
without = network(attention=False)
probabilities, scores = with_attention.predict(x[4000:], verbose=0)
guess = probabilities.argmax(axis=-1)
ours = (guess == y[4000:]).all(axis=1).mean()
plain = (
    (without.predict(x[4000:], verbose=0).argmax(axis=-1) == y[4000:]).all(axis=1).mean()
)
print(f"dates without a wrong letter: {ours:.1%} with attention, {plain:.1%} without")

# %%
# What each letter of the answer looked at: a row for each letter that is written, a
# column for each that is read. The year comes from the end, the month from its name;
# nothing was said of either.
figure, panels = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
for axes, spelling in zip(panels, (2, 1)):
    k = next(k for k in range(1000) if (4000 + k) % len(SPELLINGS) == spelling)
    text = written[4000 + k]
    answer = "".join(DIGITS[number] for number in guess[k])
    plot_attention(scores[k][:, : len(text)], queries=answer, keys=text, ax=axes)
    axes.set(xlabel="read", ylabel="written")
plt.show()

# %%
# The gallery is built only where this holds.
assert ours > 0.95 and ours > plain + 0.1
