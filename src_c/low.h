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
 * Without AMX (TDF_AMX) this is the plain path: it converts what it reads wherever it reads it, then
 * multiplies in float32. It is slower than float32 alone.
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

#ifdef TDF_AMX
/* n numbers of a row of A, and zeros, as bfloat16 side by side. */
INLINE void low_left(ptrdiff_t n, const real *a, ptrdiff_t ak, uint32_t (*left)[LOW_ROWS][LOW_DEPTH / 2],
                     int r)
{
    real row[LOW_DEPTH];
    for (ptrdiff_t k = 0; k < LOW_DEPTH; k++) row[k] = k < n ? a[k * ak] : 0;
    for (ptrdiff_t k = 0; k < LOW_DEPTH; k += VL) {
        vf x = v_load(row + k);
        v_store_bf16(left[0][r] + k / 2, x);
        if (TDF_PARTS == 2) v_store_bf16(left[TDF_PARTS - 1][r] + k / 2, v_sub(x, v_bf16(x)));
    }
}

/* n rows of B, and zeros, as pairs of bfloat16: of the rows 2 k and 2 k + 1 in each column. */
INLINE void low_right(ptrdiff_t n, const real *b, ptrdiff_t bk, uint32_t (*right)[LOW_DEPTH / 2][VL])
{
    for (ptrdiff_t k = 0; k < LOW_DEPTH; k += 2) {
        vf x = k < n ? v_load(b + k * bk) : v_zero(), y = k + 1 < n ? v_load(b + (k + 1) * bk) : v_zero();
        v_store_bf16_pairs(right[0][k / 2], x, y);
        if (TDF_PARTS == 2)
            v_store_bf16_pairs(right[TDF_PARTS - 1][k / 2], v_sub(x, v_bf16(x)), v_sub(y, v_bf16(y)));
    }
}

/* acc[r][v] += sum over k of a[r * ar + k * ak] * b[k * bk + v * bv ... + VL], by AMX. Tiles 0 to 3 are acc,
 * a vector each; 4 and 5 a block of the parts of A, a row each; 6 and 7 of those of B, two rows as pairs in
 * each row. */
LOW_FN void tile(int MR, int NV, ptrdiff_t K, const real *a, ptrdiff_t ar, ptrdiff_t ak, const real *b,
                 ptrdiff_t bk, ptrdiff_t bv, vf *acc)
{
    uint32_t left[TDF_PARTS][LOW_ROWS][LOW_DEPTH / 2], right[TDF_PARTS][LOW_DEPTH / 2][VL];
    ptrdiff_t row = NV * (ptrdiff_t)sizeof(vf), wide = (ptrdiff_t)sizeof left[0][0];
    v_tiles shape = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        shape.bytes[t] = t == 4 || t == 5 ? LOW_DEPTH * 2 : VL * sizeof(real);
        shape.rows[t] = (uint8_t)(t < 6 ? MR : LOW_DEPTH / 2);
    }
    if (K <= 0) return;
    V_TILES_BEGIN(&shape);
#define EACH_VECTOR(DO) DO(0) if (NV > 1) DO(1) if (NV > 2) DO(2) if (NV > 3) DO(3)
#define LOAD(v) V_TILE_LOAD(v, acc + v, row);
    EACH_VECTOR(LOAD)
    for (ptrdiff_t k0 = 0; k0 < K; k0 += LOW_DEPTH) {
        ptrdiff_t n = K - k0 < LOW_DEPTH ? K - k0 : LOW_DEPTH;
        for (int r = 0; r < MR; r++) low_left(n, a + r * ar + k0 * ak, ak, left, r);
        V_TILE_LOAD(4, left[0], wide);
        if (TDF_PARTS == 2) V_TILE_LOAD(5, left[TDF_PARTS - 1], wide);
#define MULTIPLY(v)                                                                                \
        {                                                                                          \
            low_right(n, b + k0 * bk + v * bv, bk, right);                                         \
            V_TILE_LOAD(6, right[0], (ptrdiff_t)sizeof right[0][0]);                               \
            V_TILE_MULTIPLY(v, 4, 6);                                                              \
            if (TDF_PARTS == 2) {                                                                  \
                V_TILE_LOAD(7, right[TDF_PARTS - 1], (ptrdiff_t)sizeof right[0][0]);               \
                V_TILE_MULTIPLY(v, 4, 7);                                                          \
                V_TILE_MULTIPLY(v, 5, 6);                                                          \
            }                                                                                      \
        }
        EACH_VECTOR(MULTIPLY)
    }
#define STORE(v) V_TILE_STORE(v, acc + v, row);
    EACH_VECTOR(STORE)
    V_TILES_END();
}
#else
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

#endif
