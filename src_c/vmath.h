/* vmath.h - exp, expm1, log, log1p, sigmoid, tanh and the normal distribution of a vector, written once on
 * vec.h.
 *
 * Largest errors over every float32, in units of the last place of the exact result: exp 1.02, sigmoid 2.5,
 * tanh 1.95, log 0.9, expm1 2, log1p 2.5, normal_cdf 4. The first five never fall from one float32 to the
 * next; the last two do, by at most 2. tests/native/vmath.c measures and holds this, docs/trust.md has the
 * figures. One division each costs less than the Newton steps that would replace it: it runs beside the
 * multiply-adds.
 *
 * float32: fused multiply-adds and whole-number steps only, so every ISA that has a fused
 * multiply-add gives the same bits. NaN stays NaN, infinities give the limits. Results below
 * 2^-126 are 0 (the kernels flush denormals), which is where the bounds on the relative error end.
 * float64 (TDF_F64): the C library's functions.
 */
#ifndef TDF_VMATH_H
#define TDF_VMATH_H

#include "vec.h"

#ifdef TDF_F64

INLINE vf v_exp(vf x) { return exp(x); }
INLINE vf v_exp_negative(vf x) { return exp(x); }
INLINE vf v_expm1(vf x) { return expm1(x); }
INLINE vf v_log(vf x) { return log(x); }
INLINE vf v_log1p(vf x) { return log1p(x); }
INLINE vf v_sigmoid(vf x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
INLINE vf v_tanh(vf x) { return tanh(x); }
INLINE vf v_normal_cdf(vf x) { return erfc(x * -0.70710678118654752440) / 2; }

#else

/* e^r - 1 on |r| <= ln(2)/2, Cephes' polynomial in Horner's order. */
INLINE vf v_expm1_reduced(vf r)
{
    vf p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    return v_fma(v_mul(r, r), p, r);
}

/* s x = n ln 2 + r with whole n and s = 1, -1 or -2; *t is n + V_SHIFTER, of which v_pow2 makes 2^n.
 * Adding V_SHIFTER rounds to whole numbers; ln 2 comes in two parts so that n * hi is exact. */
INLINE vf v_reduce_ln2(real s, vf x, vf *t)
{
    *t = v_fma(x, v_set1(s * 1.44269504f), v_set1(V_SHIFTER));
    vf n = v_sub(*t, v_set1(V_SHIFTER));
    vf sx = s == 1 ? x : s == -1 ? v_neg(x) : v_mul(x, v_set1(s));
    return v_fnma(n, v_set1(-2.12194440e-4f), v_fnma(n, v_set1(0.693359375f), sx));
}

/* (1 + p) 2^n, rounded once; without a fused multiply-add p 2^n must not underflow on its own. */
INLINE vf v_scale_one_plus(vf p, vf scale)
{
#ifdef V_NO_FMA
    return v_mul(v_add(v_set1(1), p), scale);
#else
    return v_fma(p, scale, scale);
#endif
}

/* The clamp keeps NaN: v_min and v_max return their second operand if either is NaN. */
INLINE vf v_clamp(vf x, real lo, real hi) { return v_min(v_set1(hi), v_max(v_set1(lo), x)); }

/* e^x; 0 below -87.33, infinity above 88.72. */
INLINE vf v_exp(vf x)
{
    vf t, half, r = v_reduce_ln2(1, v_clamp(x, -87.33654f, 88.72284f), &t);
    half = v_min(t, v_set1(V_SHIFTER + 127));      /* n may be 128: scale in two steps */
    vf y = v_scale_one_plus(v_expm1_reduced(r), v_pow2(half));
    y = v_mul(y, v_pow2(v_add(v_sub(t, half), v_set1(V_SHIFTER))));
    y = v_select(v_lt(x, v_set1(-87.33654f)), v_zero(), y);
    return v_select(v_lt(v_set1(88.72284f), x), v_set1(INFINITY), y);
}

/* e^x for x <= 0, in fewer steps: the bits of v_exp. */
INLINE vf v_exp_negative(vf x)
{
    vf t, r = v_reduce_ln2(1, v_max(v_set1(-87.33654f), x), &t);
    vf y = v_scale_one_plus(v_expm1_reduced(r), v_pow2(t));
    return v_select(v_lt(x, v_set1(-87.33654f)), v_zero(), y);
}

/* e^x - 1 for x <= 0, to full relative accuracy near 0. */
INLINE vf v_expm1_negative(vf x)
{
    vf t, r = v_reduce_ln2(1, v_max(v_set1(-30), x), &t);
    vf scale = v_pow2(t);
    return v_fma(v_expm1_reduced(r), scale, v_sub(scale, v_set1(1)));
}

INLINE vf v_expm1(vf x)
{
    vf small = v_expm1_negative(v_min(v_set1(1), x));
    return v_select(v_lt(v_set1(1), x), v_sub(v_exp(x), v_set1(1)), small);
}

/* 1 / (1 + e^-x), of steps that never fall. 1 + e^-x is rounded once. Below -88 it is 0 for a float32. */
INLINE vf v_sigmoid(vf x)
{
    vf t, r = v_reduce_ln2(-1, v_clamp(x, -88, 88), &t);
    vf scale = v_pow2(t), d = v_fma(v_expm1_reduced(r), scale, v_add(v_set1(1), scale));
    return v_select(v_lt(x, v_set1(-88)), v_zero(), v_div(v_set1(1), d));
}

/* tanh |x| = m / (1 + e) with e = e^(-2|x|) and m = 1 - e in [0, 1). */
INLINE vf v_tanh(vf x)
{
    vf t, r = v_reduce_ln2(-2, v_min(v_set1(10), v_abs(x)), &t);
    vf scale = v_pow2(t);
    vf p = v_expm1_reduced(r), m = v_fnma(p, scale, v_sub(v_set1(1), scale));
    return v_copysign(v_div(m, v_fma(p, scale, v_add(v_set1(1), scale))), x);
}

/* Natural logarithm (Cephes' polynomial on [sqrt(1/2), sqrt(2)]); -inf at 0, NaN below it. */
INLINE vf v_log(vf x)
{
    vf tiny = v_set1(1.17549435e-38f);
    vf m = v_mantissa(x), e = v_exponent(x);
    vm high = v_lt(v_set1(1.41421356f), m);
    m = v_select(high, v_mul(m, v_set1(0.5f)), m);
    e = v_select(high, v_add(e, v_set1(1)), e);
    vf f = v_sub(m, v_set1(1)), z = v_mul(f, f);
    vf p = v_set1(7.0376836292e-2f);
    p = v_fma(p, f, v_set1(-1.1514610310e-1f));
    p = v_fma(p, f, v_set1(1.1676998740e-1f));
    p = v_fma(p, f, v_set1(-1.2420140846e-1f));
    p = v_fma(p, f, v_set1(1.4249322787e-1f));
    p = v_fma(p, f, v_set1(-1.6668057665e-1f));
    p = v_fma(p, f, v_set1(2.0000714765e-1f));
    p = v_fma(p, f, v_set1(-2.4999993993e-1f));
    p = v_fma(p, f, v_set1(3.3333331174e-1f));
    vf y = v_mul(v_mul(p, f), z);
    y = v_fma(e, v_set1(-2.12194440e-4f), y);
    y = v_fma(z, v_set1(-0.5f), y);
    y = v_add(y, f);
    y = v_fma(e, v_set1(0.693359375f), y);
    y = v_select(v_lt(x, tiny), v_set1(-INFINITY), y);      /* zero, and the denormals flushed to it */
    y = v_select(v_lt(x, v_zero()), v_set1(NAN), y);
    y = v_select(v_eq(x, v_set1(INFINITY)), x, y);
    return v_select(v_eq(x, x), y, x);
}

/* The standard normal distribution function P: 1/2 plus an odd polynomial where |x| < 1. Else, for t =
 * |x|, P(-t) = e^(-t^2/2) q(t) with a smooth q that falls like 1 / t: (1 + sqrt(2) t) q is a polynomial in
 * (t - 4) / (t + 4), fitted for the least relative error. t^2 needs more digits than a float32 has: t is
 * split into high + low with an exact square of high. Beyond 13.2 P(-t) is below 2^-126. */
INLINE vf v_normal_cdf(vf x)
{
    vf one = v_set1(1), a = v_abs(x), t = v_min(v_set1(13.2f), a), n;
    vf c = v_mul(t, v_set1(4097)), high = v_sub(c, v_sub(c, t));
    vf square = v_mul(v_mul(high, high), v_set1(-0.5f));
    vf rest = v_mul(v_mul(v_sub(t, high), v_add(t, high)), v_set1(-0.5f));
    vf r = v_add(v_reduce_ln2(1, square, &n), rest);
    vf e = v_scale_one_plus(v_expm1_reduced(r), v_pow2(n));
    vf z = v_div(v_sub(t, v_set1(4)), v_add(t, v_set1(4)));
    vf p = v_set1(-1.0073905e-4f);
    p = v_fma(p, z, v_set1(-5.3505283e-5f));
    p = v_fma(p, z, v_set1(1.0570750e-3f));
    p = v_fma(p, z, v_set1(-7.0156795e-4f));
    p = v_fma(p, z, v_set1(-7.2898820e-3f));
    p = v_fma(p, z, v_set1(2.8890049e-2f));
    p = v_fma(p, z, v_set1(-5.8317881e-2f));
    p = v_fma(p, z, v_set1(7.0148593e-2f));
    p = v_fma(p, z, v_set1(-3.1721190e-2f));
    p = v_fma(p, z, v_set1(-6.6178306e-2f));
    p = v_fma(p, z, v_set1(6.2847788e-1f));
    vf left = v_div(v_mul(p, e), v_fma(v_set1(1.41421356f), t, one));
    left = v_select(v_lt(v_set1(13.2f), a), v_zero(), left);
    vf y = v_select(v_lt(v_zero(), x), v_sub(one, left), left);
    vf u = v_mul(t, t), s = v_set1(-7.62216223e-6f);
    s = v_fma(s, u, v_set1(1.13413036e-4f));
    s = v_fma(s, u, v_set1(-1.18627178e-3f));
    s = v_fma(s, u, v_set1(9.97330528e-3f));
    s = v_fma(s, u, v_set1(-6.64903596e-2f));
    s = v_fma(s, u, v_set1(3.98942292e-1f));
    return v_select(v_lt(a, one), v_fma(x, s, v_set1(0.5f)), y);
}

/* log(1 + x) for x > -1: the rounding of 1 + x is put back as a factor. */
INLINE vf v_log1p(vf x)
{
    vf u = v_add(v_set1(1), x), d = v_sub(u, v_set1(1));
    vf y = v_mul(v_log(u), v_div(x, d));
    y = v_select(v_eq(d, v_zero()), x, y);
    return v_select(v_eq(u, v_set1(INFINITY)), u, y);
}

#endif
#endif
