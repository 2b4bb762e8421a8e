/* act.h - every activation of activations.h and its derivative, on one row of N elements; written on vmath.h.
 *
 *   act_forward(kind, N, x, y)            y = f(x); y may be x unless tdf_act_needs_input(kind)
 *   act_backward(kind, N, x, y, dy, dx)   dx = dy f'(x); dx may be dy; x may be NULL unless
 *                                         tdf_act_needs_input(kind): elsewhere f' follows from y alone
 *
 * The row activations (softmax, log_softmax, sparsemax) take the row as one distribution. Elsewhere
 * each element stands alone. NaN stays NaN; at +-infinity the value is the limit, where there is
 * one (softmax of a row with +infinity is NaN, as in Keras). At kinks the derivative is the one
 * Keras's JAX backend takes: relu'(0) = 0, leaky_relu'(0) = 1, hard_tanh'(1) = 1,
 * sparse_sigmoid'(1) = 1/4.
 */
#ifndef TDF_ACT_H
#define TDF_ACT_H

#include "vmath.h"

#define ACT_SELU_SCALE ((real)1.0507009873554805)
#define ACT_SELU_ALPHA ((real)1.6732632423543772)
#define ACT_LEAKY_SLOPE ((real)0.2)
#define ACT_SHRINK ((real)0.5)
#ifdef TDF_F64
#define ACT_FAR 800                 /* beyond it e^-x is 0 for every purpose here */
#else
#define ACT_FAR 100
#endif

#define ACT_FN static __attribute__((unused))

/* ------------------------------------------------------------------ parts */

/* Between lo and hi; NaN stays NaN, since v_min and v_max return their second operand then. */
INLINE vf act_clamp(vf x, real lo, real hi) { return v_min(v_set1(hi), v_max(v_set1(lo), x)); }

INLINE vf act_if(vm m, real a) { return v_select(m, v_set1(a), v_zero()); }

/* sqrt(2/pi) (x + 0.044715 x^3) doubled, so that (1 + tanh u) / 2 is sigmoid of it. */
INLINE vf act_gelu_inner(vf x)
{
    vf p = v_fma(v_mul(x, x), v_set1((real)0.044715), v_set1(1));
    return v_mul(v_mul(x, v_set1((real)1.5957691216057308)), p);
}

/* n = e^x (e^x + 2): tanh(softplus(x)) = n / (n + 2). Beyond 20 the quotient is 1. */
INLINE vf act_mish_n(vf x)
{
    vf e = v_exp(v_min(v_set1(20), x));
    return v_mul(e, v_add(e, v_set1(2)));
}

/* sqrt(x^2 + 4) without overflow. */
INLINE vf act_squareplus_root(vf x)
{
    vf a = v_abs(x);
    return v_select(v_lt(v_set1((real)1e9), a), a, v_sqrt(v_fma(x, x, v_set1(4))));
}

/* ------------------------------------------------------------------ elementwise */

/* f'(x), from y = f(x), and from x where activations.h says so. */
#define SLOPE(name) INLINE vf act_##name##_slope(vf x __attribute__((unused)), vf y __attribute__((unused)))

INLINE vf act_linear(vf x) { return x; }
SLOPE(linear) { return v_set1(1); }

INLINE vf act_tanh(vf x) { return v_tanh(x); }
SLOPE(tanh) { return v_fnma(y, y, v_set1(1)); }

INLINE vf act_sigmoid(vf x) { return v_sigmoid(x); }
SLOPE(sigmoid) { return v_fnma(y, y, y); }

INLINE vf act_relu(vf x) { return v_max(v_zero(), x); }
SLOPE(relu) { return act_if(v_lt(v_zero(), y), 1); }

INLINE vf act_relu6(vf x) { return act_clamp(x, 0, 6); }
SLOPE(relu6) { return v_select(v_lt(y, v_set1(6)), act_if(v_lt(v_zero(), y), 1), v_zero()); }

INLINE vf act_leaky_relu(vf x) { return v_select(v_lt(x, v_zero()), v_mul(x, v_set1(ACT_LEAKY_SLOPE)), x); }
SLOPE(leaky_relu) { return v_select(v_lt(y, v_zero()), v_set1(ACT_LEAKY_SLOPE), v_set1(1)); }

