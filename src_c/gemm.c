/* gemm.c - the two matrix products of gemm.h. */
#include "gemm.h"

#include "tile.h"

#define NN_DEPTH 1024           /* k summed before C is stored and taken up again: keeps panels in cache */
#define NN_ROWS_BYTES 131072    /* rows of A worked on at a time */
#define TN_PACK_A 320           /* rows of A or B farther apart than this are packed first */
#define TN_PACK_B 640

void TDF_NAME(gemm_pack)(ptrdiff_t K, ptrdiff_t N, const real *b, ptrdiff_t bk, ptrdiff_t bn,
                         real *packed, ptrdiff_t lo, ptrdiff_t hi)
{
    for (ptrdiff_t n0 = lo; n0 < hi; n0 += GEMM_PANEL) {
        ptrdiff_t width = min_size(GEMM_PANEL, ROUND_UP(N - n0, PANEL)), real_width = min_size(width, N - n0);
        real *to = packed + n0 * K;
        if (bn == 1) {
            for (ptrdiff_t k = 0; k < K; k++, to += width)
                for (ptrdiff_t j = 0; j < width; j += VL)
                    v_store(to + j, v_get(b + k * bk + n0 + j, real_width - j));
            continue;
        }
        for (ptrdiff_t k0 = 0; k0 < K; k0 += PANEL) {        /* 16 x 16 blocks: a transpose */
            ptrdiff_t k1 = min_size(K, k0 + PANEL);
            for (ptrdiff_t j = 0; j < width; j++)
                for (ptrdiff_t k = k0; k < k1; k++)
                    to[k * width + j] = j < real_width ? b[k * bk + (n0 + j) * bn] : 0;
        }
    }
}

/* One tile of C = A B: rows m..m+MR, NV vectors from column n (of which `valid` columns exist). */
INLINE void nn_tile(const int MR, const int NV, const gemm_nn_args *g, ptrdiff_t m, ptrdiff_t n,
                    ptrdiff_t k0, ptrdiff_t k1, const real *b, ptrdiff_t width, ptrdiff_t valid)
{
    vf acc[TILE_MAX_ROWS * 4];
    real *c = g->c + m * g->cr + n;
    int fresh = k0 == 0 && !g->add;
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
        ptrdiff_t left = valid - v * VL;
        vf start = fresh && g->bias && left > 0 ? v_get(g->bias + n + v * VL, left) : v_zero();
#pragma GCC unroll 6
        for (int r = 0; r < MR; r++)
            acc[r * NV + v] = fresh || left <= 0 ? start : v_get(c + r * g->cr + v * VL, left);
    }
    tile(MR, NV, k1 - k0, g->a + m * g->ar + k0, g->ar, 1, b + k0 * width, width, VL, acc);
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
        ptrdiff_t left = valid - v * VL;
        if (left <= 0) break;
#pragma GCC unroll 6
        for (int r = 0; r < MR; r++) v_put(c + r * g->cr + v * VL, acc[r * NV + v], left);
    }
}

#define NN_STRIP(NV)                                                                               \
    static void nn_strip_##NV(const gemm_nn_args *g, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n,      \
                              ptrdiff_t k0, ptrdiff_t k1, const real *b, ptrdiff_t width)          \
    {                                                                                              \
        for (ptrdiff_t m = m0; m < m1; m += TILE_ROWS(NV))                                         \
            TILE_SWITCH(min_size(TILE_ROWS(NV), m1 - m), nn_tile, NV, g, m, n, k0, k1, b, width, g->N - n)  \
    }
NN_STRIP(1)
NN_STRIP(2)
#if TILE_NV == 4
NN_STRIP(4)
#endif

void TDF_NAME(gemm_nn)(const gemm_nn_args *g)
{
    ptrdiff_t step = NN_ROWS_BYTES / (ptrdiff_t)sizeof(real) / (g->K + 1);
    step = step < 48 ? 48 : step / 12 * 12;
    for (ptrdiff_t m0 = 0; m0 < g->M; m0 += step) {
        ptrdiff_t m1 = min_size(g->M, m0 + step), k0 = 0;
        do {                                                 /* once even for K = 0: C = bias */
            ptrdiff_t k1 = min_size(g->K, k0 + NN_DEPTH);
            for (ptrdiff_t n0 = 0; n0 < g->N; n0 += GEMM_PANEL) {
                ptrdiff_t width = min_size(GEMM_PANEL, ROUND_UP(g->N - n0, PANEL)), j = 0;
                const real *b = g->b + n0 * g->K;
                while (j < width && n0 + j < g->N) {
                    ptrdiff_t vectors = min_size(width, g->N - n0 + VL - 1) / VL - j / VL;
#if TILE_NV == 4
                    if (vectors >= 3 && j + 4 * VL <= width) {
                        nn_strip_4(g, m0, m1, n0 + j, k0, k1, b + j, width);
                        j += 4 * VL;
                        continue;
                    }
#endif
                    if (vectors >= 2) {
                        nn_strip_2(g, m0, m1, n0 + j, k0, k1, b + j, width);
                        j += 2 * VL;
                    } else {
                        nn_strip_1(g, m0, m1, n0 + j, k0, k1, b + j, width);
                        j += VL;
                    }
                }
            }
            k0 = k1;
        } while (k0 < g->K);
    }
}

