/* loss.c - losses and accuracies over M rows of N outputs: a value for each row, the gradient, and
 * the weighted sum of the rows.
 *
 * One struct for all: a loss is one case of `entry` (a mean over a row's elements) or a function of a
 * row, written twice. Long rows are taken one by one, with a vector along the row. Rows of at most
 * SHORT elements would leave most of that vector empty: there every lane is a row of its own, and
 * sums run from the first element to the last. Which of the two it is depends on N alone.
 *
 * Gradients are those that automatic differentiation of Keras's formulas gives, the clipping of
 * probabilities included: an output that the clip holds fast has no gradient.
 */
#include "act.h"
#include "span.h"

#define OPERATIONS 60.0             /* a logarithm and some divisions for each element */
#define FEW_OPERATIONS 10.0         /* of the squares, absolute values and comparisons */
#define SHORT 64                    /* the longest row that is taken together with others */
#define BLOCK 1024                  /* elements of the short rows whose means are taken together */

/* ------------------------------------------------------------------ means over elements */

/* The derivative of max(p, lo): half at a tie. */
INLINE vf above(vf p, vf lo)
{
    return v_select(v_lt(lo, p), v_set1(1), v_select(v_eq(lo, p), v_set1((real)0.5), v_zero()));
}

/* The derivative of clip(p, lo, hi). */
INLINE vf clip_slope(vf p, vf lo, vf hi) { return v_mul(above(p, lo), above(hi, p)); }

/* log(a / b) for a, b > 0, to full relative accuracy also where they are nearly equal. */
INLINE vf log_ratio(vf a, vf b)
{
    vf gap = v_sub(a, b);
    return v_copysign(v_log1p(v_div(v_abs(gap), v_min(a, b))), gap);
}

/* weight x, and 0 for the weight 0 of an infinite x. */
INLINE vf share_of(vf weight, vf x) { return v_mul(weight, v_select(v_eq(weight, v_zero()), v_zero(), x)); }

/* One element's loss; its derivative goes to *slope. Near its minimum a loss keeps its digits: differences of
 * exact numbers come first, and log1p of them after that. */
