/* conv.c - convolution of volumes with the channels last, and back.
 *
 *   y[n, h, i, j, f] = act(bias[f] + sum over t, u, v, c of
 *                          x[n, h sd + t dd, i sh + u dh, j sw + v dw, c] kernel[t, u, v, c, f])
 *
 * An image is a volume of one plane; where it says image below, that holds for volumes, too.
 * It is the product of dense.c with rows that are windows of the image, and no window is ever copied: a
 * tile takes pixels of one output row, whose windows are a fixed stride apart, and a row of a window (or
 * a pixel of it, where the window is dilated or grouped) is contiguous. Where windows reach out of the
 * image, they read a copy with zeros around it, one image at a time. A group of one channel leaves the
 * product nothing to share between filters: depthwise.c.
 *
 * Each element is one chain of fused multiply-adds over (t, u, v, c) in this order. dkernel is summed over
 * chunks of pixels, chunk after chunk, in parts of whole images (see conv_view); a pixel of dx collects
 * its windows in their order.
 *
 * A transposed convolution is the same the other way round: its output is what dx is here, its dx what y is.
 */
#include "conv.h"

#include "act.h"
#include "span.h"
#include "tile.h"

/* Where piece v of row u, counted plane by plane, lies in a window. */
INLINE ptrdiff_t piece(const tdf_conv *a, ptrdiff_t u, ptrdiff_t v)
{
    ptrdiff_t plane = a->kd > 1 ? u / a->kh : 0;
    ptrdiff_t row = plane * a->dd * a->Hp + (u - plane * a->kh) * a->dh;
    return (row * a->Wp + v * a->dw) * a->C;
}

/* ------------------------------------------------------------------ the tile */

/* Rows of a tile that is nv vectors wide. Higher than those of tile.h where that is narrow: the sums of
 * 16 filters alone would leave the multipliers waiting for one another. */
#define CONV_MAX_ROWS 12
#if TILE_NV == 4
#define CONV_TILE(nv) ((nv) == 4 ? 6 : 12)
#else
#define CONV_TILE(nv) ((nv) == 2 ? 6 : 12)
#endif

#define CONV_SWITCH_12(mr, body, ...)                                                              \
    switch (mr) {                                                                                  \
    case 7: body(7, __VA_ARGS__); break;                                                           \
    case 8: body(8, __VA_ARGS__); break;                                                           \
    case 9: body(9, __VA_ARGS__); break;                                                           \
    case 10: body(10, __VA_ARGS__); break;                                                         \
    case 11: body(11, __VA_ARGS__); break;                                                         \
    case 12: body(12, __VA_ARGS__); break;                                                         \
    default: TILE_SWITCH(mr, body, __VA_ARGS__)                                                    \
    }
#define CONV_SWITCH_6 TILE_SWITCH
#if TILE_NV == 4
#define CONV_SWITCH_1 CONV_SWITCH_12
#define CONV_SWITCH_2 CONV_SWITCH_12
#define CONV_SWITCH_4 CONV_SWITCH_6
#else
#define CONV_SWITCH_1 CONV_SWITCH_12
#define CONV_SWITCH_2 CONV_SWITCH_6
#endif

/* acc[r][v] += sum over k of a[r * ar + k * ak] * b[k * bk + v * VL ...], of up to 12 rows. They are
 * reached from every fourth of them, or their addresses would not fit into the registers. */
INLINE void conv_tile(const int MR, const int NV, ptrdiff_t K, const real *a, ptrdiff_t ar, ptrdiff_t ak,
                      const real *b, ptrdiff_t bk, vf *acc)
{
#ifdef TDF_PARTS
    tile(MR, NV, K, a, ar, ak, b, bk, VL, acc);
#else
    const real *a4 = a + (MR > 4 ? 4 * ar : 0), *a8 = a + (MR > 8 ? 8 * ar : 0);
    for (ptrdiff_t k = 0; k < K; k++, a += ak, a4 += ak, a8 += ak, b += bk) {
        vf bb[4];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) bb[v] = v_load(b + v * VL);
#pragma GCC unroll 12
        for (int r = 0; r < MR; r++) {
            vf x = v_set1(r < 4 ? a[r * ar] : r < 8 ? a4[(r - 4) * ar] : a8[(r - 8) * ar]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) acc[r * NV + v] = v_fma(x, bb[v], acc[r * NV + v]);
        }
    }