INLINE vf act_elu(vf x) { return v_select(v_lt(v_zero(), x), x, v_expm1(v_min(v_zero(), x))); }
SLOPE(elu) { return v_select(v_lt(v_zero(), y), v_set1(1), v_add(y, v_set1(1))); }

INLINE vf act_selu(vf x)
{
    vf below = v_mul(v_set1(ACT_SELU_ALPHA), v_expm1(v_min(v_zero(), x)));
    return v_mul(v_set1(ACT_SELU_SCALE), v_select(v_lt(v_zero(), x), x, below));
}
SLOPE(selu)
{
    vf below = v_add(y, v_set1(ACT_SELU_SCALE * ACT_SELU_ALPHA));
    return v_select(v_lt(v_zero(), y), v_set1(ACT_SELU_SCALE), below);
}

INLINE vf act_celu(vf x) { return act_elu(x); }
SLOPE(celu) { return act_elu_slope(x, y); }

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) */
INLINE vf act_softplus(vf x) { return v_add(v_max(v_zero(), x), v_log1p(v_exp(v_neg(v_abs(x))))); }
SLOPE(softplus) { return v_neg(v_expm1(v_neg(y))); }

INLINE vf act_softsign(vf x)
{
    vf a = v_abs(x), one = v_set1(1);               /* from 1 on as 1 - 1 / (1 + |x|), which never falls */
    vm small = v_lt(a, one);
    vf q = v_div(v_select(small, a, one), v_add(a, one));
    return v_copysign(v_select(small, q, v_sub(one, q)), x);
}
SLOPE(softsign)
{
    vf u = v_add(v_abs(x), v_set1(1));
    return v_div(v_div(v_set1(1), u), u);
}

INLINE vf act_exponential(vf x) { return v_exp(x); }
SLOPE(exponential) { return y; }

INLINE vf act_hard_sigmoid(vf x) { return v_div(act_clamp(v_add(x, v_set1(3)), 0, 6), v_set1(6)); }
SLOPE(hard_sigmoid)
{
    return v_select(v_lt(y, v_set1(1)), act_if(v_lt(v_zero(), y), (real)1 / 6), v_zero());
}

INLINE vf act_hard_silu(vf x) { return v_mul(v_max(v_set1(-3), x), act_hard_sigmoid(x)); }
SLOPE(hard_silu)            /* s + x s' */
{
    vf s = act_hard_sigmoid(x);
    return v_fma(act_clamp(x, -3, 3), act_hard_sigmoid_slope(x, s), s);
}

INLINE vf act_hard_tanh(vf x) { return act_clamp(x, -1, 1); }
SLOPE(hard_tanh) { return act_if(v_le(v_abs(x), v_set1(1)), 1); }

INLINE vf act_hard_shrink(vf x) { return v_select(v_le(v_abs(x), v_set1(ACT_SHRINK)), v_zero(), x); }
SLOPE(hard_shrink) { return v_select(v_eq(y, v_zero()), v_zero(), v_set1(1)); }

INLINE vf act_soft_shrink(vf x)
{
    vf y = v_sub(x, v_copysign(v_set1(ACT_SHRINK), x));
    return v_select(v_le(v_abs(x), v_set1(ACT_SHRINK)), v_zero(), y);
}
SLOPE(soft_shrink) { return act_hard_shrink_slope(x, y); }

INLINE vf act_tanh_shrink(vf x) { return v_sub(x, v_tanh(x)); }
SLOPE(tanh_shrink)
{
    vf t = v_tanh(x);
    return v_mul(t, t);
}

INLINE vf act_silu(vf x) { return v_mul(v_max(v_set1(-ACT_FAR), x), v_sigmoid(x)); }
SLOPE(silu)                 /* s (1 + x (1 - s)) */
{
    vf s = v_sigmoid(x), one = v_set1(1);
    return v_mul(s, v_fma(act_clamp(x, -ACT_FAR, ACT_FAR), v_sub(one, s), one));
}

INLINE vf act_gelu(vf x) { return v_mul(v_max(v_set1(-40), x), v_normal_cdf(x)); }
SLOPE(gelu)                 /* P(x) + x p(x) */
{
    vf c = act_clamp(x, -40, 40);
    vf p = v_mul(v_set1((real)0.3989422804014327), v_exp(v_mul(v_mul(c, c), v_set1((real)-0.5))));
    return v_fma(c, p, v_normal_cdf(c));
}