INLINE vf entry(const tdf_loss *a, int kind, vf t, vf p, vf level, vf *slope)
{
    vf one = v_set1(1), e = v_sub(p, t);
    switch (kind) {
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
    case TDF_LOSS_MAPE: {
        vf by = v_div(v_set1(100), v_max(v_set1((real)a->epsilon), v_abs(t)));
        *slope = v_select(v_eq(e, v_zero()), v_zero(), v_copysign(by, e));
        return v_mul(v_abs(e), by);
    }
    case TDF_LOSS_HINGE:
    case TDF_LOSS_SQUARED_HINGE: {
        vf gap = v_fnma(t, p, one), miss = v_max(v_zero(), gap), back = v_neg(t);
        if (kind == TDF_LOSS_SQUARED_HINGE) {
            *slope = v_mul(v_add(miss, miss), back);
            return v_mul(miss, miss);
        }
        *slope = v_mul(back, above(gap, v_zero()));
        return miss;
    }
    case TDF_LOSS_QUANTILE: {       /* a miss by one from below costs q, from above 1 - q */
        vm high = v_lt(v_zero(), e);
        vf cost = v_select(high, v_sub(one, level), v_neg(level));
        *slope = v_select(v_eq(e, v_zero()), v_zero(), cost);
        return v_mul(cost, e);
    }
    case TDF_LOSS_LOG_COSH: {       /* -log(1 - tanh(e)^2) / 2, or |e| + log(1 + exp(-2 |e|)) - log 2 */
        vf size = v_abs(e), th = v_tanh(e);
        vm near = v_le(size, one);
        vf log = v_log1p(v_select(near, v_neg(v_mul(th, th)), v_exp(v_mul(v_set1(-2), size))));
        vf far = v_add(size, v_sub(log, v_set1((real)0.69314718055994530942)));
        *slope = th;
        return v_select(near, v_mul(v_set1((real)-0.5), log), far);
    }
    case TDF_LOSS_MSLE: {
        vf lo = v_set1((real)a->epsilon), c = v_max(lo, p), u = v_max(lo, t), gap = v_sub(c, u);
        vf d = v_copysign(v_log1p(v_div(v_abs(gap), v_add(one, v_min(c, u)))), gap);
        *slope = v_mul(v_div(v_add(d, d), v_add(one, c)), above(p, lo));
        return v_mul(d, d);
    }
    case TDF_LOSS_POISSON: {
        vf c = v_add(p, v_set1((real)a->epsilon));
        *slope = v_div(v_sub(c, t), c);
        return v_fnma(t, v_log(c), p);
    }
    case TDF_LOSS_KL: {
        vf lo = v_set1((real)a->epsilon), u = v_min(one, v_max(lo, t)), c = v_min(one, v_max(lo, p));
        *slope = v_mul(v_neg(v_div(u, c)), clip_slope(p, lo, one));
        return v_mul(u, log_ratio(u, c));
    }
    case TDF_LOSS_BINARY: {
        vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon));
        vf c = v_min(hi, v_max(lo, p)), d = v_sub(one, c), u = v_sub(one, t);
        *slope = v_mul(v_sub(v_div(u, d), v_div(t, c)), clip_slope(p, lo, hi));
        return v_neg(v_fma(t, v_log(c), v_mul(u, v_log(d))));
    }
    case TDF_LOSS_BINARY_LOGITS: {  /* t softplus(-p) + u softplus(p), slope u sigmoid(p) - t sigmoid(-p) */
        vf u = v_sub(one, t), tail = v_exp(v_neg(v_abs(p)));
        vf big = v_div(one, v_add(one, tail)), small = v_mul(tail, big);
        vm up = v_lt(v_zero(), p);
        *slope = v_fnma(t, v_select(up, small, big), v_mul(u, v_select(up, big, small)));
        vf below = share_of(t, v_max(v_zero(), v_neg(p))), over = share_of(u, v_max(v_zero(), p));
        return v_add(v_add(below, over), v_log1p(tail));
    }
    default: {                      /* TDF_LOSS_MATCH_BINARY: 1 where p > delta agrees with t; 0 for NaN */
        vf side = v_select(v_lt(v_set1((real)a->delta), p), one, v_zero());
        *slope = v_zero();
        return v_select(v_eq(p, p), v_select(v_eq(side, t), one, v_zero()), v_zero());
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

/* What a row's sum is divided by: the KL divergence is a sum, the others are means. */
INLINE real row_count(int kind, ptrdiff_t N) { return kind == TDF_LOSS_KL ? 1 : (real)N; }

/* Short rows: a block of them is one long row, whose values are then added row by row. */
INLINE void mean_short(const tdf_loss *a, int kind, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t N = a->N, block = N <= BLOCK / 64 ? 64 : BLOCK / SHORT;
    real value[BLOCK], factor[BLOCK] = {0}, level[BLOCK] = {0}, count = row_count(kind, N);
    vf same = v_set1((real)a->scale / count), slope;
    if (kind == TDF_LOSS_QUANTILE)
        for (ptrdiff_t i = 0; i < block * N; i++) level[i] = a->level[i % N];
    for (ptrdiff_t r = lo; r < hi; r += block) {
        ptrdiff_t rows = hi - r < block ? hi - r : block, n = rows * N, at = r * N;
        if (a->dp && a->weight)
            for (ptrdiff_t i = 0; i < rows; i++) {
                real f = row_factor(a, r + i) / count;
                for (ptrdiff_t j = 0; j < N; j++) factor[i * N + j] = f;
            }
        for (ptrdiff_t i = 0; i < n; i += VL) {
            vf t = smooth(a, v_get(a->target + at + i, n - i), (real)0.5);
            v_store(value + i, entry(a, kind, t, v_get(a->p + at + i, n - i), v_load(level + i), &slope));
            if (a->dp) v_put(a->dp + at + i, v_mul(slope, a->weight ? v_load(factor + i) : same), n - i);
        }
        for (ptrdiff_t i = 0; i < rows; i++) {
            real sum = value[i * N];
            for (ptrdiff_t j = 1; j < N; j++) sum += value[i * N + j];
            a->rows[r + i] = sum / count;
        }
    }
}

/* `kind` is a constant where this is expanded: the switch of `entry` is gone then. */
INLINE void mean_rows(const tdf_loss *a, int kind, ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t N = a->N;
    if (N <= SHORT) {
        mean_short(a, kind, lo, hi);
        return;
    }
    for (ptrdiff_t r = lo; r < hi; r++) {
        const real *t = a->target + r * N, *p = a->p + r * N;
        v16 sum = v16_set1(0);
        vf factor = v_set1(row_factor(a, r) / row_count(kind, N)), slope;
        for (ptrdiff_t i = 0; i < N; i += PANEL)
            for (int s = 0; s < PANEL / VL; s++) {
                ptrdiff_t at = i + s * VL, n = N - at;
                if (n <= 0) break;
                vf tt = smooth(a, v_get(t + at, n), (real)0.5);
                vf level = kind == TDF_LOSS_QUANTILE ? v_get(a->level + at, n) : v_zero();
                vf l = entry(a, kind, tt, v_get(p + at, n), level, &slope);
                sum.v[s] = v_add(sum.v[s], act_first(l, n, 0));
                if (a->dp) v_put(a->dp + r * N + at, v_mul(slope, factor), n);
            }
        a->rows[r] = v16_sum(sum) / row_count(kind, N);
    }
}

/* ------------------------------------------------------------------ functions of a long row */

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

/* What a row is divided by: its sum, or a tiny number in the place of a zero. The quotients are then
 * clipped, and no gradient comes back through them, as for any row whose sum is close to zero. */
INLINE vf divisor(vf sum) { return v_select(v_eq(sum, v_zero()), v_set1((real)1e-30), sum); }

/* -sum(t log c), c = clip(q), q = p / sum(p); with g = dL/dq: dp = (g - sum(g q)) / sum(p). Where g is
 * not 0, q is c: the sum uses c, which stays finite when q does not. */
static void categorical_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N;
    const real *t = a->target + r * N, *p = a->p + r * N;
    real *dp = a->dp ? a->dp + r * N : NULL, share = (real)1 / (real)N;
    vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon));
    vf whole = divisor(v_set1(row_sum(N, p)));
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
            back.v[s] = v_fma(g, c, back.v[s]);
            v_put(dp + at, g, n);
        }
    a->rows[r] = -v16_sum(loss);
    if (!dp) return;
    vf mean = v_set1(v16_sum(back)), factor = v_div(v_set1(row_factor(a, r)), whole);
    for (ptrdiff_t i = 0; i < N; i += VL)
        v_put(dp + i, v_mul(v_sub(mean, v_get(dp + i, N - i)), factor), N - i);
}

