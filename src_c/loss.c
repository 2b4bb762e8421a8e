/* loss.c - losses and accuracies over M rows of N outputs: a value for each row, the gradient, and
 * the weighted sum of the rows.
 *
 * One struct for all: a loss is one case of `entry` (a mean over a row's elements) or one function of
 * a row. Gradients are those that automatic differentiation of Keras's formulas gives, the
 * clipping of probabilities included: an output that the clip holds fast has no gradient.
 */
#include "act.h"
#include "span.h"

#define OPERATIONS 60.0             /* a logarithm and some divisions for each element */

/* ------------------------------------------------------------------ means over elements */

/* The derivative of clip(p, lo, hi): half at a tie, as for the minimum of two equal numbers. */
INLINE vf clip_slope(vf p, vf lo, vf hi)
{
    vf half = v_set1((real)0.5), one = v_set1(1);
    vf above = v_select(v_lt(lo, p), one, v_select(v_eq(lo, p), half, v_zero()));
    vf below = v_select(v_lt(p, hi), one, v_select(v_eq(p, hi), half, v_zero()));
    return v_mul(above, below);
}

/* One element's loss; its derivative goes to *slope. */
INLINE vf entry(const tdf_loss *a, vf t, vf p, vf *slope)
{
    vf one = v_set1(1), e = v_sub(p, t);
    switch (a->loss) {
    case TDF_LOSS_MSE:
        *slope = v_add(e, e);
        return v_mul(e, e);
    case TDF_LOSS_MAE:
        *slope = v_select(v_eq(e, v_zero()), v_zero(), v_copysign(one, e));
        return v_abs(e);
    case TDF_LOSS_HUBER: {
        vf delta = v_set1((real)a->delta), half = v_set1((real)0.5), size = v_abs(e);
        vm near = v_le(size, delta);
        *slope = v_select(near, e, v_copysign(delta, e));
        return v_select(near, v_mul(half, v_mul(e, e)), v_mul(delta, v_sub(size, v_mul(half, delta))));
    }
    case TDF_LOSS_BINARY: {
        vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon));
        vf c = v_min(hi, v_max(lo, p)), d = v_sub(one, c), u = v_sub(one, t);
        *slope = v_mul(v_sub(v_div(u, d), v_div(t, c)), clip_slope(p, lo, hi));
        return v_neg(v_fma(t, v_log(c), v_mul(u, v_log(d))));
    }
    case TDF_LOSS_BINARY_LOGITS: {  /* t softplus(-p) + (1 - t) softplus(p) */
        vf tail = v_log1p(v_exp(v_neg(v_abs(p))));
        *slope = v_sub(v_sigmoid(p), t);
        return v_fma(t, v_max(v_zero(), v_neg(p)), v_fma(v_sub(one, t), v_max(v_zero(), p), tail));
    }
    default: {                      /* TDF_MATCH_BINARY: 1 where p > delta agrees with t */
        vf side = v_select(v_lt(v_set1((real)a->delta), p), one, v_zero());
        *slope = v_zero();
        return v_select(v_eq(side, t), one, v_zero());
    }
    }
}

/* Targets after label smoothing. */
INLINE vf smooth(const tdf_loss *a, vf t, real share)
{
    if (a->smoothing == 0) return t;
    return v_fma(t, v_set1((real)(1 - a->smoothing)), v_set1((real)a->smoothing * share));
}

/* What the gradient of row r is multiplied by. */
INLINE real row_factor(const tdf_loss *a, ptrdiff_t r)
{
    return a->weight ? (real)a->scale * a->weight[r] : (real)a->scale;
}

INLINE void mean_rows(const tdf_loss *a, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t N = a->N;
    real share = (real)0.5;         /* smoothing pulls towards one half: binary losses alone have it */
    for (ptrdiff_t r = lo; r < hi; r++) {
        const real *t = a->target + r * N, *p = a->p + r * N;
        v16 sum = v16_set1(0);
        vf factor = v_set1(row_factor(a, r) / (real)N), slope;
        for (ptrdiff_t i = 0; i < N; i += PANEL)
            for (int s = 0; s < PANEL / VL; s++) {
                ptrdiff_t at = i + s * VL, n = N - at;
                if (n <= 0) break;
                vf l = entry(a, smooth(a, v_get(t + at, n), share), v_get(p + at, n), &slope);
                sum.v[s] = v_add(sum.v[s], act_first(l, n, 0));
                if (a->dp) v_put(a->dp + r * N + at, v_mul(slope, factor), n);
            }
        a->rows[r] = v16_sum(sum) / (real)N;
    }
}