#endif
}

/* body##_4, _2 or _1(j, ...), as many vectors wide, for the columns 0..columns of a panel `width` wide. */
#if TILE_NV == 4
#define CONV_STRIP_4(body, vectors, j, width, ...)                                                 \
    if ((vectors) >= 3 && (j) + 4 * VL <= (width)) {                                               \
        body##_4(j, __VA_ARGS__);                                                                  \
        (j) += 4 * VL;                                                                             \
        continue;                                                                                  \
    }
#else
#define CONV_STRIP_4(body, vectors, j, width, ...)
#endif
#define CONV_STRIPS(body, columns, width, ...)                                                     \
    for (ptrdiff_t j = 0; j < (columns);) {                                                        \
        ptrdiff_t vectors = ((columns) - j + VL - 1) / VL;                                         \
        CONV_STRIP_4(body, vectors, j, width, __VA_ARGS__)                                         \
        if (vectors >= 2 && j + 2 * VL <= (width)) {                                               \
            body##_2(j, __VA_ARGS__);                                                              \
            j += 2 * VL;                                                                           \
        } else {                                                                                   \
            body##_1(j, __VA_ARGS__);                                                              \
            j += VL;                                                                               \
        }                                                                                          \
    }

/* ------------------------------------------------------------------ forward */

static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    (void)part;
    for (ptrdiff_t g = lo; g < hi; g++)
        TDF_NAME(gemm_pack)(w.K, w.Fg, a->kernel + g * w.Fg, a->F, 1,
                            a->packed + g * gemm_pack_size(w.K, w.Fg), 0, w.Fg);
}

void TDF_NAME(conv_pack)(const tdf_conv *a)
{
    size_t bytes = (size_t)(a->kd * a->kh * a->kw * a->F) * sizeof(real);
    if (conv_view_of(a).depthwise) memcpy(a->packed, a->kernel, bytes);
    else span_run(pack_body, a, a->groups, 1, 1);
}

/* Where row i of all planes begins in an image with its zeros, in pixels. */
static ptrdiff_t row_in_image(const tdf_conv *a, ptrdiff_t i)
{
    ptrdiff_t plane = i / a->H;
    return ((plane + a->front) * a->Hp + i - plane * a->H + a->top) * a->Wp + a->left;
}

/* Image n as its windows see it; `copy` has zeros around the place where the image goes. */
static const real *image_of(const tdf_conv *a, const conv_view *w, ptrdiff_t n, real *copy)
{
    ptrdiff_t row = a->W * a->C, repeat = w->depthwise ? w->Fg : 1;
    const real *x = a->x + n * a->D * a->H * row;
    if (!w->image) return x;
    for (ptrdiff_t i = 0; i < a->D * a->H; i++, x += row) {
        real *to = copy + row_in_image(a, i) * a->C * repeat;
        if (repeat == 1) memcpy(to, x, (size_t)row * sizeof(real));
        else
            for (ptrdiff_t k = 0; k < row; k++)
                for (ptrdiff_t q = 0; q < repeat; q++) *to++ = x[k];
    }
    return copy;
}

/* One panel of filters on some pixels. */
typedef struct {
    const tdf_conv *a;
    const conv_view *w;
    const real *x;              /* the group's first channel of the image */
    ptrdiff_t lo, hi;           /* pixels of the image */
    const real *b, *bias;       /* panel, and bias of its first column [bias opt] */
    ptrdiff_t width, columns;   /* of the panel, and how many of them exist */
    real *c;                    /* (pixels, F) of the image at the panel's first column */
} conv_panel;