/* The sum of e^(x - m) but for one element that is the largest, m: near 0 where that one has all the
 * probability. The powers are also written to y unless that is NULL. */
INLINE real exp_rest(ptrdiff_t N, const real *x, real m, real *y)
{
    v16 sum = v16_set1(0);
    vf top = v_set1(m), one = v_set1(1), ties = v_zero();
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n <= 0) break;
            vf v = act_get_or(x + at, n, -INFINITY), e = v_exp(v_sub(v, top));
            vm tie = v_eq(v, top);
            sum.v[s] = v_add(sum.v[s], v_select(tie, v_zero(), e));
            ties = v_add(ties, v_select(tie, one, v_zero()));
            if (y) v_put(y + at, e, n);
        }
    real count[VL], others = -1;
    v_store(count, ties);
    for (int i = 0; i < VL; i++) others += count[i];
    return v16_sum(sum) + others;
}

INLINE real log1p_of(real x) { return act_first_lane(v_log1p(v_set1(x))); }

/* -sum(t log softmax(p)); dp = softmax(p) sum(t) - t = (e sum(t) - t - t rest) / (1 + rest) */
static void categorical_logits_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N;
    const real *t = a->target + r * N, *p = a->p + r * N;
    real *dp = a->dp ? a->dp + r * N : NULL, share = (real)1 / (real)N;
    real m = act_row_max(N, p), rest = exp_rest(N, p, m, dp);
    vf shift = v_set1(m), log_sum = v_set1(log1p_of(rest));
    v16 loss = v16_set1(0), mass = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n <= 0) break;
            vf tt = act_first(smooth(a, v_get(t + at, n), share), n, 0);
            vf z = act_first(v_sub(v_sub(v_get(p + at, n), shift), log_sum), n, 0);
            loss.v[s] = v_add(share_of(tt, z), loss.v[s]);
            mass.v[s] = v_add(tt, mass.v[s]);
        }
    a->rows[r] = -v16_sum(loss);
    if (!dp) return;
    vf k = v_set1(v16_sum(mass)), by = v_set1(row_factor(a, r) / (1 + rest)), others = v_set1(rest);
    for (ptrdiff_t i = 0; i < N; i += VL) {
        vf tt = smooth(a, v_get(t + i, N - i), share), g = v_fma(v_get(dp + i, N - i), k, v_neg(tt));
        v_put(dp + i, v_mul(v_fnma(tt, others, g), by), N - i);
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

/* -log softmax(p)[label]; dp = softmax(p) - onehot(label): for the label (e - 1 - rest) / (1 + rest) */
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
    real m = act_row_max(N, p), rest = exp_rest(N, p, m, dp), factor = row_factor(a, r) / (1 + rest);
    a->rows[r] = log1p_of(rest) - (p[k] - m);
    if (!dp) return;
    real mine = (dp[k] - 1 - rest) * factor;
    vf by = v_set1(factor);
    for (ptrdiff_t i = 0; i < N; i += VL) v_put(dp + i, v_mul(v_get(dp + i, N - i), by), N - i);
    dp[k] = mine;
}