INLINE vf act_gelu_tanh(vf x) { return v_mul(v_max(v_set1(-40), x), v_sigmoid(act_gelu_inner(x))); }
SLOPE(gelu_tanh)            /* s + x s (1 - s) u' */
{
    vf c = act_clamp(x, -40, 40);
    vf s = v_sigmoid(act_gelu_inner(c));
    vf du = v_fma(v_mul(c, c), v_set1((real)(3 * 0.044715 * 1.5957691216057308)),
                  v_set1((real)1.5957691216057308));
    return v_fma(v_mul(c, du), v_fnma(s, s, s), s);
}

INLINE vf act_mish(vf x)
{
    vf n = act_mish_n(x);
    return v_mul(v_max(v_set1(-ACT_FAR), x), v_div(n, v_add(n, v_set1(2))));
}
SLOPE(mish)                 /* t + x (1 - t^2) sigmoid(x), with 1 - t^2 = 4 (n + 1) / (n + 2)^2 */
{
    vf c = act_clamp(x, -ACT_FAR, ACT_FAR), n = act_mish_n(c), d = v_add(n, v_set1(2));
    vf rest = v_div(v_div(v_mul(v_set1(4), v_add(n, v_set1(1))), d), d);
    return v_fma(v_mul(c, rest), v_sigmoid(c), v_div(n, d));
}

INLINE vf act_log_sigmoid(vf x) { return v_neg(act_softplus(v_neg(x))); }
SLOPE(log_sigmoid) { return v_neg(v_expm1(y)); }

INLINE vf act_squareplus(vf x)      /* (x + r) / 2, which is 2 / (r - x): that one keeps its digits below 0 */
{
    vf r = act_squareplus_root(x), half = v_set1((real)0.5);
    return v_select(v_lt(x, v_zero()), v_div(v_set1(2), v_sub(r, x)), v_fma(half, x, v_mul(half, r)));
}
SLOPE(squareplus)           /* y / r */
{
    vf c = act_clamp(x, (real)-1e15, (real)1e15), r = act_squareplus_root(c);
    vf above = v_mul(v_set1((real)0.5), v_add(c, r));
    return v_div(v_select(v_lt(c, v_zero()), v_div(v_set1(2), v_sub(r, c)), above), r);
}

INLINE vf act_sparse_plus(vf x)
{
    vf u = v_max(v_zero(), v_add(x, v_set1(1)));
    return v_select(v_le(v_set1(1), x), x, v_mul(v_mul(u, u), v_set1((real)0.25)));
}
SLOPE(sparse_plus) { return act_clamp(v_mul(v_set1((real)0.5), v_add(x, v_set1(1))), 0, 1); }

INLINE vf act_sparse_sigmoid(vf x) { return v_mul(v_set1((real)0.5), act_clamp(v_add(x, v_set1(1)), 0, 2)); }
SLOPE(sparse_sigmoid)
{
    vf edge = act_if(v_eq(v_abs(x), v_set1(1)), (real)0.25);
    return v_select(v_lt(v_abs(x), v_set1(1)), v_set1((real)0.5), edge);
}

#define ACT_NONE(KIND, name, by)

/* f(x) of the elementwise activation `kind`, which is a constant in the hot loops. */
INLINE vf act_value(int kind, vf x)
{
    switch (kind) {
#define ACT_VALUE(KIND, name, by) case TDF_##KIND: return act_##name(x);
    TDF_ACTIVATION_TABLE(ACT_VALUE, ACT_NONE)
    default: return x;
    }
}

INLINE vf act_slope(int kind, vf x, vf y)
{
    switch (kind) {
#define ACT_SLOPE(KIND, name, by) case TDF_##KIND: return act_##name##_slope(x, y);
    TDF_ACTIVATION_TABLE(ACT_SLOPE, ACT_NONE)
    default: return y;
    }
}

/* ------------------------------------------------------------------ rows */

