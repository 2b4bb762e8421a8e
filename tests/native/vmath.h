/* vmath.h - the functions that vmath.c checks: shared with their references in vmath_reference.c.
 *
 * F(name, kernel, bound, least, fall, zero, minus, plus):
 *   name, kernel          of the function, and its vector form with input x
 *   bound                 largest error allowed, in ulp of the exact result
 *   least                 smaller exact results may come out as anything that small: TINY, because kernels
 *                         flush denormals to 0, or FAINT, because this is the product of x and a factor that
 *                         is flushed
 *   fall                  of a function that never falls: the largest step down of the kernel from one input
 *                         to the next, in ulp, NEVER where there is none; ANY where the function falls itself
 *   zero, minus, plus     its values at 0 (of either sign, but for the sign of a zero), -infinity and
 *                         infinity, exactly
 *
 * gelu_tanh is x e^a in its left tail, with |a| up to 87: six roundings and constants in a, of half an ulp
 * each, weigh up to 87 times as much in e^a, which is 260 ulp.
 *
 * A bound is an assertion: the table in docs/trust.md says what was measured.
 */
#ifndef VMATH_TEST_H
#define VMATH_TEST_H

#include <stddef.h>

#define TINY 0x1p-126
#define FAINT 0x1p-119
#define NEVER 0
#define ANY -1

#define FUNCTIONS(F)                                                                           \
    F(exp, v_exp(x), 1.02, TINY, NEVER, 1, 0, INFINITY)                                        \
    F(sigmoid, v_sigmoid(x), 2.5, TINY, NEVER, 0.5, 0, 1)                                      \
    F(tanh, v_tanh(x), 1.95, TINY, NEVER, 0, -1, 1)                                            \
    F(log, v_log(x), 0.9, TINY, NEVER, -INFINITY, NAN, INFINITY)                               \
    F(expm1, v_expm1(x), 2, TINY, NEVER, 0, -1, INFINITY)                                      \
    F(log1p, v_log1p(x), 2.5, TINY, 2, 0, NAN, INFINITY)                                       \
    F(normal_cdf, v_normal_cdf(x), 4, TINY, 1, 0.5, 0, 1)                                      \
    F(softplus, act_value(TDF_SOFTPLUS, x), 3, TINY, 2, 0.6931472f, 0, INFINITY)               \
    F(log_sigmoid, act_value(TDF_LOG_SIGMOID, x), 3, TINY, 2, -0.6931472f, -INFINITY, 0)       \
    F(softsign, act_value(TDF_SOFTSIGN, x), 2, TINY, 1, 0, -1, 1)                              \
    F(silu, act_value(TDF_SILU, x), 4, FAINT, ANY, 0, 0, INFINITY)                             \
    F(gelu, act_value(TDF_GELU, x), 4.5, FAINT, ANY, 0, 0, INFINITY)                           \
    F(gelu_tanh, act_value(TDF_GELU_TANH, x), 260, FAINT, ANY, 0, 0, INFINITY)                 \
    F(mish, act_value(TDF_MISH, x), 5, FAINT, ANY, 0, 0, INFINITY)                             \
    F(squareplus, act_value(TDF_SQUAREPLUS, x), 3, TINY, NEVER, 1, 0, INFINITY)                \
    F(selu, act_value(TDF_SELU, x), 2.5, TINY, NEVER, 0, -1.7580993f, INFINITY)

#define PROTOTYPE(name, kernel, bound, least, fall, zero, minus, plus) \
    void reference_##name(ptrdiff_t n, const float *x, double *y);
FUNCTIONS(PROTOTYPE)

#endif