/* The first place of the largest element, or of the first NaN. */
static ptrdiff_t argmax(ptrdiff_t N, const real *x)
{
    ptrdiff_t best = 0;
    real largest = act_row_max(N, x);           /* of what is no NaN */
    v16 numbers = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t n = N - i - s * VL;
            if (n <= 0) break;
            vf v = v_get(x + i + s * VL, n);
            numbers.v[s] = v_add(numbers.v[s], act_first(v_sub(v, v), n, 0));
        }
    if (v16_sum(numbers) == 0) {                /* x - x is 0 for finite x alone */
        while (x[best] != largest) best++;
        return best;
    }
    for (ptrdiff_t i = 1; i < N; i++)
        if (!(x[i] <= x[best]) && x[best] == x[best]) best = i;
    return best;
}

/* 1 where the largest output is at the label; a row with NaN has none. */
static void match_row(const tdf_loss *a, ptrdiff_t r)
{
    ptrdiff_t N = a->N, k = a->labels ? a->labels[r] : argmax(N, a->target + r * N);
    const real *p = a->p + r * N;
    a->rows[r] = k == argmax(N, p) && p[k] == p[k];
}

/* ------------------------------------------------------------------ functions of short rows */

/* The rows that the VL lanes hold: lane i has row first + i. Lanes past the last row repeat it, and
 * their results go nowhere. */
typedef struct {
    ptrdiff_t first, count;
} lanes;

INLINE ptrdiff_t lane_row(lanes at, int i) { return at.first + (i < at.count ? i : at.count - 1); }

/* Column j of those rows of x goes to column + j VL. There is at least one. */
INLINE void get_columns(lanes at, ptrdiff_t N, const real *x, real *column)
{
    for (int i = 0; i < VL; i++) {
        const real *row = x + lane_row(at, i) * N;
        ptrdiff_t j = 0;
        do column[j * VL + i] = row[j];
        while (++j < N);
    }
}