/* Pixels p..p+MR of one output row, NV vectors from column j. */
INLINE void forward_tile(const int MR, const int NV, const conv_panel *t, ptrdiff_t p, ptrdiff_t j)
{
    const tdf_conv *a = t->a;
    const real *x = t->x + conv_window(a, p, a->C), *b = t->b + j;
    vf acc[CONV_MAX_ROWS * 2];
    real *c = t->c + p * a->F + j;
    ptrdiff_t valid = t->columns - j;
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
        ptrdiff_t left = valid - v * VL;
        vf start = t->bias && left > 0 ? v_get(t->bias + j + v * VL, left) : v_zero();
#pragma GCC unroll 12
        for (int r = 0; r < MR; r++) acc[r * NV + v] = start;
    }
    for (ptrdiff_t u = 0; u < a->kd * a->kh; u++)
        for (ptrdiff_t v = 0; v < t->w->pieces; v++, b += t->w->length * t->width)
            conv_tile(MR, NV, t->w->length, x + piece(a, u, v), a->sw * a->C, 1, b, t->width, acc);
    int relu = a->act == TDF_RELU;
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
        ptrdiff_t left = valid - v * VL;
        if (left <= 0) break;
#pragma GCC unroll 12
        for (int r = 0; r < MR; r++) {
            vf y = acc[r * NV + v];
            v_put(c + r * a->F + v * VL, relu ? act_value(TDF_RELU, y) : y, left);
        }
    }
}

/* Each output row in tiles of nearly one height. */
#define FORWARD_STRIP(NV)                                                                          \
    static void forward_strip_##NV(ptrdiff_t j, const conv_panel *t)                               \
    {                                                                                              \
        for (ptrdiff_t p = t->lo; p < t->hi;) {                                                    \
            ptrdiff_t run = conv_run(t->a, p, t->hi), tiles = (run + CONV_TILE(NV) - 1) / CONV_TILE(NV); \
            for (ptrdiff_t end = p + run; p < end; tiles--) {                                      \
                ptrdiff_t rows = (end - p + tiles - 1) / tiles;                                    \
                CONV_SWITCH_##NV(rows, forward_tile, NV, t, p, j)                                  \
                p += rows;                                                                         \
            }                                                                                      \
        }                                                                                          \
    }
FORWARD_STRIP(1)
FORWARD_STRIP(2)
#if TILE_NV == 4
FORWARD_STRIP(4)
#endif

/* Pixels lo..hi of an image before the activation (after it, for relu), to z (pixels, F) of the image. */
static void forward_pixels(const tdf_conv *a, const conv_view *w, const real *x, ptrdiff_t lo, ptrdiff_t hi,
                           real *z)
{
    for (ptrdiff_t g = 0; g < a->groups; g++)
        for (ptrdiff_t n0 = 0; n0 < w->Fg; n0 += GEMM_PANEL) {
            ptrdiff_t f = g * w->Fg + n0;
            conv_panel t = {.a = a, .w = w, .x = x + g * w->Cg, .lo = lo, .hi = hi,
                            .b = a->packed + g * gemm_pack_size(w->K, w->Fg) + n0 * w->K,
                            .bias = a->bias ? a->bias + f : NULL,
                            .width = min_size(GEMM_PANEL, ROUND_UP(w->Fg - n0, PANEL)),
                            .columns = min_size(GEMM_PANEL, w->Fg - n0), .c = z + f};
            CONV_STRIPS(forward_strip, t.columns, t.width, &t)
        }
}