/* One tile of C = A^T B over one chunk; the first chunk stores, the later ones add. */
INLINE void tn_tile(const int MR, const int NV, ptrdiff_t K, const real *a, ptrdiff_t ar, ptrdiff_t ak,
                    const real *b, ptrdiff_t bk, real *c, ptrdiff_t cr, int first, ptrdiff_t valid)
{
    vf acc[TILE_MAX_ROWS * 4];
#pragma GCC unroll 24
    for (int i = 0; i < MR * NV; i++) acc[i] = v_zero();
    tile(MR, NV, K, a, ar, ak, b, bk, VL, acc);
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
        ptrdiff_t left = valid - v * VL;
        if (left <= 0) break;
#pragma GCC unroll 6
        for (int r = 0; r < MR; r++) {
            real *at = c + r * cr + v * VL;
            v_put(at, first ? acc[r * NV + v] : v_add(v_get(at, left), acc[r * NV + v]), left);
        }
    }
}

/* All rows of C for NV vectors of columns. Packed A is [block of 6 rows][k][6]. */
#define TN_STRIP(NV)                                                                               \
    static void tn_strip_##NV(const gemm_tn_args *g, ptrdiff_t K, const real *a, const real *packed, \
                              const real *b, ptrdiff_t bk, ptrdiff_t n, int first)                 \
    {                                                                                              \
        for (ptrdiff_t m = g->m0; m < g->m1; m += TILE_ROWS(NV)) {                                 \
            ptrdiff_t i = m - g->m0;                                                               \
            const real *at = packed ? packed + i / 6 * 6 * K + i % 6 : a + m;                      \
            TILE_SWITCH(min_size(TILE_ROWS(NV), g->m1 - m), tn_tile, NV, K, at, 1,                 \
                        packed ? 6 : g->ak, b, bk, g->c + m * g->cr + n, g->cr, first, g->n1 - n)  \
        }                                                                                          \
    }
TN_STRIP(1)
TN_STRIP(2)
#if TILE_NV == 4
TN_STRIP(4)
#endif

static void tn_pack_a(const gemm_tn_args *g, ptrdiff_t K, const real *rows, real *packed)
{
    for (ptrdiff_t m = g->m0; m < g->m1; m += 6) {
        ptrdiff_t n = min_size(6, g->m1 - m);
        for (ptrdiff_t k = 0; k < K; k++, packed += 6) {
            const real *a = rows + k * g->ak + m;
            for (ptrdiff_t r = 0; r < 6; r++) packed[r] = r < n ? a[r] : 0;
        }
    }
}

/* `width` columns, rounded up to 16 with zeros. */
static void tn_pack_b(ptrdiff_t K, const real *b, ptrdiff_t bk, ptrdiff_t width, real *packed)
{
    for (ptrdiff_t k = 0; k < K; k++, b += bk, packed += ROUND_UP(width, PANEL))
        for (ptrdiff_t j = 0; j < ROUND_UP(width, PANEL); j += VL)
            v_store(packed + j, v_get(b + j, width - j));
}

void TDF_NAME(gemm_tn)(const gemm_tn_args *g)
{
    real *packed_b = g->scratch;
    ptrdiff_t k0 = 0;
    do {                                                     /* once even for K = 0: C = 0, or C += 0 */
        ptrdiff_t K = min_size(GEMM_CHUNK, g->K - k0);
        const real *a = g->a + k0 * g->ak;
        real *packed_a = g->ak > TN_PACK_A ? g->scratch + GEMM_CHUNK * GEMM_PANEL : NULL;
        int first = k0 == 0 && !g->add;
        if (packed_a) tn_pack_a(g, K, a, packed_a);
        for (ptrdiff_t n0 = g->n0; n0 < g->n1; n0 += GEMM_PANEL) {
            ptrdiff_t width = min_size(GEMM_PANEL, g->n1 - n0), bk = g->bk, whole = width / VL * VL;
            const real *b = g->b + k0 * bk + n0;
            if (whole < width || bk > TN_PACK_B) {  /* packed rows are padded to whole vectors */
                tn_pack_b(K, b, bk, width, packed_b);
                b = packed_b;
                bk = ROUND_UP(width, PANEL);
            }
            if (g->sum) {
                for (ptrdiff_t j = 0; j < width; j += VL) {
                    vf s = v_zero();
                    for (ptrdiff_t k = 0; k < K; k++) s = v_add(s, v_load(b + k * bk + j));
                    real *at = g->sum + n0 + j;
                    v_put(at, k0 ? v_add(v_get(at, width - j), s) : s, width - j);
                }
            }
            for (ptrdiff_t j = 0; j < width;) {
                ptrdiff_t vectors = (width - j + VL - 1) / VL;
#if TILE_NV == 4
                if (vectors >= 3 && (b == packed_b ? j + 4 * VL <= bk : vectors >= 4)) {
                    tn_strip_4(g, K, a, packed_a, b + j, bk, n0 + j, first);
                    j += 4 * VL;
                    continue;
                }
#endif
                if (vectors >= 2) {
                    tn_strip_2(g, K, a, packed_a, b + j, bk, n0 + j, first);
                    j += 2 * VL;
                } else {
                    tn_strip_1(g, K, a, packed_a, b + j, bk, n0 + j, first);
                    j += VL;
                }
            }
        }
        k0 += GEMM_CHUNK;
    } while (k0 < g->K);
}
