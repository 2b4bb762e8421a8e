/* loss.c - losses and accuracies over M rows of N outputs: a value for each row, the gradient, and
 * the weighted sum of the rows.
 *
 * One struct for all: a loss is one case of `element` (a mean over a row's elements) or a function of
 * rows (losses.h). Long rows are taken one by one, with a vector along the row. Rows of at most
 * SHORT elements would leave most of that vector empty: there every lane is a row of its own, and
 * sums run from the first element to the last. Which of the two it is depends on N alone.
 *
 * Gradients are those that automatic differentiation of Keras's formulas gives, the clipping of
 * probabilities included: an output that the clip holds fast has no gradient.
 */
#include "act.h"
#include "span.h"

#define MANY 60.0                   /* operations: a logarithm and some divisions for each element */
#define FEW 10.0                    /* of the squares, absolute values and comparisons */
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
INLINE vf element(const tdf_loss *a, int kind, vf t, vf p, vf level, vf *slope)
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
            v_store(value + i, element(a, kind, t, v_get(a->p + at + i, n - i), v_load(level + i), &slope));
            if (a->dp) v_put(a->dp + at + i, v_mul(slope, a->weight ? v_load(factor + i) : same), n - i);
        }
        for (ptrdiff_t i = 0; i < rows; i++) {
            real sum = value[i * N];
            for (ptrdiff_t j = 1; j < N; j++) sum += value[i * N + j];
            a->rows[r + i] = sum / count;
        }
    }
}

/* `kind` is a constant where this is expanded: the switch of `element` is gone then. */
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
                vf l = element(a, kind, tt, v_get(p + at, n), level, &slope);
                sum.v[s] = v_add(sum.v[s], act_first(l, n, 0));
                if (a->dp) v_put(a->dp + r * N + at, v_mul(slope, factor), n);
            }
        a->rows[r] = v16_sum(sum) / row_count(kind, N);
    }
}

/* ------------------------------------------------------------------ rows as vectors */

/* A long row, of which a vector holds VL elements after one another; or up to VL short rows, of which a
 * vector holds the same element, each in a lane of its own. Lanes past the last row repeat it, and their
 * results go nowhere. `along` is a constant where this is expanded. */
typedef struct {
    int along;                      /* a long row */
    ptrdiff_t first, count;         /* rows first..first + count - 1 */
    ptrdiff_t N;
} rows;

/* Room for the elements of short rows. */
typedef real columns[SHORT * VL];

/* For the vector with each element `at`. */
#define EACH_VECTOR(v, at) for (ptrdiff_t at = 0; at < (v).N; at += (v).along ? VL : 1)

/* Sums and the like of a row have PANEL lanes along it (see v16), and one across short rows: here the
 * vector goes to the s-th of PANEL / VL. */
#define EACH_PART(v, at, s)                                                                        \
    for (ptrdiff_t panel_ = 0; panel_ < (v).N; panel_ += (v).along ? PANEL : 1)                    \
        for (int s = 0; s < ((v).along ? PANEL / VL : 1); s++)                                     \
            for (ptrdiff_t at = panel_ + s * VL, end_ = at + 1; at < end_ && at < (v).N; at++)

INLINE vf in_all(rows v, v16 sum) { return v.along ? v_set1(v16_sum(sum)) : sum.v[0]; }

INLINE ptrdiff_t lane_row(rows v, int i) { return v.first + (i < v.count ? i : v.count - 1); }

/* Where `take` finds the elements of x (M, N): short rows are copied to `room`. There is at least one
 * element. */
INLINE const real *read_rows(rows v, const real *x, real *room)
{
    if (v.along) return x + v.first * v.N;
    for (int i = 0; i < VL; i++) {
        const real *row = x + lane_row(v, i) * v.N;
        ptrdiff_t j = 0;
        do room[j * VL + i] = row[j];
        while (++j < v.N);
    }
    return room;
}

/* Where `give` puts the elements of x (M, N); `write_rows` has to follow. NULL if x is. */
INLINE real *new_rows(rows v, real *x, real *room) { return !x ? NULL : v.along ? x + v.first * v.N : room; }

INLINE void write_rows(rows v, real *x, const real *room)
{
    for (int i = 0; !v.along && i < v.count; i++)
        for (ptrdiff_t j = 0; j < v.N; j++) x[(v.first + i) * v.N + j] = room[j * VL + i];
}

/* The vector with the element `at`. */
INLINE vf take(rows v, const real *x, ptrdiff_t at)
{
    return v.along ? v_get(x + at, v.N - at) : v_load(x + at * VL);
}

INLINE void give(rows v, real *x, ptrdiff_t at, vf value)
{
    if (v.along) v_put(x + at, value, v.N - at);
    else v_store(x + at * VL, value);
}