/* Output pixels lo..hi of all images. */
static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    ptrdiff_t step = a->Wo < CONV_ROWS ? CONV_ROWS / a->Wo * a->Wo : CONV_ROWS;
    real *copy = a->scratch + part * w.image, *to = a->z && a->act != TDF_RELU ? a->z : a->y;
    memset(copy, 0, (size_t)w.image * sizeof(real));
    for (ptrdiff_t n = lo / w.pixels; n * w.pixels < hi; n++) {
        const real *x = image_of(a, &w, n, copy);
        ptrdiff_t first = n * w.pixels, p = lo > first ? lo - first : 0;
        ptrdiff_t last = min_size(w.pixels, hi - first);
        for (ptrdiff_t end; p < last; p = end) {
            ptrdiff_t at = (first + p) * a->F;
            real *z = to + at, *y = a->y + at;
            end = min_size(last, p - p % a->Wo % step + step);
            ptrdiff_t rows = end - p;
            if (w.depthwise) TDF_NAME(depthwise_pixels)(a, x, p, end, to + first * a->F);
            else forward_pixels(a, &w, x, p, end, to + first * a->F);
            if (a->act == TDF_LINEAR || a->act == TDF_RELU) continue;
            act_forward_rows(a->act, rows, a->F, z, y);
        }
    }
}

static int conv_threads(const tdf_conv *a)
{
    ptrdiff_t products = a->kd * a->kh * a->kw * (a->C / a->groups);
    double work = 2.0 * (double)(a->N * a->Do * a->Ho * a->Wo) * (double)(a->F * (products + 8));
    return span_threads(work, a->threads);
}

void TDF_NAME(conv_forward)(const tdf_conv *a)
{
    ptrdiff_t rows = a->N * a->Do * a->Ho;
    int threads = conv_threads(a), by_rows = rows >= 4 * threads;
    span_run(forward_body, a, rows * a->Wo, by_rows ? a->Wo : CONV_MAX_ROWS, threads);
}

/* ------------------------------------------------------------------ backward: the image */

/* dy f'(z) of one image, written to `to` unless it is dy itself. */
static const real *image_dz(const tdf_conv *a, const conv_view *w, ptrdiff_t n, real *to)
{
    ptrdiff_t at = n * w->pixels * a->F;
    const real *z = a->z ? a->z + at : NULL;
    if (a->act == TDF_LINEAR) return a->dy + at;
    act_backward_rows(a->act, w->pixels, a->F, z, a->y + at, a->dy + at, to);
    return to;
}

/* dz kernel^T gives the windows' gradients, some pixels at a time, and each window is added to the image
 * where forward read it. */
static void spread_windows(const tdf_conv *a, const conv_view *w, const real *dz, real *windows, real *image)
{
    for (ptrdiff_t p = 0; p < w->pixels; p += w->spread) {
        ptrdiff_t rows = min_size(w->spread, w->pixels - p);
        for (ptrdiff_t g = 0; g < a->groups; g++) {
            const real *packed = a->scratch + g * gemm_pack_size(w->Fg, w->K);
            gemm_nn_args product = {.M = rows, .K = w->Fg, .N = w->K, .a = dz + p * a->F + g * w->Fg,
                                    .ar = a->F, .b = packed, .c = windows, .cr = w->K};
            TDF_NAME(gemm_nn)(&product);
            const real *from = windows;
            real *at = NULL;
            for (ptrdiff_t r = 0, run = 0; r < rows; r++, run--, at += a->sw * a->C) {
                if (!run) {
                    run = conv_run(a, p + r, p + rows);
                    at = image + conv_window(a, p + r, a->C) + g * w->Cg;
                }
                for (ptrdiff_t u = 0; u < a->kd * a->kh; u++)
                    for (ptrdiff_t v = 0; v < w->pieces; v++, from += w->length)
                        v_add_to(at + piece(a, u, v), from, w->length);
            }
        }
    }
}

/* Image n of `images` (N, D, H, W, C), dx or the like: undoes forward_tile, then image_of. Each pixel's sum
 * begins with start (C) [opt: with 0]. */
