/* vmath_reference.c - the exact values: the C library's functions in double precision, in loops that a
 * compiler may turn into calls of its vector library; with PRECISE in long double, one by one, for a second
 * opinion on fewer inputs.
 */
#include <math.h>

#include "vmath.h"

#ifdef PRECISE
typedef long double wide;
#define EXP expl
#define EXPM1 expm1l
#define LOG logl
#define LOG1P log1pl
#define TANH tanhl
#define ERFC erfcl
#define SQRT sqrtl
#else
typedef double wide;
#define EXP exp
#define EXPM1 expm1
#define LOG log
#define LOG1P log1p
#define TANH tanh
#define ERFC erfc
#define SQRT sqrt
#endif

static inline wide cdf(wide x) { return ERFC(-x * (wide)0.70710678118654752440084436210485L) / 2; }
static inline wide softplus(wide x) { return (x > 0 ? x : 0) + LOG1P(EXP(x > 0 ? -x : x)); }
static inline wide sigmoid(wide x) { return 1 / (1 + EXP(-x)); }

/* x tanh(softplus(x)) = x n / (n + 2) with n = e^x (e^x + 2), which has no cancellation */
static inline wide mish(wide x)
{
    wide e = EXP(x < 40 ? x : 40), n = e * (e + 2);
    return x * (n / (n + 2));
}

/* (x + sqrt(x^2 + 4)) / 2; below 0 as 2 / (sqrt(x^2 + 4) - x) */
static inline wide squareplus(wide x)
{
    wide root = SQRT(x * x + 4);
    return x < 0 ? 2 / (root - x) : (x + root) / 2;
}

#define LOOP(name, formula)                                                                        \
    void reference_##name(ptrdiff_t n, const float *input, double *y)                              \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            wide x = input[i];                                                                     \
            y[i] = (double)(formula);                                                              \
        }                                                                                          \
    }

LOOP(exp, EXP(x))
LOOP(sigmoid, sigmoid(x))
LOOP(tanh, TANH(x))
LOOP(log, LOG(x))
LOOP(expm1, EXPM1(x))
LOOP(log1p, LOG1P(x))
LOOP(normal_cdf, cdf(x))
LOOP(softplus, softplus(x))
LOOP(log_sigmoid, -softplus(-x))
LOOP(softsign, x / (1 + (x < 0 ? -x : x)))
LOOP(silu, x / (1 + EXP(-x)))
LOOP(gelu, x * cdf(x))
LOOP(gelu_tanh, x * sigmoid((x + (wide)0.044715L * x * x * x) * (wide)1.5957691216057307117597842397375L))
LOOP(mish, mish(x))
LOOP(squareplus, squareplus(x))
LOOP(selu, (wide)1.0507009873554804934193349852946L
               * (x > 0 ? x : (wide)1.6732632423543772848170429916717L * EXPM1(x > 0 ? 0 : x)))