/* `a`, with `fill` in the lanes past the n-th. */
INLINE vf act_first(vf a, ptrdiff_t n, real fill)
{
    if (n >= VL) return a;
    const real lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_select(v_lt(v_load(lane), v_set1((real)n)), a, v_set1(fill));
}

/* The vector at p, with `fill` in the lanes past the n-th. */
INLINE vf act_get_or(const real *p, ptrdiff_t n, real fill) { return act_first(v_get(p, n), n, fill); }

INLINE real act_row_max(ptrdiff_t N, const real *x)
{
    v16 m = v16_set1(-INFINITY);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t n = N - i - s * VL;
            if (n > 0) m.v[s] = v_max(act_get_or(x + i + s * VL, n, -INFINITY), m.v[s]);
        }
    return v16_max(m);
}

INLINE real act_first_lane(vf a)
{
    real lane[VL];
    v_store(lane, a);
    return lane[0];
}

/* sum of e^(x - m); also written to y unless that is NULL. */
INLINE real act_exp_sum(ptrdiff_t N, const real *x, real m, real *y)
{
    v16 sum = v16_set1(0);
    vf shift = v_set1(m);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n <= 0) break;
            vf e = v_exp(v_sub(act_get_or(x + at, n, -INFINITY), shift));
            sum.v[s] = v_add(sum.v[s], e);
            if (y) v_put(y + at, e, n);
        }
    return v16_sum(sum);
}

ACT_FN void act_softmax(ptrdiff_t N, const real *x, real *y)
{
    vf sum = v_set1(act_exp_sum(N, x, act_row_max(N, x), y));
    for (ptrdiff_t i = 0; i < N; i += VL) v_put(y + i, v_div(v_get(y + i, N - i), sum), N - i);
}

/* dx = y (dy - sum(dy y)) */
ACT_FN void act_softmax_backward(ptrdiff_t N, const real *y, const real *dy, real *dx)
{
    v16 sum = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n > 0) sum.v[s] = v_fma(v_get(y + at, n), v_get(dy + at, n), sum.v[s]);
        }
    vf mean = v_set1(v16_sum(sum));
    for (ptrdiff_t i = 0; i < N; i += VL)
        v_put(dx + i, v_mul(v_get(y + i, N - i), v_sub(v_get(dy + i, N - i), mean)), N - i);
}

ACT_FN void act_log_softmax(ptrdiff_t N, const real *x, real *y)
{
    real m = act_row_max(N, x);
    vf shift = v_set1(m), log_sum = v_log(v_set1(act_exp_sum(N, x, m, NULL)));
    for (ptrdiff_t i = 0; i < N; i += VL)
        v_put(y + i, v_sub(v_sub(v_get(x + i, N - i), shift), log_sum), N - i);
}

/* dx = dy - e^y sum(dy) */
ACT_FN void act_log_softmax_backward(ptrdiff_t N, const real *y, const real *dy, real *dx)
{
    v16 sum = v16_set1(0);
    for (ptrdiff_t i = 0; i < N; i += PANEL)
        for (int s = 0; s < PANEL / VL; s++) {
            ptrdiff_t at = i + s * VL, n = N - at;
            if (n > 0) sum.v[s] = v_add(v_get(dy + at, n), sum.v[s]);
        }
    vf total = v_set1(v16_sum(sum));
    for (ptrdiff_t i = 0; i < N; i += VL)
        v_put(dx + i, v_fnma(v_exp(v_get(y + i, N - i)), total, v_get(dy + i, N - i)), N - i);
}

/* The row projected on the simplex: y = max(x - tau, 0) with sum 1. Start from the elements that
 * can be in the support and drop those below their own threshold until none is (Michelot). */
ACT_FN void act_sparsemax(ptrdiff_t N, const real *x, real *y)
{
    real m = act_row_max(N, x);
    double tau = -1;                    /* of x - m; it is never below -1 */
    ptrdiff_t count = N + 1, last;
    do {
        double sum = 0;
        last = count;
        count = 0;
        for (ptrdiff_t i = 0; i < N; i++) {
            double z = (double)x[i] - (double)m;
            if (!(z <= tau)) {          /* counts NaN, so that the row becomes NaN */
                sum += z;
                count++;
            }
        }
        tau = (sum - 1) / (double)count;
    } while (count < last);
    for (ptrdiff_t i = 0; i < N; i++) {
        double z = (double)x[i] - (double)m - tau;
        y[i] = (real)(z <= 0 ? 0 : z);
    }
}