/* The same for N = 1, with a vector of rows at a time. */
INLINE void single_rows(const tdf_loss *a, ptrdiff_t lo, ptrdiff_t hi)
{
    vf scale = v_set1((real)a->scale), slope;
    for (ptrdiff_t r = lo; r < hi; r += VL) {
        ptrdiff_t n = hi - r;
        vf l = entry(a, smooth(a, v_get(a->target + r, n), (real)0.5), v_get(a->p + r, n), &slope);
        v_put(a->rows + r, l, n);
        if (a->dp) {
            vf factor = a->weight ? v_mul(scale, v_get(a->weight + r, n)) : scale;
            v_put(a->dp + r, v_mul(slope, factor), n);
        }
    }
}

/* ------------------------------------------------------------------ functions of a row */

INLINE real row_sum(ptrdiff_t N, const real *x)
{
    v16 sum = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n > 0) sum.v[s] = v_add(v_get(x + at, n), sum.v[s]);
        }
    return v16_sum(sum);
}

INLINE real log_of(real x) { return act_first_lane(v_log(v_set1(x))); }

/* -sum(t log c), c = clip(q), q = p / sum(p); with g = dL/dq: dp = (g - sum(g q)) / sum(p) */
static void categorical_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N;
    const real *t = a->target + r * N, *p = a->p + r * N;
    real *dp = a->dp ? a->dp + r * N : NULL, share = (real)1 / (real)N, total = row_sum(N, p);
    vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon)), whole = v_set1(total);
    v16 loss = v16_set1(0), back = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n <= 0) break;
            vf q = v_div(v_get(p + at, n), whole), c = v_min(hi, v_max(lo, q));
            vf tt = act_first(smooth(a, v_get(t + at, n), share), n, 0);
            loss.v[s] = v_fma(tt, v_log(c), loss.v[s]);
            if (!dp) continue;
            vf g = v_mul(v_div(tt, c), clip_slope(q, lo, hi));
            back.v[s] = v_fma(g, q, back.v[s]);
            v_put(dp + at, g, n);
        }
    a->rows[r] = -v16_sum(loss);
    if (!dp) return;
    vf mean = v_set1(v16_sum(back)), factor = v_set1(row_factor(a, r) / total);
    for (ptrdiff_t i = 0; i < N; i += VL)
        v_put(dp + i, v_mul(v_sub(mean, v_get(dp + i, N - i)), factor), N - i);
}

/* -sum(t log softmax(p)); dp = softmax(p) sum(t) - t */
static void categorical_logits_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N;
    const real *t = a->target + r * N, *p = a->p + r * N;
    real *dp = a->dp ? a->dp + r * N : NULL, share = (real)1 / (real)N;
    real m = act_row_max(N, p), total = act_exp_sum(N, p, m, dp);
    vf shift = v_set1(m), log_sum = v_set1(log_of(total));
    v16 loss = v16_set1(0), mass = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n <= 0) break;
            vf tt = act_first(smooth(a, v_get(t + at, n), share), n, 0);
            vf z = act_first(v_sub(v_sub(v_get(p + at, n), shift), log_sum), n, 0);
            loss.v[s] = v_fma(tt, z, loss.v[s]);
            mass.v[s] = v_add(tt, mass.v[s]);
        }
    a->rows[r] = -v16_sum(loss);
    if (!dp) return;
    vf k = v_set1(v16_sum(mass) / total), factor = v_set1(row_factor(a, r));
    for (ptrdiff_t i = 0; i < N; i += VL) {
        vf g = v_fma(v_get(dp + i, N - i), k, v_neg(smooth(a, v_get(t + i, N - i), share)));
        v_put(dp + i, v_mul(g, factor), N - i);
    }
}

/* -log clip(q[label]), q = p / sum(p); a label outside 0..N-1 leaves value and gradient 0 */
static void sparse_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N, k = a->labels[r];
    const real *p = a->p + r * N;
    real *dp = a->dp ? a->dp + r * N : NULL;
    if (k < 0 || k >= N) {
        a->rows[r] = 0;
        if (dp) memset(dp, 0, (size_t)N * sizeof *dp);
        return;
    }
    real total = row_sum(N, p), q = p[k] / total;
    vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon)), vq = v_set1(q);
    vf c = v_min(hi, v_max(lo, vq));
    a->rows[r] = -act_first_lane(v_log(c));
    if (!dp) return;
    real g = act_first_lane(v_div(clip_slope(vq, lo, hi), c)) * (row_factor(a, r) / total);
    vf other = v_set1(g * q);
    for (ptrdiff_t i = 0; i < N; i += VL) v_put(dp + i, other, N - i);
    dp[k] -= g;
}