static void image_dx(const tdf_conv *a, const conv_view *w, ptrdiff_t n, const real *dz, const real *start,
                     real *windows, real *image, real *images)
{
    ptrdiff_t row = a->W * a->C, repeat = w->depthwise ? w->Fg : 1;
    ptrdiff_t size = a->Dp * a->Hp * a->Wp * a->C * repeat;
    real *dx = images + n * a->D * a->H * row, *to = w->image ? image : dx;
    if (!start) memset(to, 0, (size_t)size * sizeof(real));
    else memcpy(to, start, (size_t)a->C * sizeof(real));
    for (ptrdiff_t done = a->C; start && done < size; done *= 2)
        memcpy(to + done, to, (size_t)min_size(done, size - done) * sizeof(real));
    if (w->depthwise) TDF_NAME(depthwise_dx)(a, dz, to);
    else spread_windows(a, w, dz, windows, to);
    if (!w->image) return;
    for (ptrdiff_t i = 0; i < a->D * a->H; i++, dx += row) {
        const real *from = image + row_in_image(a, i) * a->C * repeat;
        if (repeat == 1) memcpy(dx, from, (size_t)row * sizeof(real));
        else
            for (ptrdiff_t k = 0; k < row; k++, from += repeat) {
                real sum = from[0];
                for (ptrdiff_t q = 1; q < repeat; q++) sum += from[q];
                dx[k] = sum;
            }
    }
}

static void pack_conv_transpose(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    (void)part;
    for (ptrdiff_t g = lo; g < hi; g++)
        TDF_NAME(gemm_pack)(w.Fg, w.K, a->kernel + g * w.Fg, 1, a->F,
                            a->scratch + g * gemm_pack_size(w.Fg, w.K), 0, w.K);
}

/* ------------------------------------------------------------------ backward: the weights */

/* Columns of dkernel over one chunk of an image's pixels. */
typedef struct {
    const tdf_conv *a;
    const conv_view *w;
    const real *x;              /* the group's first channel of the image */
    ptrdiff_t p0, p1;           /* the pixels */
    const real *b;              /* dz of these pixels at the first column, element (p, n) at b[p * bk + n] */
    ptrdiff_t bk;
    ptrdiff_t columns;
    ptrdiff_t k0, k1;           /* the group's kernel rows to make */
    real *dkernel, *dbias;      /* at the first column; dbias [opt] */
    int first;                  /* nothing was summed before */
} conv_chunk;

/* Kernel rows k..k+MR, which lie in one piece of the window; `at` is where they begin in it. */
INLINE void weight_tile(const int MR, const int NV, const conv_chunk *t, ptrdiff_t k, ptrdiff_t at,
                        ptrdiff_t j)
{
    const tdf_conv *a = t->a;
    const real *b = t->b + j;
    vf acc[CONV_MAX_ROWS * 2];
#pragma GCC unroll 24
    for (int i = 0; i < MR * NV; i++) acc[i] = v_zero();
    for (ptrdiff_t p = t->p0; p < t->p1;) {
        ptrdiff_t run = conv_run(a, p, t->p1);
        conv_tile(MR, NV, run, t->x + conv_window(a, p, a->C) + at, 1, a->sw * a->C, b, t->bk, acc);
        b += run * t->bk;
        p += run;
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
        ptrdiff_t left = t->columns - j - v * VL;
        if (left <= 0) break;
#pragma GCC unroll 12
        for (int r = 0; r < MR; r++) {
            real *to = t->dkernel + (k + r) * a->F + j + v * VL;
            v_put(to, t->first ? acc[r * NV + v] : v_add(v_get(to, left), acc[r * NV + v]), left);
        }
    }
}

/* Kernel rows k0..k1, each piece in tiles of nearly one height. */
#define WEIGHT_STRIP(NV)                                                                           \
    static void weight_strip_##NV(ptrdiff_t j, const conv_chunk *t)                                \
    {                                                                                              \
        const conv_view *w = t->w;                                                                 \
        for (ptrdiff_t k = t->k0; k < t->k1;) {                                                    \
            ptrdiff_t i = k / w->length, begin = i * w->length, end = min_size(t->k1, begin + w->length); \
            ptrdiff_t at = piece(t->a, i / w->pieces, i % w->pieces) - begin;                      \
            ptrdiff_t tiles = (end - k + CONV_TILE(NV) - 1) / CONV_TILE(NV);                       \
            for (; k < end; tiles--) {                                                             \
                ptrdiff_t rows = (end - k + tiles - 1) / tiles;                                    \
                CONV_SWITCH_##NV(rows, weight_tile, NV, t, k, at + k, j)                           \
                k += rows;                                                                         \
            }                                                                                      \
        }                                                                                          \
    }
