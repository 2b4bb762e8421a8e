/* tile.h - the micro-kernel of every product: a block of rows x vectors held in registers.
 *
 * Each element of the result is one chain of fused multiply-adds over k in ascending order. That is
 * why its bits depend neither on the shape of the tile nor on the width of the vector.
 */
#ifndef TDF_TILE_H
#define TDF_TILE_H

#include "vec.h"

/* TILE_NV vectors wide and TILE_ROWS(nv) rows high fills the registers: 32 of AVX-512 and NEON, 16
 * of the others. No tile is higher than 6 rows. */
#define TILE_MAX_ROWS 6
#if (defined(__AVX512F__) || defined(__aarch64__)) && !defined(TDF_F64)
#define TILE_NV 4
#define TILE_ROWS(nv) 6
#else
#define TILE_NV 2
#define TILE_ROWS(nv) ((nv) > 2 ? 3 : 6)
#endif

#ifdef TDF_PARTS                /* operands in bfloat16 */
#include "low.h"
#else
/* acc[r][v] += sum over k of a[r * ar + k * ak] * b[k * bk + v * bv ... + VL]. */
INLINE void tile(const int MR, const int NV, ptrdiff_t K, const real *a, ptrdiff_t ar, ptrdiff_t ak,
                 const real *b, ptrdiff_t bk, ptrdiff_t bv, vf *acc)
{
    for (ptrdiff_t k = 0; k < K; k++, a += ak, b += bk) {
        vf bb[4];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) bb[v] = v_load(b + v * bv);
#pragma GCC unroll 6
        for (int r = 0; r < MR; r++) {
            vf x = v_set1(a[r * ar]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) acc[r * NV + v] = v_fma(x, bb[v], acc[r * NV + v]);
        }
    }
}
#endif

/* Calls body(MR, ...) with the constant MR that equals mr. */
#define TILE_SWITCH(mr, body, ...)                                                                 \
    switch (mr) {                                                                                  \
    case 1: body(1, __VA_ARGS__); break;                                                           \
    case 2: body(2, __VA_ARGS__); break;                                                           \
    case 3: body(3, __VA_ARGS__); break;                                                           \
    case 4: body(4, __VA_ARGS__); break;                                                           \
    case 5: body(5, __VA_ARGS__); break;                                                           \
    default: body(6, __VA_ARGS__); break;                                                          \
    }

#endif
