/* optim.c - one optimizer step in one pass over a piece of the flat vectors, and gradient clipping.
 *
 * A rule is a function of the decayed weight w, the clipped gradient g and the slots s of some elements:
 * it changes the slots and returns the new weight. `step` does the rest, which is the same for all.
 * Adding one: the function and a row of rules.h. Formulas are those of Keras 3.
 */
#include "span.h"
#include "vmath.h"

#define CHUNK 4096                  /* elements of one partial sum of squares */
#define NUMBER(i) v_set1((real)a->number[i])

/* g = clip(grad_scale * grad, -clip, clip) */
INLINE vf gradient(const tdf_optim *a, ptrdiff_t i, ptrdiff_t n)
{
    vf g = v_get(a->grad + i, n);
    if (a->grad_scale != 1) g = v_mul(g, v_set1((real)a->grad_scale));
    if (a->clip > 0) g = v_min(v_set1((real)a->clip), v_max(v_set1((real)-a->clip), g));
    return g;
}

/* w - decay w */
INLINE vf decayed(const tdf_optim *a, ptrdiff_t i, ptrdiff_t n)
{
    vf w = v_get(a->w + i, n);
    return a->decay == 0 ? w : v_fnma(w, v_set1((real)a->decay), w);
}

/* to + (from - to) by: the running mean that most rules keep */
INLINE vf lerp(vf to, vf from, vf by) { return v_fma(v_sub(from, to), by, to); }

INLINE vf square(vf x) { return v_mul(x, x); }

/* numbers: lr, momentum, nesterov. Slot: m [opt].
 * w -= lr g;   or m = momentum m - lr g, w += m;   nesterov: w += momentum m - lr g */
INLINE vf sgd(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf momentum = NUMBER(1), step = v_mul(g, NUMBER(0));
    if (!a->slot[0]) return v_sub(w, step);
    s[0] = v_sub(v_mul(s[0], momentum), step);
    return v_add(w, a->number[2] != 0 ? v_sub(v_mul(s[0], momentum), step) : s[0]);
}

/* numbers: lr with the bias corrections in it, 1 - beta1, 1 - beta2, epsilon.
 * Slots: m, v, the largest v [opt].
 * m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v);  w -= lr m / (sqrt(v) + epsilon) */
INLINE vf adam(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf v;
    s[0] = lerp(s[0], g, NUMBER(1));
    s[1] = v = lerp(s[1], square(g), NUMBER(2));
    if (a->slot[2]) s[2] = v = v_max(v, s[2]);
    return v_sub(w, v_div(v_mul(s[0], NUMBER(0)), v_add(v_sqrt(v), NUMBER(3))));
}

/* numbers: lr, rho, 1 - rho, momentum, epsilon. Slots: v, m [opt], the mean gradient c [opt].
 * v = rho v + (1 - rho) g^2;  c = rho c + (1 - rho) g;  d = lr g / sqrt(v - c^2 + epsilon);
 * w -= d, or m = momentum m + d, w -= m.
 * v - c^2 is a variance, but rounding can make it negative. */
INLINE vf rmsprop(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf rho = NUMBER(1), rest = NUMBER(2), v;
    s[0] = v = v_fma(rho, s[0], v_mul(rest, square(g)));
    if (a->slot[2]) {
        s[2] = v_fma(rho, s[2], v_mul(rest, g));
        v = v_max(v_zero(), v_fnma(s[2], s[2], v));
    }
    vf d = v_div(v_mul(g, NUMBER(0)), v_sqrt(v_add(v, NUMBER(4))));
    if (!a->slot[1]) return v_sub(w, d);
    s[1] = v_fma(NUMBER(3), s[1], d);
    return v_sub(w, s[1]);
}

/* numbers: lr, epsilon. Slot: v.   v += g^2;  w -= lr g / sqrt(v + epsilon) */
INLINE vf adagrad(const tdf_optim *a, vf w, vf g, vf *s)
{
    s[0] = v_fma(g, g, s[0]);
    return v_sub(w, v_div(v_mul(g, NUMBER(0)), v_sqrt(v_add(s[0], NUMBER(1)))));
}

/* numbers: lr, rho, 1 - rho, epsilon. Slots: v of the gradients, u of the steps.
 * v = rho v + (1 - rho) g^2;  d = g sqrt(u + epsilon) / sqrt(v + epsilon);
 * u = rho u + (1 - rho) d^2;  w -= lr d */