WEIGHT_STRIP(1)
WEIGHT_STRIP(2)
#if TILE_NV == 4
WEIGHT_STRIP(4)
#endif

/* dbias over one chunk: the sums of every fourth pixel, added up. */
static void chunk_dbias(const conv_chunk *t)
{
    for (ptrdiff_t j = 0; j < t->columns; j += VL) {
        const real *b = t->b + j;
        ptrdiff_t n = t->p1 - t->p0, p = 0;
        vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        for (; p + 4 <= n; p += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) sum[i] = v_add(sum[i], v_load(b + (p + i) * t->bk));
        for (; p < n; p++) sum[0] = v_add(sum[0], v_load(b + p * t->bk));
        vf all = v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3]));
        v_put(t->dbias + j, t->first ? all : v_add(v_get(t->dbias + j, t->columns - j), all), t->columns - j);
    }
}

/* Adds one image to rows lo..hi of dkernel, counted over the groups, and to dbias if lo is 0. */
static void image_weights(const tdf_conv *a, const conv_view *w, const real *x, const real *dz,
                          ptrdiff_t lo, ptrdiff_t hi, real *packed, real *dkernel, real *dbias, int first)
{
    if (w->depthwise) {
        TDF_NAME(depthwise_weights)(a, x, dz, lo, hi, dkernel, lo ? NULL : dbias, first);
        return;
    }
    int pack = w->Fg % PANEL != 0 || a->F > 640;            /* packed rows are whole vectors, and near */
    for (ptrdiff_t p0 = 0, p1; p0 < w->pixels; p0 = p1, first = 0) {
        p1 = min_size(w->pixels, p0 + CONV_CHUNK);
        for (ptrdiff_t g = lo / w->K; g * w->K < hi; g++)
            for (ptrdiff_t n0 = 0; n0 < w->Fg; n0 += GEMM_PANEL) {
                ptrdiff_t f = g * w->Fg + n0;
                conv_chunk t = {.a = a, .w = w, .x = x + g * w->Cg, .p0 = p0, .p1 = p1,
                                .b = dz + p0 * a->F + f, .bk = a->F,
                                .columns = min_size(GEMM_PANEL, w->Fg - n0),
                                .k0 = lo > g * w->K ? lo - g * w->K : 0, .k1 = min_size(w->K, hi - g * w->K),
                                .dkernel = dkernel + f, .dbias = dbias ? dbias + f : NULL, .first = first};
                if (pack) {
                    TDF_NAME(gemm_pack)(p1 - p0, t.columns, t.b, a->F, 1, packed, 0, t.columns);
                    t.b = packed;
                    t.bk = ROUND_UP(t.columns, PANEL);
                }
                if (dbias && t.k0 == 0) chunk_dbias(&t);    /* by whoever has the group's first row */
                CONV_STRIPS(weight_strip, t.columns, pack ? t.bk : t.columns, &t)
            }
    }
}

/* ------------------------------------------------------------------ backward: who does what */

/* The scratch of one thread. */
typedef struct {
    real *image, *windows, *dimage, *dz, *chunk;
} conv_scratch;

static conv_scratch scratch_of(const tdf_conv *a, const conv_view *w, int part)
{
    conv_scratch s = {.image = a->scratch + w->transposed + w->parts * w->partial + part * w->each};
    s.windows = s.image + w->image;
    s.dimage = s.windows + (w->depthwise ? 0 : w->spread * w->K);
    s.dz = s.dimage + w->dimage;
    s.chunk = s.dz + w->dz;
    memset(s.image, 0, (size_t)w->image * sizeof(real));
    return s;
}

