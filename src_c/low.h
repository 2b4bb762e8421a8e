/* low.h - the micro-kernel of tile.h for operands in bfloat16, where TDF_PARTS is defined:
 *
 *   1   "medium": an operand is rounded to a bfloat16 number, hi = bf16(x)
 *   2   "high": it is two, hi and lo = bf16(x - hi), and a product is hi hi + hi lo + lo hi
 *
 * A product of two bfloat16 numbers is exact in float32, so all that rounds is the sum. Its order is that of
 * Intel's TDPBF16PS, the instruction of AMX, whose pseudocode for one element of C and k = 0..31 is
 *
 *   even = odd = 0
 *   for each pair: even = fma(a[2 j], b[2 j], even), odd = fma(a[2 j + 1], b[2 j + 1], odd)
 *   c = c + (even + odd)
 *
 * with every operation rounded to nearest even and denormals taken as 0, in operands and results. Kernels run
 * with denormals as 0 (vec.h), so this is that to the bit, in blocks of LOW_DEPTH from the first k of a call
 * of `tile`. "high" is three of these, one after the other. VDPBF16PS, the instruction of AVX512_BF16, has
 * another order: c = fma(a[2 j], b[2 j], fma(a[2 j + 1], b[2 j + 1], c)), pair after pair. It is not used.
 *
 * This is the plain path: it converts what it reads wherever it reads it, and is slower than float32.
 */
#ifndef TDF_LOW_H
#define TDF_LOW_H

#include "vec.h"

#define LOW_DEPTH 32
#define LOW_ROWS 12             /* of the highest tile, which is a convolution's */

/* A function that serves all heights: copies of it for each would make the library twice as large. */
#ifdef __clang__
#define LOW_FN static __attribute__((noinline, unused))
#else
#define LOW_FN static __attribute__((noinline, noclone, unused))
#endif

/* One block for a row of A: acc[v] = acc[v] + (even + odd). */
INLINE void low_row(const int NV, ptrdiff_t n, const real *a, const vf (*b)[4], vf *acc)
{
    vf even[4], odd[4];
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) even[v] = odd[v] = v_zero();
    for (ptrdiff_t k = 0; k < n; k += 2) {
        vf x = v_set1(a[k]), y = v_set1(a[k + 1]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) even[v] = v_fma(x, b[k][v], even[v]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) odd[v] = v_fma(y, b[k + 1][v], odd[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) acc[v] = v_add(acc[v], v_add(even[v], odd[v]));
}

/* One block for MR rows. */
INLINE void low_block(int MR, int NV, ptrdiff_t n, const real (*a)[LOW_DEPTH], const vf (*b)[4], vf *acc)
{
    for (int r = 0; r < MR; r++, acc += NV) {
        switch (NV) {
        case 1: low_row(1, n, a[r], b, acc); break;
        case 2: low_row(2, n, a[r], b, acc); break;
        case 3: low_row(3, n, a[r], b, acc); break;
        default: low_row(4, n, a[r], b, acc); break;
        }
    }
}

/* acc[r][v] += sum over k of a[r * ar + k * ak] * b[k * bk + v * bv ... + VL]. */
LOW_FN void tile(int MR, int NV, ptrdiff_t K, const real *a, ptrdiff_t ar, ptrdiff_t ak, const real *b,
                 ptrdiff_t bk, ptrdiff_t bv, vf *acc)
{
    real left[TDF_PARTS][LOW_ROWS][LOW_DEPTH];
    vf right[TDF_PARTS][LOW_DEPTH][4];
    for (ptrdiff_t k0 = 0; k0 < K; k0 += LOW_DEPTH) {
        ptrdiff_t n = K - k0 < LOW_DEPTH ? K - k0 : LOW_DEPTH;
        for (int r = 0; r < MR; r++) {
            real *row = left[0][r];
            for (ptrdiff_t k = 0; k < LOW_DEPTH; k++) row[k] = k < n ? a[r * ar + (k0 + k) * ak] : 0;
            for (ptrdiff_t k = 0; k < LOW_DEPTH; k += VL) {
                vf x = v_load(row + k), hi = v_bf16(x);
                v_store(row + k, hi);
                if (TDF_PARTS == 2) v_store(left[TDF_PARTS - 1][r] + k, v_bf16(v_sub(x, hi)));
            }
        }
        for (ptrdiff_t k = 0; k < n + n % 2; k++)
            for (int v = 0; v < NV; v++) {
                vf x = k < n ? v_load(b + (k0 + k) * bk + v * bv) : v_zero(), hi = v_bf16(x);
                right[0][k][v] = hi;
                if (TDF_PARTS == 2) right[TDF_PARTS - 1][k][v] = v_bf16(v_sub(x, hi));
            }
        low_block(MR, NV, n, left[0], right[0], acc);
        if (TDF_PARTS == 2) {
            low_block(MR, NV, n, left[0], right[TDF_PARTS - 1], acc);
            low_block(MR, NV, n, left[TDF_PARTS - 1], right[0], acc);
        }
    }
}

#endif