/* -log softmax(p)[label]; dp = softmax(p) - onehot(label) */
static void sparse_logits_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N, k = a->labels[r];
    const real *p = a->p + r * N;
    real *dp = a->dp ? a->dp + r * N : NULL;
    if (k < 0 || k >= N) {
        a->rows[r] = 0;
        if (dp) memset(dp, 0, (size_t)N * sizeof *dp);
        return;
    }
    real m = act_row_max(N, p), total = act_exp_sum(N, p, m, dp), factor = row_factor(a, r);
    a->rows[r] = -((p[k] - m) - log_of(total));
    if (!dp) return;
    vf by = v_set1(factor / total);
    for (ptrdiff_t i = 0; i < N; i += VL) v_put(dp + i, v_mul(v_get(dp + i, N - i), by), N - i);
    dp[k] -= factor;
}

/* The first place of the largest element, or of the first NaN. */
static ptrdiff_t argmax(ptrdiff_t N, const real *x)
{
    ptrdiff_t best = 0;
    for (ptrdiff_t i = 1; i < N; i++)
        if (!(x[i] <= x[best]) && x[best] == x[best]) best = i;
    return best;
}

/* ------------------------------------------------------------------ entry point */

static void part_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_loss *a = args;
    ptrdiff_t N = a->N;
    (void)part;
    switch (a->loss) {
    case TDF_LOSS_CATEGORICAL:
        for (ptrdiff_t r = lo; r < hi; r++) categorical_row(a, r);
        break;
    case TDF_LOSS_CATEGORICAL_LOGITS:
        for (ptrdiff_t r = lo; r < hi; r++) categorical_logits_row(a, r);
        break;
    case TDF_LOSS_SPARSE:
        for (ptrdiff_t r = lo; r < hi; r++) sparse_row(a, r);
        break;
    case TDF_LOSS_SPARSE_LOGITS:
        for (ptrdiff_t r = lo; r < hi; r++) sparse_logits_row(a, r);
        break;
    case TDF_MATCH_CATEGORICAL:
        for (ptrdiff_t r = lo; r < hi; r++)
            a->rows[r] = argmax(N, a->target + r * N) == argmax(N, a->p + r * N);
        break;
    case TDF_MATCH_SPARSE:
        for (ptrdiff_t r = lo; r < hi; r++) a->rows[r] = a->labels[r] == argmax(N, a->p + r * N);
        break;
    default:
        if (N == 1) single_rows(a, lo, hi);
        else mean_rows(a, lo, hi);
    }
}

/* The weighted sum of the rows: 16 sums in double, in one order whatever the threads did. */
static double sum_rows(const tdf_loss *a)
{
    double lane[PANEL] = {0};
    ptrdiff_t r = 0;
    if (a->weight) {
        for (; r < a->M; r++) lane[r % PANEL] += (double)a->rows[r] * (double)a->weight[r];
    } else {
        for (; r + PANEL <= a->M; r += PANEL)
            for (int j = 0; j < PANEL; j++) lane[j] += (double)a->rows[r + j];
        for (; r < a->M; r++) lane[r % PANEL] += (double)a->rows[r];
    }
    for (int w = PANEL / 2; w; w /= 2)
        for (int j = 0; j < w; j++) lane[j] += lane[j + w];
    return lane[0];
}

/* The first row whose label is no class, or -1; the mark of an ignored row is allowed. */
static double first_bad_label(const tdf_loss *a)
{
    for (ptrdiff_t r = 0; r < a->M; r++) {
        ptrdiff_t k = a->labels[r];
        if ((k < 0 || k >= a->N) && k != TDF_IGNORED) return (double)r;
    }
    return -1;
}

void TDF_NAME(loss)(const tdf_loss *a)
{
    double work = OPERATIONS * (double)a->M * (double)(a->N < PANEL ? PANEL : a->N);
    span_run(part_rows, a, a->N ? a->M : 0, 64, span_threads(work, a->threads));
    a->result[0] = sum_rows(a);
    a->result[1] = a->labels ? first_bad_label(a) : -1;
}