INLINE void put_columns(lanes at, ptrdiff_t N, real *x, const real *column)
{
    for (int i = 0; i < at.count; i++)
        for (ptrdiff_t j = 0; j < N; j++) x[(at.first + i) * N + j] = column[j * VL + i];
}

INLINE vf column_sum(ptrdiff_t N, const real *column)
{
    vf sum = v_load(column);
    for (ptrdiff_t j = 1; j < N; j++) sum = v_add(sum, v_load(column + j * VL));
    return sum;
}

/* `exp_rest`: columns become e^(x - max), and the largest element goes to *top. */
INLINE vf column_exp_rest(ptrdiff_t N, real *column, vf *top)
{
    vf m = v_set1(-INFINITY), sum = v_zero(), others = v_set1(-1), one = v_set1(1);
    for (ptrdiff_t j = 0; j < N; j++) m = v_max(v_load(column + j * VL), m);
    for (ptrdiff_t j = 0; j < N; j++) {
        vf x = v_load(column + j * VL), e = v_exp(v_sub(x, m));
        vm tie = v_eq(x, m);
        sum = v_add(sum, v_select(tie, v_zero(), e));
        others = v_add(others, v_select(tie, one, v_zero()));
        v_store(column + j * VL, e);
    }
    *top = m;
    return v_add(sum, others);
}

/* The place of the largest element or of the first NaN, which goes to *top. */
INLINE vf column_argmax(ptrdiff_t N, const real *column, vf *top)
{
    vf best = v_load(column), place = v_zero();
    for (ptrdiff_t j = 1; j < N; j++) {
        vf x = v_load(column + j * VL), here = v_set1((real)j);
        vm keep = v_le(x, best), number = v_eq(best, best);
        place = v_select(number, v_select(keep, place, here), place);
        best = v_select(number, v_select(keep, best, x), best);
    }
    *top = best;
    return place;
}

INLINE vf lane_factors(const tdf_loss *a, lanes at)
{
    vf scale = v_set1((real)a->scale);
    return a->weight ? v_mul(scale, v_get(a->weight + at.first, at.count)) : scale;
}

static void categorical_short(const tdf_loss *a, lanes at)
{
    ptrdiff_t N = a->N;
    real t[SHORT * VL], p[SHORT * VL];
    get_columns(at, N, a->target, t);
    get_columns(at, N, a->p, p);
    vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon));
    vf whole = divisor(column_sum(N, p)), loss = v_zero(), back = v_zero();
    for (ptrdiff_t j = 0; j < N; j++) {
        vf q = v_div(v_load(p + j * VL), whole), c = v_min(hi, v_max(lo, q));
        vf tt = smooth(a, v_load(t + j * VL), (real)1 / (real)N);
        loss = v_fma(tt, v_log(c), loss);
        if (!a->dp) continue;
        vf g = v_mul(v_div(tt, c), clip_slope(q, lo, hi));
        back = v_fma(g, c, back);
        v_store(p + j * VL, g);
    }
    v_put(a->rows + at.first, v_neg(loss), at.count);
    if (!a->dp) return;
    vf factor = v_div(lane_factors(a, at), whole);
    for (ptrdiff_t j = 0; j < N; j++)
        v_store(p + j * VL, v_mul(v_sub(back, v_load(p + j * VL)), factor));
    put_columns(at, N, a->dp, p);
}

static void categorical_logits_short(const tdf_loss *a, lanes at)
{
    ptrdiff_t N = a->N;
    real t[SHORT * VL], p[SHORT * VL], e[SHORT * VL];
    get_columns(at, N, a->target, t);
    get_columns(at, N, a->p, p);
    memcpy(e, p, (size_t)(N * VL) * sizeof *e);
    vf top, rest = column_exp_rest(N, e, &top), log_sum = v_log1p(rest);
    vf loss = v_zero(), mass = v_zero();
    for (ptrdiff_t j = 0; j < N; j++) {
        vf tt = smooth(a, v_load(t + j * VL), (real)1 / (real)N);
        loss = v_add(share_of(tt, v_sub(v_sub(v_load(p + j * VL), top), log_sum)), loss);
        mass = v_add(tt, mass);
        v_store(t + j * VL, tt);
    }
    v_put(a->rows + at.first, v_neg(loss), at.count);
    if (!a->dp) return;
    vf by = v_div(lane_factors(a, at), v_add(v_set1(1), rest));
    for (ptrdiff_t j = 0; j < N; j++) {
        vf tt = v_load(t + j * VL), g = v_fma(v_load(e + j * VL), mass, v_neg(tt));
        v_store(e + j * VL, v_mul(v_fnma(tt, rest, g), by));
    }
    put_columns(at, N, a->dp, e);
}