/* The same vector with `fill` in the lanes past the row's end. */
INLINE vf within(rows v, ptrdiff_t at, vf a, real fill) { return v.along ? act_first(a, v.N - at, fill) : a; }

/* The element `place` of each row. */
INLINE vf pick(rows v, const real *x, const ptrdiff_t *place)
{
    real lane[VL];
    if (v.along) return v_set1(x[place[0]]);
    for (int i = 0; i < VL; i++) lane[i] = x[place[i] * VL + i];
    return v_load(lane);
}

INLINE void put_at(rows v, real *x, const ptrdiff_t *place, vf value)
{
    real lane[VL];
    v_store(lane, value);
    if (v.along) x[place[0]] = lane[0];
    else
        for (int i = 0; i < VL; i++) x[place[i] * VL + i] = lane[i];
}

/* What the gradient is multiplied by. */
INLINE vf factors(const tdf_loss *a, rows v)
{
    vf scale = v_set1((real)a->scale);
    if (!a->weight) return scale;
    return v_mul(scale, v.along ? v_set1(a->weight[v.first]) : v_get(a->weight + v.first, v.count));
}

INLINE vf sum_of(rows v, const real *x)
{
    v16 sum = v16_set1(0);
    EACH_PART(v, at, s) sum.v[s] = v_add(take(v, x, at), sum.v[s]);
    return in_all(v, sum);
}

/* The largest element, and NaN only if all are. */
INLINE vf largest(rows v, const real *x)
{
    v16 m = v16_set1(-INFINITY);
    EACH_PART(v, at, s) m.v[s] = v_max(within(v, at, take(v, x, at), -INFINITY), m.v[s]);
    return v.along ? v_set1(v16_max(m)) : m.v[0];
}

/* The sum of e^(x - top) but for one element that is the largest, top: near 0 where that one has all the
 * probability. The powers are also given to y unless that is NULL. */
INLINE vf exp_rest(rows v, const real *x, vf top, real *y)
{
    v16 sum = v16_set1(0), ties = v16_set1(0);
    EACH_PART(v, at, s) {
        vf z = within(v, at, take(v, x, at), -INFINITY), e = v_exp(v_sub(z, top));
        vm tie = v_eq(z, top);
        sum.v[s] = v_add(sum.v[s], v_select(tie, v_zero(), e));
        ties.v[s] = v_add(ties.v[s], v_select(tie, v_set1(1), v_zero()));
        if (y) give(v, y, at, e);
    }
    return v_add(in_all(v, sum), v_sub(in_all(v, ties), v_set1(1)));
}

/* ------------------------------------------------------------------ losses of rows */

/* What a row is divided by: its sum, or a tiny number in the place of a zero. The quotients are then
 * clipped, and no gradient comes back through them, as for any row whose sum is close to zero. */
INLINE vf divisor(vf sum) { return v_select(v_eq(sum, v_zero()), v_set1((real)1e-30), sum); }

/* -sum(t log c), c = clip(q), q = p / sum(p); with g = dL/dq: dp = (g - sum(g q)) / sum(p). Where g is
 * not 0, q is c: the sum uses c, which stays finite when q does not. */
INLINE void categorical(const tdf_loss *a, rows v)
{
    columns t_room, p_room, g_room;
    const real *t = read_rows(v, a->target, t_room), *p = read_rows(v, a->p, p_room);
    real *g = new_rows(v, a->dp, g_room), share = (real)1 / (real)v.N;
    vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon)), whole = divisor(sum_of(v, p));
    v16 loss = v16_set1(0), back = v16_set1(0);
    EACH_PART(v, at, s) {
        vf q = v_div(take(v, p, at), whole), c = v_min(hi, v_max(lo, q));
        vf tt = within(v, at, smooth(a, take(v, t, at), share), 0);
        loss.v[s] = v_fma(tt, v_log(c), loss.v[s]);
        if (!g) continue;
        vf gg = v_mul(v_div(tt, c), clip_slope(q, lo, hi));
        back.v[s] = v_fma(gg, c, back.v[s]);
        give(v, g, at, gg);
    }
    v_put(a->rows + v.first, v_neg(in_all(v, loss)), v.count);
    if (!g) return;
    vf mean = in_all(v, back), factor = v_div(factors(a, v), whole);
    EACH_VECTOR(v, at) give(v, g, at, v_mul(v_sub(mean, take(v, g, at)), factor));
    write_rows(v, a->dp, g);
}

