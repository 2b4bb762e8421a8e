/* gemm.h - the two matrix products that layers are made of. gemm.c has them.
 *
 *   gemm_nn  C = A B + bias     forward, and back to the inputs: rows times a packed matrix
 *   gemm_tn  C = A^T B          weight gradients: a long sum over rows, in fixed chunks
 *
 * Both are serial: the caller splits rows (nn) or a rectangle of C (tn) over threads.
 */
#ifndef TDF_GEMM_H
#define TDF_GEMM_H

#include "vec.h"

#define GEMM_PANEL 64           /* columns of a packed panel */
#define GEMM_CHUNK 256          /* rows that gemm_tn sums in registers before it adds to C */

#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

INLINE ptrdiff_t min_size(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Packed B (K, N): panels of 64 columns, the last as narrow as a multiple of 16 allows, each stored
 * as [k][column] with zeros past N. */
static inline __attribute__((unused)) ptrdiff_t gemm_pack_size(ptrdiff_t K, ptrdiff_t N)
{
    return K * ROUND_UP(N, PANEL);
}

/* Packs columns lo..hi (multiples of 64, or N) of B, whose element (k, n) is b[k * bk + n * bn]. */
void TDF_NAME(gemm_pack)(ptrdiff_t K, ptrdiff_t N, const real *b, ptrdiff_t bk, ptrdiff_t bn,
                         real *packed, ptrdiff_t lo, ptrdiff_t hi);

typedef struct {
    ptrdiff_t M, K, N;
    const real *a;              /* element (m, k) at a[m * ar + k] */
    ptrdiff_t ar;
    const real *b;              /* gemm_pack of (K, N) */
    const real *bias;           /* (N) or NULL */
    int add;                    /* C += A B; bias is not used */
    real *c;                    /* element (m, n) at c[m * cr + n] */
    ptrdiff_t cr;
} gemm_nn_args;

void TDF_NAME(gemm_nn)(const gemm_nn_args *g);

typedef struct {
    ptrdiff_t K;                /* rows of A and of B: the long sum */
    ptrdiff_t m0, m1;           /* the part of C to make: rows m0..m1, */
    ptrdiff_t n0, n1;           /* columns n0..n1 */
    const real *a;              /* element (k, m) at a[k * ak + m] */
    ptrdiff_t ak;
    const real *b;              /* element (k, n) at b[k * bk + n] */
    ptrdiff_t bk;
    real *c;                    /* element (m, n) at c[m * cr + n] */
    ptrdiff_t cr;
    int add;                    /* C += A^T B; there is no sum then */
    real *sum;                  /* columns n0..n1 of the sum of B's rows, or NULL */
    real *scratch;              /* gemm_tn_scratch */
} gemm_tn_args;

static inline __attribute__((unused)) ptrdiff_t gemm_tn_scratch(ptrdiff_t M)
{
    return GEMM_CHUNK * (ROUND_UP(M, 6) + GEMM_PANEL);
}

void TDF_NAME(gemm_tn)(const gemm_tn_args *g);

#endif