/* The label of each lane's row, and 1 where it is a class; elsewhere 0 and 0. */
INLINE vf lane_labels(const tdf_loss *a, lanes at, ptrdiff_t *label)
{
    real good[VL];
    for (int i = 0; i < VL; i++) {
        ptrdiff_t k = a->labels[lane_row(at, i)];
        int inside = k >= 0 && k < a->N;
        label[i] = inside ? k : 0;
        good[i] = (real)inside;
    }
    return v_load(good);
}

static void sparse_short(const tdf_loss *a, lanes at)
{
    ptrdiff_t N = a->N, label[VL];
    real p[SHORT * VL], mine[VL], other[VL];
    vf one = v_set1(1), lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon));
    vf good = lane_labels(a, at, label);
    get_columns(at, N, a->p, p);
    for (int i = 0; i < VL; i++) mine[i] = p[label[i] * VL + i];
    vf whole = column_sum(N, p), q = v_div(v_load(mine), whole), c = v_min(hi, v_max(lo, q));
    vm counts = v_eq(good, one);
    v_put(a->rows + at.first, v_select(counts, v_neg(v_log(c)), v_zero()), at.count);
    if (!a->dp) return;
    vf g = v_mul(v_div(clip_slope(q, lo, hi), c), v_div(lane_factors(a, at), whole));
    g = v_select(counts, g, v_zero());
    v_store(mine, g);
    v_store(other, v_select(counts, v_mul(g, q), v_zero()));
    for (int i = 0; i < at.count; i++) {
        real *dp = a->dp + (at.first + i) * N;
        for (ptrdiff_t j = 0; j < N; j++) dp[j] = other[i];
        dp[label[i]] -= mine[i];
    }
}

static void sparse_logits_short(const tdf_loss *a, lanes at)
{
    ptrdiff_t N = a->N, label[VL];
    real p[SHORT * VL], mine[VL];
    vf good = lane_labels(a, at, label);
    get_columns(at, N, a->p, p);
    for (int i = 0; i < VL; i++) mine[i] = p[label[i] * VL + i];
    vf one = v_set1(1), top, rest = column_exp_rest(N, p, &top);
    vm counts = v_eq(good, one);
    vf loss = v_sub(v_log1p(rest), v_sub(v_load(mine), top));
    v_put(a->rows + at.first, v_select(counts, loss, v_zero()), at.count);
    if (!a->dp) return;
    vf by = v_div(lane_factors(a, at), v_add(one, rest));
    for (int i = 0; i < VL; i++) mine[i] = p[label[i] * VL + i];
    v_store(mine, v_select(counts, v_mul(v_sub(v_sub(v_load(mine), one), rest), by), v_zero()));
    for (ptrdiff_t j = 0; j < N; j++)
        v_store(p + j * VL, v_select(counts, v_mul(v_load(p + j * VL), by), v_zero()));
    for (int i = 0; i < VL; i++) p[label[i] * VL + i] = mine[i];
    put_columns(at, N, a->dp, p);
}

static void match_short(const tdf_loss *a, lanes at)
{
    real column[SHORT * VL], label[VL];
    vf truth, top, one = v_set1(1);
    if (a->labels) {
        for (int i = 0; i < VL; i++) label[i] = (real)a->labels[lane_row(at, i)];
        truth = v_load(label);
    } else {
        get_columns(at, a->N, a->target, column);
        truth = column_argmax(a->N, column, &top);
    }
    get_columns(at, a->N, a->p, column);
    vm same = v_eq(truth, column_argmax(a->N, column, &top)), number = v_eq(top, top);
    v_put(a->rows + at.first, v_select(number, v_select(same, one, v_zero()), v_zero()), at.count);
}