/* -sum(t log softmax(p)); dp = softmax(p) sum(t) - t = (e sum(t) - t - t rest) / (1 + rest) */
INLINE void categorical_logits(const tdf_loss *a, rows v)
{
    columns t_room, p_room, e_room;
    const real *t = read_rows(v, a->target, t_room), *p = read_rows(v, a->p, p_room);
    real *e = new_rows(v, a->dp, e_room), share = (real)1 / (real)v.N;
    vf top = largest(v, p), rest = exp_rest(v, p, top, e), log_sum = v_log1p(rest);
    v16 loss = v16_set1(0), mass = v16_set1(0);
    EACH_PART(v, at, s) {
        vf tt = within(v, at, smooth(a, take(v, t, at), share), 0);
        vf z = within(v, at, v_sub(v_sub(take(v, p, at), top), log_sum), 0);
        loss.v[s] = v_add(share_of(tt, z), loss.v[s]);
        mass.v[s] = v_add(tt, mass.v[s]);
    }
    v_put(a->rows + v.first, v_neg(in_all(v, loss)), v.count);
    if (!e) return;
    vf k = in_all(v, mass), by = v_div(factors(a, v), v_add(v_set1(1), rest));
    EACH_VECTOR(v, at) {
        vf tt = smooth(a, take(v, t, at), share), g = v_fma(take(v, e, at), k, v_neg(tt));
        give(v, e, at, v_mul(v_fnma(tt, rest, g), by));
    }
    write_rows(v, a->dp, e);
}

/* The label of each lane's row, or 0 where that is no class, and whether it is one. Rows of which none has a
 * class get the loss 0 and the gradient 0 here, and *done is 1. */
INLINE vm read_labels(const tdf_loss *a, rows v, ptrdiff_t *label, int *done)
{
    real good[VL];
    int any = 0;
    for (int i = 0; i < VL; i++) {
        ptrdiff_t k = a->labels[lane_row(v, i)];
        int inside = k >= 0 && k < v.N;
        label[i] = inside ? k : 0;
        good[i] = (real)inside;
        any |= inside;
    }
    if (!any) {
        v_put(a->rows + v.first, v_zero(), v.count);
        if (a->dp) memset(a->dp + v.first * v.N, 0, (size_t)(v.count * v.N) * sizeof(real));
    }
    *done = !any;
    return v_eq(v_load(good), v_set1(1));
}

/* x where the label is a class, else 0. Of a long row that is known by now. */
INLINE vf if_counts(rows v, vm counts, vf x) { return v.along ? x : v_select(counts, x, v_zero()); }

/* -log clip(q[label]), q = p / sum(p); a label outside 0..N-1 leaves value and gradient 0 */
INLINE void sparse(const tdf_loss *a, rows v)
{
    columns room;
    ptrdiff_t label[VL];
    int done;
    vm counts = read_labels(a, v, label, &done);
    if (done) return;
    const real *p = read_rows(v, a->p, room);
    vf lo = v_set1((real)a->epsilon), hi = v_set1((real)(1 - a->epsilon));
    vf whole = sum_of(v, p), q = v_div(pick(v, p, label), whole), c = v_min(hi, v_max(lo, q));
    v_put(a->rows + v.first, if_counts(v, counts, v_neg(v_log(c))), v.count);
    if (!a->dp) return;
    real mine[VL], other[VL];
    vf g = v_mul(v_div(clip_slope(q, lo, hi), c), v_div(factors(a, v), whole));
    v_store(mine, if_counts(v, counts, g));
    v_store(other, if_counts(v, counts, v_mul(g, q)));
    for (int i = 0; i < v.count; i++) {
        real *dp = a->dp + (v.first + i) * v.N;
        for (ptrdiff_t j = 0; v.along && j < v.N; j += VL) v_put(dp + j, v_set1(other[0]), v.N - j);
        for (ptrdiff_t j = 0; !v.along && j < v.N; j++) dp[j] = other[i];
        dp[label[i]] -= mine[i];
    }
}

/* -log softmax(p)[label]; dp = softmax(p) - onehot(label): for the label (e - 1 - rest) / (1 + rest) */
INLINE void sparse_logits(const tdf_loss *a, rows v)
{
    columns p_room, e_room;
    ptrdiff_t label[VL];
    int done;
    vm counts = read_labels(a, v, label, &done);
    if (done) return;
    const real *p = read_rows(v, a->p, p_room);
    real *e = new_rows(v, a->dp, e_room);
    vf one = v_set1(1), top = largest(v, p), rest = exp_rest(v, p, top, e);
    vf loss = v_sub(v_log1p(rest), v_sub(pick(v, p, label), top));
    v_put(a->rows + v.first, if_counts(v, counts, loss), v.count);
    if (!e) return;
    vf by = v_div(factors(a, v), v_add(one, rest));
    vf mine = v_mul(v_sub(v_sub(pick(v, e, label), one), rest), by);
    EACH_VECTOR(v, at) give(v, e, at, if_counts(v, counts, v_mul(take(v, e, at), by)));
    put_at(v, e, label, if_counts(v, counts, mine));
    write_rows(v, a->dp, e);
}