INLINE vf adadelta(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf rho = NUMBER(1), rest = NUMBER(2), epsilon = NUMBER(3);
    s[0] = v_fma(rho, s[0], v_mul(rest, square(g)));
    vf d = v_div(v_mul(v_sqrt(v_add(s[1], epsilon)), g), v_sqrt(v_add(s[0], epsilon)));
    s[1] = v_fma(rho, s[1], v_mul(rest, square(d)));
    return v_fnma(d, NUMBER(0), w);
}

/* numbers: lr / (1 - beta1^t), 1 - beta1, beta2, epsilon. Slots: m, u.
 * m += (1 - beta1) (g - m);  u = max(beta2 u, |g|);  w -= lr m / (u + epsilon) */
INLINE vf adamax(const tdf_optim *a, vf w, vf g, vf *s)
{
    s[0] = lerp(s[0], g, NUMBER(1));
    s[1] = v_max(v_mul(NUMBER(2), s[1]), v_abs(g));
    return v_sub(w, v_div(v_mul(s[0], NUMBER(0)), v_add(s[1], NUMBER(3))));
}

/* numbers: the factors of m and g with the learning rate in them, 1 - beta1, 1 - beta2, 1 - beta2^t, epsilon.
 * Slots: m, v.   w -= (number0 m + number1 g) / (sqrt(v / (1 - beta2^t)) + epsilon), m and v as in adam */
INLINE vf nadam(const tdf_optim *a, vf w, vf g, vf *s)
{
    s[0] = lerp(s[0], g, NUMBER(2));
    s[1] = lerp(s[1], square(g), NUMBER(3));
    vf m = v_fma(s[0], NUMBER(0), v_mul(g, NUMBER(1)));
    return v_sub(w, v_div(m, v_add(v_sqrt(v_div(s[1], NUMBER(4))), NUMBER(5))));
}

/* x^p for x >= 0 and p >= 0; the two that are used have no logarithm */
INLINE vf power(vf x, double p)
{
    if (p == 0.5) return v_sqrt(x);
    if (p == 1) return x;
    return p == 0 ? v_set1(1) : v_exp(v_mul(v_set1((real)p), v_log(x)));
}

/* numbers: lr, minus the power p, l1, 2 l2 + beta / lr, 2 shrinkage. Slots: n, z.
 * z += g + shrinkage w - ((n + g^2)^p - n^p) / lr w;  n += g^2;
 * w = (clip(z, -l1, l1) - z) / (n^p / lr + 2 l2).
 * Where the divisor is 0 (no gradient ever, and n began at 0) w becomes 0, as it does for n > 0. */
INLINE vf ftrl(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf lr = NUMBER(0), l1 = NUMBER(2), n = v_fma(g, g, s[0]), root = power(n, a->number[1]);
    vf sigma = v_div(v_sub(root, power(s[0], a->number[1])), lr);
    vf z = v_add(s[1], v_fnma(sigma, w, v_fma(NUMBER(4), w, g)));
    vf divisor = v_add(v_div(root, lr), NUMBER(3));
    s[0] = n;
    s[1] = z;
    vf over = v_sub(v_min(l1, v_max(v_neg(l1), z)), z);
    return v_select(v_eq(divisor, v_zero()), over, v_div(over, divisor));
}

/* numbers: lr, beta1, 1 - beta1, beta2, 1 - beta2. Slot: m.
 * w -= lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g */
INLINE vf lion(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf c = v_fma(s[0], NUMBER(1), v_mul(g, NUMBER(2)));
    vf minus = v_select(v_lt(c, v_zero()), v_set1(-1), c);                         /* 0 and NaN stay */
    vf sign = v_select(v_lt(v_zero(), c), v_set1(1), minus);
    s[0] = v_fma(s[0], NUMBER(3), v_mul(g, NUMBER(4)));
    return v_fnma(sign, NUMBER(0), w);
}

/* numbers: 1 - beta1, 1 - beta2, 1 - beta1^t, 1 - beta2^t, epsilon, lr (of the sgd that follows).
 * Slots: m, v, u.
 * u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon), m and v as in adam; w is only decayed */
INLINE vf lamb(const tdf_optim *a, vf w, vf g, vf *s)
{
    s[0] = lerp(s[0], g, NUMBER(0));
    s[1] = lerp(s[1], square(g), NUMBER(1));
    s[2] = v_div(v_div(s[0], NUMBER(2)), v_add(v_sqrt(v_div(s[1], NUMBER(3))), NUMBER(4)));
    return w;
}

