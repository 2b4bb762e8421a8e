"""The time-distributed LSTM tutorial: a vector in and a vector out at every time step.

Run it with ``python time_distributed_lstm.py``. The data are random numbers, so there is nothing to
find in them: the script shows how such a model is written, and how fast it trains.
"""

import time

import numpy as np

import tdfast
from tdfast.layers import LSTM, Dense, TimeDistributed
from tdfast.models import Sequential

Input_Dim, Output_Dim = 15, 8
Length = 64
Sample_Size = 50

tdfast.utils.set_random_seed(1)
X = np.random.random((Sample_Size, Length, Input_Dim))
y = np.random.random((Sample_Size, Length, Output_Dim))

model = Sequential()
model.add(LSTM(32, input_shape=(Length, Input_Dim), return_sequences=True))
model.add(TimeDistributed(Dense(Output_Dim)))
model.compile(loss="categorical_crossentropy", optimizer="adam")
model.summary()

start = time.perf_counter()
history = model.fit(X, y, epochs=500)
seconds = time.perf_counter() - start

prediction = model.predict(X, batch_size=10, verbose=2)

# The loss divides each output vector p by its sum and is -sum(y log p), averaged. It is least where p is y;
# guessing all classes alike gives -sum(y) log(1/8). The outputs of this model are linear and of any sign,
# so p can leave the range of probabilities, where Keras (and so tdfast) clips it and no gradient comes back:
# the loss may well rise and stay high, here as in Keras. Dense(Output_Dim, activation="softmax") mends that.
share = y / y.sum(axis=-1, keepdims=True)
floor = -np.sum(y * np.log(share), axis=-1).mean()
guess = -np.sum(y * np.log(1 / Output_Dim), axis=-1).mean()
loss = history.history["loss"]

print(f"\nprediction: shape {prediction.shape}")
print(f"loss: {loss[0]:.3f} in the first epoch, {min(loss):.3f} in the best, {loss[-1]:.3f} in the last")
print(f"      (equal guesses: {guess:.3f}; the lowest any model could reach: {floor:.3f})")
print(
    "      The tutorial's linear outputs do not suit this loss: with softmax it starts at the guesses' and "
    "falls."
)
print(f"time: {seconds:.2f} s for {len(loss)} epochs, {1000 * seconds / len(loss):.2f} ms an epoch,")
print(f"      with {tdfast.get_num_threads()} thread(s) on {tdfast.runtime.isa()}")