/* ------------------------------------------------------------------ entry point */

typedef void (*row_function)(const tdf_loss *a, ptrdiff_t r);
typedef void (*lane_function)(const tdf_loss *a, lanes at);

INLINE void each_row(const tdf_loss *a, ptrdiff_t lo, ptrdiff_t hi, row_function of_row,
                     lane_function of_lanes)
{
    if (a->N > SHORT)
        for (ptrdiff_t r = lo; r < hi; r++) of_row(a, r);
    else
        for (ptrdiff_t r = lo; r < hi; r += VL) of_lanes(a, (lanes){r, hi - r < VL ? hi - r : VL});
}

static void part_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_loss *a = args;
    (void)part;
    switch (a->loss) {
    case TDF_LOSS_MSE: mean_rows(a, TDF_LOSS_MSE, lo, hi); break;
    case TDF_LOSS_MAE: mean_rows(a, TDF_LOSS_MAE, lo, hi); break;
    case TDF_LOSS_HUBER: mean_rows(a, TDF_LOSS_HUBER, lo, hi); break;
    case TDF_LOSS_MAPE: mean_rows(a, TDF_LOSS_MAPE, lo, hi); break;
    case TDF_LOSS_HINGE: mean_rows(a, TDF_LOSS_HINGE, lo, hi); break;
    case TDF_LOSS_SQUARED_HINGE: mean_rows(a, TDF_LOSS_SQUARED_HINGE, lo, hi); break;
    case TDF_LOSS_QUANTILE: mean_rows(a, TDF_LOSS_QUANTILE, lo, hi); break;
    case TDF_LOSS_LOG_COSH: mean_rows(a, TDF_LOSS_LOG_COSH, lo, hi); break;
    case TDF_LOSS_MSLE: mean_rows(a, TDF_LOSS_MSLE, lo, hi); break;
    case TDF_LOSS_POISSON: mean_rows(a, TDF_LOSS_POISSON, lo, hi); break;
    case TDF_LOSS_KL: mean_rows(a, TDF_LOSS_KL, lo, hi); break;
    case TDF_LOSS_BINARY: mean_rows(a, TDF_LOSS_BINARY, lo, hi); break;
    case TDF_LOSS_BINARY_LOGITS: mean_rows(a, TDF_LOSS_BINARY_LOGITS, lo, hi); break;
    case TDF_LOSS_MATCH_BINARY: mean_rows(a, TDF_LOSS_MATCH_BINARY, lo, hi); break;
    case TDF_LOSS_CATEGORICAL: each_row(a, lo, hi, categorical_row, categorical_short); break;
    case TDF_LOSS_CATEGORICAL_LOGITS:
        each_row(a, lo, hi, categorical_logits_row, categorical_logits_short);
        break;
    case TDF_LOSS_SPARSE: each_row(a, lo, hi, sparse_row, sparse_short); break;
    case TDF_LOSS_SPARSE_LOGITS: each_row(a, lo, hi, sparse_logits_row, sparse_logits_short); break;
    default: each_row(a, lo, hi, match_row, match_short);
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
    int cheap = a->loss <= TDF_LOSS_QUANTILE || a->loss == TDF_LOSS_SPARSE ||
                a->loss >= TDF_LOSS_MATCH_BINARY;
    double work = (cheap ? FEW_OPERATIONS : OPERATIONS) * (double)a->M * (double)a->N;
    span_run(part_rows, a, a->N ? a->M : 0, 64, span_threads(work, a->threads));
    unsigned long mode = v_enter_mode();
    a->result[0] = sum_rows(a);
    v_leave_mode(mode);
    a->result[1] = a->labels ? first_bad_label(a) : -1;
}