/* Parts lo..hi: the images of each, while their numbers are in the cache. */
static void backward_parts(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    conv_scratch s = scratch_of(a, &w, part);
    for (ptrdiff_t q = lo; q < hi; q++) {
        ptrdiff_t n0 = q * a->N / w.parts, n1 = (q + 1) * a->N / w.parts;
        real *dkernel = a->scratch + w.transposed + q * w.partial;
        real *dbias = a->dbias ? dkernel + w.partial - ROUND_UP(a->F, PANEL) : NULL;
        for (ptrdiff_t n = n0; n < n1; n++) {
            const real *dz = image_dz(a, &w, n, s.dz), *x = image_of(a, &w, n, s.image);
            image_weights(a, &w, x, dz, 0, w.depthwise ? w.K : a->groups * w.K, s.chunk, dkernel, dbias,
                          n == n0);
            if (a->dx) image_dx(a, &w, n, dz, NULL, s.windows, s.dimage, a->dx);
        }
    }
}

static void add_parts(const tdf_conv *a, const conv_view *w, ptrdiff_t offset, ptrdiff_t n, real *to)
{
    const real *from = a->scratch + w->transposed + offset;
    memcpy(to, from, (size_t)n * sizeof(real));
    for (ptrdiff_t q = 1; q < w->parts; q++) v_add_to(to, from + q * w->partial, n);
}

/* Images lo..hi: dz, which replaces dy, and dx. */
static void backward_images(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    conv_scratch s = scratch_of(a, &w, part);
    for (ptrdiff_t n = lo; n < hi; n++) {
        const real *dz = image_dz(a, &w, n, a->dy + n * w.pixels * a->F);
        if (a->dx) image_dx(a, &w, n, dz, NULL, s.windows, s.dimage, a->dx);
    }
}

/* Rows lo..hi of dkernel over all images. */
static void backward_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    conv_scratch s = scratch_of(a, &w, part);
    for (ptrdiff_t n = 0; n < a->N; n++)
        image_weights(a, &w, image_of(a, &w, n, s.image), a->dy + n * w.pixels * a->F, lo, hi, s.chunk,
                      a->dkernel, a->dbias, n == 0);
}

void TDF_NAME(conv_backward)(const tdf_conv *a)
{
    conv_view w = conv_view_of(a);
    int threads = conv_threads(a);
    ptrdiff_t size = w.K * a->F;
    if (a->dx && !w.depthwise) span_run(pack_conv_transpose, a, a->groups, 1, 1);
    if (w.parts > 1) {
        span_run(backward_parts, a, w.parts, 1, threads);
        add_parts(a, &w, 0, size, a->dkernel);
        if (a->dbias) add_parts(a, &w, w.partial - ROUND_UP(a->F, PANEL), a->F, a->dbias);
        return;
    }
    if (!a->N) {
        memset(a->dkernel, 0, (size_t)size * sizeof(real));
        if (a->dbias) memset(a->dbias, 0, (size_t)a->F * sizeof(real));
    }
    if (a->dx || a->act != TDF_LINEAR) span_run(backward_images, a, a->N, 1, threads);
    span_run(backward_rows, a, w.depthwise ? w.K : a->groups * w.K, 1, threads);
}

/* ------------------------------------------------------------------ the transposed convolution */

/* Images lo..hi of y = act(bias + what spread_windows makes of dy, the input). */
static void transpose_images(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_conv *a = args;
    conv_view w = conv_view_of(a);
    real *windows = a->scratch + w.transposed + part * conv_transpose_each(&w);
    real *image = windows + w.spread * w.K;
    real *to = a->z ? a->z : a->y;
    ptrdiff_t pixels = a->D * a->H * a->W, size = pixels * a->C;
    for (ptrdiff_t n = lo; n < hi; n++) {
        real *z = to + n * size, *y = a->y + n * size;
        image_dx(a, &w, n, a->dy + n * w.pixels * a->F, a->bias, windows, image, to);
        act_forward_rows(a->act, pixels, a->C, z, y);
    }
}

void TDF_NAME(conv_transpose)(const tdf_conv *a)
{
    span_run(pack_conv_transpose, a, a->groups, 1, 1);
    span_run(transpose_images, a, a->N, 1, conv_threads(a));
}