/* dx = dy - mean of dy over the support; 0 outside it */
ACT_FN void act_sparsemax_backward(ptrdiff_t N, const real *y, const real *dy, real *dx)
{
    double sum = 0;
    ptrdiff_t count = 0;
    for (ptrdiff_t i = 0; i < N; i++)
        if (y[i] > 0) {
            sum += dy[i];
            count++;
        }
    double mean = sum / (double)(count ? count : 1);
    for (ptrdiff_t i = 0; i < N; i++) dx[i] = y[i] > 0 ? (real)(dy[i] - mean) : 0;
}

/* ------------------------------------------------------------------ entry points */

/* `kind` is a constant where this is expanded for a hot activation: the switch is gone then. */
INLINE void act_forward_each(int kind, ptrdiff_t N, const real *x, real *y)
{
    ptrdiff_t i = 0;
    for (; i + VL <= N; i += VL) v_store(y + i, act_value(kind, v_load(x + i)));
    if (i < N) v_store_n(y + i, act_value(kind, v_load_n(x + i, N - i)), N - i);
}

INLINE void act_backward_each(int kind, ptrdiff_t N, const real *x, const real *y, const real *dy, real *dx)
{
    for (ptrdiff_t i = 0; i < N; i += VL) {
        ptrdiff_t n = N - i;
        vf slope = act_slope(kind, x ? v_get(x + i, n) : v_zero(), v_get(y + i, n));
        v_put(dx + i, v_mul(v_get(dy + i, n), slope), n);
    }
}

ACT_FN void act_forward(int kind, ptrdiff_t N, const real *x, real *y)
{
    switch (kind) {
    case TDF_LINEAR:
        if (x != y) memcpy(y, x, (size_t)N * sizeof *y);
        break;
    case TDF_TANH: act_forward_each(TDF_TANH, N, x, y); break;
    case TDF_SIGMOID: act_forward_each(TDF_SIGMOID, N, x, y); break;
    case TDF_RELU: act_forward_each(TDF_RELU, N, x, y); break;
#define ACT_FORWARD(KIND, name, by) case TDF_##KIND: act_##name(N, x, y); break;
    TDF_ACTIVATION_TABLE(ACT_NONE, ACT_FORWARD)
    default: act_forward_each(kind, N, x, y);
    }
}

ACT_FN void act_backward(int kind, ptrdiff_t N, const real *x, const real *y, const real *dy, real *dx)
{
    switch (kind) {
    case TDF_LINEAR:
        if (dx != dy) memcpy(dx, dy, (size_t)N * sizeof *dx);
        break;
    case TDF_TANH: act_backward_each(TDF_TANH, N, NULL, y, dy, dx); break;
    case TDF_SIGMOID: act_backward_each(TDF_SIGMOID, N, NULL, y, dy, dx); break;
    case TDF_RELU: act_backward_each(TDF_RELU, N, NULL, y, dy, dx); break;
#define ACT_BACKWARD(KIND, name, by) case TDF_##KIND: act_##name##_backward(N, y, dy, dx); break;
    TDF_ACTIVATION_TABLE(ACT_NONE, ACT_BACKWARD)
    default: act_backward_each(kind, N, x, y, dy, dx);
    }
}

/* The same on M rows of N, of which the elementwise activations make one long row. */
ACT_FN void act_forward_rows(int kind, ptrdiff_t M, ptrdiff_t N, const real *x, real *y)
{
    if (!tdf_act_is_row(kind)) act_forward(kind, M * N, x, y);
    else
        for (ptrdiff_t at = 0; at < M * N; at += N) act_forward(kind, N, x + at, y + at);
}

ACT_FN void act_backward_rows(int kind, ptrdiff_t M, ptrdiff_t N, const real *x, const real *y,
                              const real *dy, real *dx)
{
    if (!tdf_act_is_row(kind)) act_backward(kind, M * N, x, y, dy, dx);
    else
        for (ptrdiff_t at = 0; at < M * N; at += N) act_backward(kind, N, NULL, y + at, dy + at, dx + at);
}

#endif
