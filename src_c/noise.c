/* noise.c - the factors of dropout, and what they multiply.
 *
 * The numbers are those of NumPy's SFC64(SeedSequence([seed, count])): the generator of Doty-Humphrey's
 * PractRand, seeded as O'Neill's randutils does.
 */
#include "span.h"

typedef struct {
    uint64_t a, b, c, counter;
} sfc64;

static uint64_t next(sfc64 *s)
{
    uint64_t sum = s->a + s->b + s->counter++;
    s->a = s->b ^ s->b >> 11;
    s->b = s->c + (s->c << 3);
    s->c = (s->c << 24 | s->c >> 40) + sum;
    return sum;
}

static uint32_t hashed(uint32_t value, uint32_t *factor, uint32_t growth)
{
    value ^= *factor;
    *factor *= growth;
    value *= *factor;
    return value ^ value >> 16;
}

static sfc64 seeded(uint32_t seed, uint32_t count)
{
    uint32_t pool[4] = {seed, count}, factor = 0x43b0d7e5u, half[6];
    for (int i = 0; i < 4; i++) pool[i] = hashed(pool[i], &factor, 0x931e8875u);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++) {
            if (from == to) continue;
            uint32_t mixed = 0xca01f9ddu * pool[to] - 0x4973f715u * hashed(pool[from], &factor, 0x931e8875u);
            pool[to] = mixed ^ mixed >> 16;
        }
    factor = 0x8b51f9ddu;
    for (int i = 0; i < 6; i++) half[i] = hashed(pool[i % 4], &factor, 0x58f38dedu);
    sfc64 s = {half[0] | (uint64_t)half[1] << 32, half[2] | (uint64_t)half[3] << 32,
               half[4] | (uint64_t)half[5] << 32, 1};
    for (int i = 0; i < 12; i++) next(&s);
    return s;
}

/* The words of 32 bits of a draw, from the first to the last: below the threshold 0, else the factor. Counts
 * the draw. One thread: each word follows from the one before it. */
void TDF_NAME(dropout)(const tdf_dropout *a)
{
    sfc64 s = seeded(a->state[0], a->state[1]++);
    real kept = (real)a->kept;
    ptrdiff_t i = 0;
    for (; i + 2 <= a->n; i += 2) {
        uint64_t words = next(&s);
        a->factors[i] = (uint32_t)words >= a->threshold ? kept : 0;
        a->factors[i + 1] = (uint32_t)(words >> 32) >= a->threshold ? kept : 0;
    }
    if (i < a->n) a->factors[i] = (uint32_t)next(&s) >= a->threshold ? kept : 0;
}

/* Rows lo..hi of x, T of which share a row of factors. */
static void multiply_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_product *a = args;
    (void)part;
    for (ptrdiff_t row = lo; row < hi; row++) {
        const real *x = a->x + row * a->N, *factors = a->factors + row / a->T * a->N;
        real *y = a->y + row * a->N;
        ptrdiff_t j = 0;
        for (; j + VL <= a->N; j += VL) v_store(y + j, v_mul(v_load(x + j), v_load(factors + j)));
        for (; j < a->N; j++) y[j] = x[j] * factors[j];
    }
}

/* y = x times the factors, which are the same for T rows. */
void TDF_NAME(multiply)(const tdf_product *a)
{
    span_run(multiply_part, a, a->B * a->T, 1,
             span_threads(4.0 * (double)a->B * (double)a->T * (double)a->N, a->threads));
}
