"""A generative adversarial network that learns the waves of a family of sines, by a training step of its own.

    python examples/gan.py

The generator makes sequences of 24 steps from noise; the discriminator, an LSTM, tells them from real ones.
Each trains against the other. It ends with the mean and the spread of what the generator makes, beside those
of the real waves. About four seconds.
"""

import numpy as np

import tdfast
from tdfast import Model, Sequential, ops
from tdfast.layers import LSTM, Dense, Input, RepeatVector, TimeDistributed

STEPS, NOISE = 24, 6


class GAN(Model):
    """Trains a generator and a discriminator against each other."""

    def __init__(self, generator, discriminator):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.d_loss, self.g_loss = tdfast.metrics.Mean(name="d_loss"), tdfast.metrics.Mean(name="g_loss")

    def compile(self, d_optimizer, g_optimizer, loss):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_of = d_optimizer, g_optimizer, loss

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def train_step(self, data):
        (real,) = data
        count = len(real)
        noise = tdfast.random.normal((count, NOISE))
        both = ops.concatenate([self.generator(noise), real], axis=0)
        labels = ops.concatenate([ops.zeros((count, 1)), 0.9 * ops.ones((count, 1))], axis=0)

        def d_loss():
            return self.loss_of(labels, self.discriminator(both, training=True))

        def g_loss():
            fake = self.generator(noise, training=True)
            return self.loss_of(ops.ones((count, 1)), self.discriminator(fake, training=True))

        for loss, part, optimizer, metric in (
                (d_loss, self.discriminator, self.d_optimizer, self.d_loss),
                (g_loss, self.generator, self.g_optimizer, self.g_loss)):
            value, gradients = ops.value_and_grad(loss, part.trainable_variables)()
            optimizer.apply_gradients(zip(gradients, part.trainable_variables))
            metric.update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


def waves(count, rng):
    """Sines of several phases and sizes, (count, STEPS, 1)."""
    phase, size = rng.uniform(0, 2 * np.pi, (count, 1)), rng.uniform(0.6, 1.0, (count, 1))
    return (size * np.sin(2 * np.pi * np.arange(STEPS) / 12 + phase))[..., None].astype("float32")


def main(epochs=60):
    tdfast.utils.set_random_seed(0)
    real = waves(512, np.random.default_rng(0))
    generator = Sequential([Input((NOISE,)), RepeatVector(STEPS), LSTM(24, return_sequences=True),
                            TimeDistributed(Dense(1, activation="tanh"))])
    discriminator = Sequential([Input((STEPS, 1)), LSTM(24), Dense(1)])
    gan = GAN(generator, discriminator)
    gan.compile(tdfast.optimizers.Adam(0.002, beta_1=0.5), tdfast.optimizers.Adam(0.004, beta_1=0.5),
                tdfast.losses.BinaryCrossentropy(from_logits=True))
    history = gan.fit(real, batch_size=64, epochs=epochs, verbose=2 if epochs <= 5 else 0).history
    made = generator.predict(tdfast.random.normal((256, NOISE)), verbose=0)
    losses = [history[name][-1] for name in ("d_loss", "g_loss")]
    print("loss of the discriminator {:.3f}, of the generator {:.3f}".format(*losses))
    for name, x in (("real", real), ("made", made)):
        steps = np.abs(np.diff(x[..., 0], axis=1)).mean()
        print(f"{name} waves: mean {x.mean():+.2f}, spread {x.std():.2f}, from step to step {steps:.2f}")
    return real, made


if __name__ == "__main__":
    main()
