/* optim.c - one optimizer step in one pass over a piece of the flat vectors, and gradient clipping.
 *
 * The gradient used is g = clip(grad_scale * grad, -clip, clip); where decay is not 0 the weight is
 * first reduced by decay * w. Formulas are those of Keras 3.
 */
#include "span.h"

#define CHUNK 4096                  /* elements of one partial sum of squares */

INLINE vf gradient(const tdf_optim *a, ptrdiff_t i, ptrdiff_t n)
{
    vf g = v_get(a->grad + i, n);
    if (a->grad_scale != 1) g = v_mul(g, v_set1((real)a->grad_scale));
    if (a->clip > 0) g = v_min(v_set1((real)a->clip), v_max(v_set1((real)-a->clip), g));
    return g;
}

INLINE vf decayed(const tdf_optim *a, ptrdiff_t i, ptrdiff_t n)
{
    vf w = v_get(a->w + i, n);
    return a->decay == 0 ? w : v_fnma(w, v_set1((real)a->decay), w);
}

/* w -= lr g;   or m = momentum m - lr g, w += m;   nesterov: w += momentum m - lr g */
static void sgd_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_optim *a = args;
    vf lr = v_set1((real)a->lr), momentum = v_set1((real)a->beta1);
    (void)part;
    for (ptrdiff_t i = lo; i < hi; i += VL) {
        ptrdiff_t n = hi - i;
        vf w = decayed(a, i, n), step = v_mul(gradient(a, i, n), lr);
        if (a->m) {
            vf m = v_sub(v_mul(v_get(a->m + i, n), momentum), step);
            v_put(a->m + i, m, n);
            w = v_add(w, a->nesterov ? v_sub(v_mul(m, momentum), step) : m);
        } else {
            w = v_sub(w, step);
        }
        v_put(a->w + i, w, n);
    }
}

/* m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v);  w -= lr m / (sqrt(v) + epsilon).
 * lr holds the bias corrections, beta1 and beta2 hold 1 - beta. */
static void adam_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_optim *a = args;
    vf lr = v_set1((real)a->lr), b1 = v_set1((real)a->beta1), b2 = v_set1((real)a->beta2), eps = v_set1((real)a->epsilon);
    (void)part;
    for (ptrdiff_t i = lo; i < hi; i += VL) {
        ptrdiff_t n = hi - i;
        vf g = gradient(a, i, n), m = v_get(a->m + i, n), v = v_get(a->v + i, n);
        m = v_fma(v_sub(g, m), b1, m);
        v = v_fma(v_sub(v_mul(g, g), v), b2, v);
        v_put(a->m + i, m, n);
        v_put(a->v + i, v, n);
        if (a->vhat) {
            v = v_max(v, v_get(a->vhat + i, n));
            v_put(a->vhat + i, v, n);
        }
        vf step = v_div(v_mul(m, lr), v_add(v_sqrt(v), eps));
        v_put(a->w + i, v_sub(decayed(a, i, n), step), n);
    }
}

void TDF_NAME(sgd_step)(const tdf_optim *a)
{
    span_run(sgd_part, a, a->n, 64, span_threads(16.0 * (double)a->n, a->threads));
}

void TDF_NAME(adam_step)(const tdf_optim *a)
{
    span_run(adam_part, a, a->n, 64, span_threads(40.0 * (double)a->n, a->threads));
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
    double sum = 0;
    for (ptrdiff_t c = 0; c * CHUNK < a->n; c++) sum += a->partial[c];
    *a->result = sum;
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