/* numbers: lr sqrt(1 - beta2^t), 1 - beta2, epsilon sqrt(1 - beta2^t), k = 1 - 1 / t, k (1 - beta1),
 * 1 - k beta1. Slots: z, v.   v as in adam;  d = lr g / (sqrt(v / (1 - beta2^t)) + epsilon).
 * x += (z' - x) / t,  w = (1 - beta1) z' + beta1 x, with z' = z - d and the x of the w before, are
 * w = k w - k (1 - beta1) z + (1 - k beta1) z' */
INLINE vf schedule_free(const tdf_optim *a, vf w, vf g, vf *s)
{
    vf z = s[0], v = lerp(s[1], square(g), NUMBER(1));
    s[0] = v_sub(z, v_div(v_mul(g, NUMBER(0)), v_add(v_sqrt(v), NUMBER(2))));
    s[1] = v;
    return v_fma(s[0], NUMBER(5), v_fnma(z, NUMBER(4), v_mul(w, NUMBER(3))));
}

/* numbers: keep, take.   w = keep w + take g: the moving average w of weights g */
INLINE vf average(const tdf_optim *a, vf w, vf g, vf *s)
{
    (void)s;
    return v_fma(w, NUMBER(0), v_mul(g, NUMBER(1)));
}

INLINE void step(const tdf_optim *a, ptrdiff_t lo, ptrdiff_t hi, vf (*rule)(const tdf_optim *, vf, vf, vf *))
{
    for (ptrdiff_t i = lo; i < hi; i += VL) {
        ptrdiff_t n = hi - i;
        vf s[TDF_SLOTS], g = gradient(a, i, n);
        for (int k = 0; k < TDF_SLOTS; k++) s[k] = a->slot[k] ? v_get(a->slot[k] + i, n) : v_zero();
        vf w = rule(a, decayed(a, i, n), g, s);
        for (int k = 0; k < TDF_SLOTS; k++)
            if (a->slot[k]) v_put(a->slot[k] + i, s[k], n);
        v_put(a->w + i, w, n);
    }
}

#define STEP(RULE, rule) case TDF_##RULE: step(a, lo, hi, rule); break;
static void step_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_optim *a = args;
    (void)part;
    switch ((tdf_rule)a->rule) {
    TDF_RULE_TABLE(STEP)
    case TDF_RULES: break;
    }
}

/* Memory-bound: 16 operations a value for each array, w and its gradient included. */
void TDF_NAME(optim_step)(const tdf_optim *a)
{
    double arrays = 2;
    for (int k = 0; k < TDF_SLOTS; k++) arrays += a->slot[k] != NULL;
    span_run(step_part, a, a->n, 64, span_threads(8 * arrays * (double)a->n, a->threads));
}

/* ------------------------------------------------------------------ norms */

static void squares_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_norm *a = args;
    (void)part;
    for (ptrdiff_t from = lo; from < hi; from += CHUNK) {
        ptrdiff_t to = from + CHUNK < hi ? from + CHUNK : hi;
        v16 sum = v16_set1(0);
        for (ptrdiff_t i = from; i < to; i += PANEL)
            for (int s = 0; s < PANEL / VL; s++) {
                ptrdiff_t n = to - i - s * VL;
                if (n <= 0) break;
                vf g = v_get(a->grad + i + s * VL, n);
                sum.v[s] = v_fma(g, g, sum.v[s]);
            }
        a->partial[from / CHUNK] = (double)v16_sum(sum);
    }
}

/* The sum of squares: chunks of 4096 by 16 lanes, the chunks in their order in double. */
void TDF_NAME(sum_squares)(const tdf_norm *a)
{
    span_run(squares_part, a, a->n, CHUNK, span_threads(16.0 * (double)a->n, a->threads));
    unsigned long mode = v_enter_mode();
    double sum = 0;
    for (ptrdiff_t c = 0; c * CHUNK < a->n; c++) sum += a->partial[c];
    *a->result = sum;
    v_leave_mode(mode);
}

static void scale_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_norm *a = args;
    vf by = v_set1((real)a->factor);
    (void)part;
    for (ptrdiff_t i = lo; i < hi; i += VL) v_put(a->grad + i, v_mul(v_get(a->grad + i, hi - i), by), hi - i);
}

void TDF_NAME(scale)(const tdf_norm *a)
{
    span_run(scale_part, a, a->n, 64, span_threads(16.0 * (double)a->n, a->threads));
}
