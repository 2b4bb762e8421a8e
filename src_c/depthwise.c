/* depthwise.c - the convolution of conv.c where each filter reads one channel alone.
 *
 * The image given has a channel for every filter (conv.c repeats them), so pixels, kernel and outputs lie
 * in the same lanes: nothing is shared between filters, and there is no product of matrices in it.
 */
#include "conv.h"

#define DEPTHWISE_ROWS 6        /* pixels, or taps of the kernel, held in registers at a time */

/* Where the pixel under tap k, counted plane by plane and row by row, lies in a window. */
INLINE ptrdiff_t tap(const tdf_conv *a, ptrdiff_t k)
{
    ptrdiff_t row = k / a->kw, plane = a->kd > 1 ? row / a->kh : 0;
    ptrdiff_t at = plane * a->dd * a->Hp + (row - plane * a->kh) * a->dh;
    return (at * a->Wp + k % a->kw * a->dw) * a->F;
}

/* Pixels p..p+MR of one output row, the vector of filters f. */
INLINE void pixels_tile(const int MR, const tdf_conv *a, const real *x, ptrdiff_t p, ptrdiff_t f, real *y)
{
    ptrdiff_t left = a->F - f, step = a->sw * a->F, taps = a->kd * a->kh * a->kw;
    vf acc[DEPTHWISE_ROWS];
    x += conv_window(a, p, a->F) + f;
    for (int r = 0; r < MR; r++) acc[r] = a->bias ? v_get(a->bias + f, left) : v_zero();
    for (ptrdiff_t k = 0; k < taps; k++) {
        vf b = v_get(a->packed + k * a->F + f, left);
        const real *at = x + tap(a, k);
#pragma GCC unroll 6
        for (int r = 0; r < MR; r++) acc[r] = v_fma(v_get(at + r * step, left), b, acc[r]);
    }
    for (int r = 0; r < MR; r++) {
        if (a->act == TDF_RELU) acc[r] = v_max(v_zero(), acc[r]);
        v_put(y + (p + r) * a->F + f, acc[r], left);
    }
}

void TDF_NAME(depthwise_pixels)(const tdf_conv *a, const real *x, ptrdiff_t lo, ptrdiff_t hi, real *y)
{
    for (ptrdiff_t p = lo; p < hi;) {
        ptrdiff_t run = conv_run(a, p, hi), rows = run < DEPTHWISE_ROWS ? 1 : DEPTHWISE_ROWS;
        for (ptrdiff_t f = 0; f < a->F; f += VL) {
            if (rows == 1) pixels_tile(1, a, x, p, f, y);
            else pixels_tile(DEPTHWISE_ROWS, a, x, p, f, y);
        }
        p += rows;
    }
}

/* Undoes pixels_tile: each output pixel adds to the pixels it read. */
void TDF_NAME(depthwise_dx)(const tdf_conv *a, const real *dz, real *image)
{
    ptrdiff_t pixels = a->Do * a->Ho * a->Wo, taps = a->kd * a->kh * a->kw;
    for (ptrdiff_t p = 0; p < pixels; p++) {
        real *window = image + conv_window(a, p, a->F);
        for (ptrdiff_t f = 0; f < a->F; f += VL) {
            ptrdiff_t left = a->F - f;
            vf d = v_get(dz + p * a->F + f, left);
            for (ptrdiff_t k = 0; k < taps; k++) {
                real *to = window + tap(a, k) + f;
                v_put(to, v_fma(d, v_get(a->kernel + k * a->F + f, left), v_get(to, left)), left);
            }
        }
    }
}

/* Taps k..k+MR over one chunk of pixels, the vector of filters f. */
INLINE void weights_tile(const int MR, const tdf_conv *a, const real *x, const real *dz,
                         ptrdiff_t p0, ptrdiff_t p1, ptrdiff_t k, ptrdiff_t f, real *dkernel, int first)
{
    ptrdiff_t left = a->F - f, step = a->sw * a->F;
    const real *at[DEPTHWISE_ROWS];
    vf acc[DEPTHWISE_ROWS];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) acc[r] = v_zero();
    for (ptrdiff_t p = p0; p < p1;) {
        ptrdiff_t end = p + conv_run(a, p, p1);
#pragma GCC unroll 6
        for (int r = 0; r < MR; r++) at[r] = x + conv_window(a, p, a->F) + tap(a, k + r) + f;
        for (ptrdiff_t i = 0; p < end; p++, i += step) {
            vf d = v_get(dz + p * a->F + f, left);
#pragma GCC unroll 6
            for (int r = 0; r < MR; r++) acc[r] = v_fma(v_get(at[r] + i, left), d, acc[r]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        real *to = dkernel + (k + r) * a->F + f;
        v_put(to, first ? acc[r] : v_add(v_get(to, left), acc[r]), left);
    }
}

/* Adds one image to the taps lo..hi of dkernel, and to dbias [opt]. */
void TDF_NAME(depthwise_weights)(const tdf_conv *a, const real *x, const real *dz, ptrdiff_t lo, ptrdiff_t hi,
                                 real *dkernel, real *dbias, int first)
{
    ptrdiff_t pixels = a->Do * a->Ho * a->Wo;
    for (ptrdiff_t p0 = 0, p1; p0 < pixels; p0 = p1, first = 0) {
        p1 = pixels - p0 < CONV_CHUNK ? pixels : p0 + CONV_CHUNK;
        for (ptrdiff_t f = 0; f < a->F; f += VL) {
            ptrdiff_t left = a->F - f;
            for (ptrdiff_t k = lo; k < hi;) {
                int most = DEPTHWISE_ROWS, rows = hi - k >= most ? most : hi - k >= 3 ? 3 : 1;
                if (rows == most) weights_tile(DEPTHWISE_ROWS, a, x, dz, p0, p1, k, f, dkernel, first);
                else if (rows == 3) weights_tile(3, a, x, dz, p0, p1, k, f, dkernel, first);
                else weights_tile(1, a, x, dz, p0, p1, k, f, dkernel, first);
                k += rows;
            }
            if (!dbias) continue;
            vf sum = v_zero();
            for (ptrdiff_t p = p0; p < p1; p++) sum = v_add(sum, v_get(dz + p * a->F + f, left));
            v_put(dbias + f, first ? sum : v_add(v_get(dbias + f, left), sum), left);
        }
    }
}