/* ------------------------------------------------------------------ accuracies of rows */

/* The first place of a number that is there. Blocks without it are passed as a whole. */
static ptrdiff_t place_of(ptrdiff_t N, const real *x, real number)
{
    ptrdiff_t at = 0;
    for (; at + SHORT <= N; at += SHORT) {
        v16 found = v16_set1(0);
        for (ptrdiff_t i = 0; i < SHORT; i += PANEL)
            for (int s = 0; s < PANEL / VL; s++) {
                vm same = v_eq(v_load(x + at + i + s * VL), v_set1(number));
                found.v[s] = v_add(found.v[s], v_select(same, v_set1(1), v_zero()));
            }
        if (v16_sum(found) != 0) break;
    }
    while (x[at] != number) at++;
    return at;
}

/* The first place of the largest element, or of the first NaN. */
static ptrdiff_t argmax(ptrdiff_t N, const real *x)
{
    ptrdiff_t best = 0;
    real top = act_row_max(N, x);               /* of what is no NaN */
    v16 numbers = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t n = N - i - s * VL;
            if (n <= 0) break;
            vf v = v_get(x + i + s * VL, n);
            numbers.v[s] = v_add(numbers.v[s], act_first(v_sub(v, v), n, 0));
        }
    if (v16_sum(numbers) == 0) return place_of(N, x, top);      /* x - x is 0 for finite x alone */
    for (ptrdiff_t i = 1; i < N; i++)
        if (!(x[i] <= x[best]) && x[best] == x[best]) best = i;
    return best;
}

/* The same of each row, and what is there. */
INLINE vf argmax_of(rows v, const real *x, double *place)
{
    real lane[VL];
    if (v.along) {
        ptrdiff_t best = argmax(v.N, x);
        place[0] = (double)best;
        return v_set1(x[best]);
    }
    vf best = v_load(x), at = v_zero();
    for (ptrdiff_t j = 1; j < v.N; j++) {
        vf y = v_load(x + j * VL), here = v_set1((real)j);
        vm keep = v_le(y, best), number = v_eq(best, best);
        at = v_select(number, v_select(keep, at, here), at);
        best = v_select(number, v_select(keep, best, y), best);
    }
    v_store(lane, at);
    for (int i = 0; i < VL; i++) place[i] = lane[i];
    return best;
}

/* 1 where the largest output is at the label; a row with NaN has none. */
INLINE void match(const tdf_loss *a, rows v)
{
    columns room;
    double truth[VL], place[VL];
    real number[VL];
    if (a->labels)
        for (int i = 0; i < v.count; i++) truth[i] = a->labels[v.first + i];
    else argmax_of(v, read_rows(v, a->target, room), truth);
    vf top = argmax_of(v, read_rows(v, a->p, room), place);
    v_store(number, v_select(v_eq(top, top), v_set1(1), v_zero()));
    for (int i = 0; i < v.count; i++) a->rows[v.first + i] = truth[i] == place[i] ? number[i] : 0;
}

/* ------------------------------------------------------------------ entry point */

static void part_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_loss *a = args;
    ptrdiff_t N = a->N;
    (void)part;
    switch (a->loss) {
#define CASE_MEAN(KIND, cost) case TDF_LOSS_##KIND: mean_rows(a, TDF_LOSS_##KIND, lo, hi); break;
#define CASE_ROW(KIND, name, cost)                                                                 \
    case TDF_LOSS_##KIND:                                                                          \
        if (N > SHORT)                                                                             \
            for (ptrdiff_t r = lo; r < hi; r++) name(a, (rows){1, r, 1, N});                       \
        else                                                                                       \
            for (ptrdiff_t r = lo; r < hi; r += VL) name(a, (rows){0, r, hi - r < VL ? hi - r : VL, N}); \
        break;
    TDF_LOSS_TABLE(CASE_MEAN, CASE_ROW)
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

/* Operations of an element. */
static double cost(int loss)
{
    switch (loss) {
#define COST_MEAN(KIND, cost) case TDF_LOSS_##KIND: return cost;
#define COST_ROW(KIND, name, cost) case TDF_LOSS_##KIND: return cost;
    TDF_LOSS_TABLE(COST_MEAN, COST_ROW)
    default: return 0;
    }
}

void TDF_NAME(loss)(const tdf_loss *a)
{
    double work = cost(a->loss) * (double)a->M * (double)a->N;
    span_run(part_rows, a, a->N ? a->M : 0, 64, span_threads(work, a->threads));
    unsigned long mode = v_enter_mode();
    a->result[0] = sum_rows(a);
    v_leave_mode(mode);
    a->result[1] = a->labels ? first_bad_label(a) : -1;
}
