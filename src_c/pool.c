/* pool.c - the largest or the mean value of windows of an image, channel by channel, and back.
 *
 * What lies outside the image takes no part: it is no maximum, and no mean counts it. A step that the
 * mask leaves out takes no part in a mean either. A window's pixels are taken row by row.
 */
#include "span.h"

/* The part of the image that a window covers: `first` pixel, rows and columns. */
typedef struct {
    ptrdiff_t first, rows, columns;
} pool_window;

static pool_window window(const tdf_pool *a, ptrdiff_t i, ptrdiff_t j)
{
    ptrdiff_t i0 = i * a->sh - a->top, j0 = j * a->sw - a->left, i1 = i0 + a->kh, j1 = j0 + a->kw;
    i0 = i0 < 0 ? 0 : i0;
    j0 = j0 < 0 ? 0 : j0;
    i1 = i1 > a->H ? a->H : i1;
    j1 = j1 > a->W ? a->W : j1;
    return (pool_window){i0 * a->W + j0, i1 - i0, j1 - j0};
}

/* How many pixels of the window count; `mask` is the image's. */
static ptrdiff_t count(const tdf_pool *a, const uint8_t *mask, const pool_window *w)
{
    if (!mask) return w->rows * w->columns;
    ptrdiff_t total = 0;
    for (ptrdiff_t u = 0; u < w->rows; u++)
        for (ptrdiff_t v = 0; v < w->columns; v++) total += mask[w->first + u * a->W + v] != 0;
    return total;
}

/* The larger one; NaN where either is. */
INLINE vf larger(vf x, vf m) { return v_select(v_eq(m, m), v_max(m, x), m); }

/* x is the window's first pixel; its rows and columns are constants where this is expanded for them. */
INLINE void window_max(const tdf_pool *a, ptrdiff_t rows, ptrdiff_t columns, const real *x, real *y)
{
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf m = v_get(x + c, left);
        for (ptrdiff_t u = 0; u < rows; u++)
            for (ptrdiff_t v = u == 0; v < columns; v++)
                m = larger(v_get(x + (u * a->W + v) * a->C + c, left), m);
        v_put(y + c, m, left);
    }
}

static void window_mean(const tdf_pool *a, const pool_window *w, const uint8_t *mask, const real *x, real *y)
{
    ptrdiff_t total = count(a, mask, w);
    vf divisor = v_set1((real)(total ? total : 1));
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf sum = v_zero();
        for (ptrdiff_t u = 0; u < w->rows; u++)
            for (ptrdiff_t v = 0; v < w->columns; v++) {
                ptrdiff_t at = u * a->W + v;
                if (!mask || mask[w->first + at]) sum = v_add(sum, v_get(x + at * a->C + c, left));
            }
        v_put(y + c, v_div(sum, divisor), left);
    }
}

/* Rows lo..hi of the outputs of all images. */
static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_pool *a = args;
    (void)part;
    for (ptrdiff_t row = lo; row < hi; row++) {
        ptrdiff_t n = row / a->Ho, i = row % a->Ho, pixels = a->H * a->W;
        const real *image = a->x + n * pixels * a->C;
        const uint8_t *mask = a->mask ? a->mask + n * pixels : NULL;
        real *y = a->y + row * a->Wo * a->C;
        for (ptrdiff_t j = 0; j < a->Wo; j++, y += a->C) {
            pool_window w = window(a, i, j);
            const real *x = image + w.first * a->C;
            if (a->mean) window_mean(a, &w, mask, x, y);
            else if (w.rows == 2 && w.columns == 2) window_max(a, 2, 2, x, y);
            else window_max(a, w.rows, w.columns, x, y);
        }
    }
}

/* dx of the first maximum += dy, or = dy where no window overlaps another; what is left of dy is 0 once it
 * has been given away. */
INLINE void window_max_back(const tdf_pool *a, ptrdiff_t rows, ptrdiff_t columns, int overlap, const real *x,
                            const real *y, const real *dy, real *dx)
{
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf top = v_get(y + c, left), give = v_get(dy + c, left);
        for (ptrdiff_t u = 0; u < rows; u++)
            for (ptrdiff_t v = 0; v < columns; v++) {
                ptrdiff_t at = (u * a->W + v) * a->C + c;
                vm first = v_eq(v_get(x + at, left), top);
                vf d = v_select(first, give, v_zero());
                v_put(dx + at, overlap ? v_add(v_get(dx + at, left), d) : d, left);
                give = v_select(first, v_zero(), give);
            }
    }
}

static void window_mean_back(const tdf_pool *a, const pool_window *w, const uint8_t *mask, const real *dy,
                             real *dx)
{
    ptrdiff_t total = count(a, mask, w);
    vf divisor = v_set1((real)(total ? total : 1));
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf share = v_div(v_get(dy + c, left), divisor);
        for (ptrdiff_t u = 0; u < w->rows; u++)
            for (ptrdiff_t v = 0; v < w->columns; v++) {
                ptrdiff_t at = u * a->W + v;
                real *to = dx + at * a->C + c;
                if (!mask || mask[w->first + at]) v_put(to, v_add(v_get(to, left), share), left);
            }
    }
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_pool *a = args;
    ptrdiff_t pixels = a->H * a->W, size = pixels * a->C;
    int overlap = a->sh < a->kh || a->sw < a->kw;
    int covered = a->sh <= a->kh && a->sw <= a->kw && a->Ho * a->sh - a->top >= a->H &&
                  a->Wo * a->sw - a->left >= a->W;
    (void)part;
    for (ptrdiff_t n = lo; n < hi; n++) {
        const uint8_t *mask = a->mask ? a->mask + n * pixels : NULL;
        if (a->mean || overlap || !covered) memset(a->dx + n * size, 0, (size_t)size * sizeof(real));
        for (ptrdiff_t i = 0; i < a->Ho; i++)
            for (ptrdiff_t j = 0; j < a->Wo; j++) {
                pool_window w = window(a, i, j);
                ptrdiff_t at = ((n * a->Ho + i) * a->Wo + j) * a->C, image = n * size + w.first * a->C;
                const real *x = a->x + image, *y = a->y + at, *dy = a->dy + at;
                real *dx = a->dx + image;
                if (a->mean) window_mean_back(a, &w, mask, dy, dx);
                else if (overlap) window_max_back(a, w.rows, w.columns, 1, x, y, dy, dx);
                else if (w.rows == 2 && w.columns == 2) window_max_back(a, 2, 2, 0, x, y, dy, dx);
                else window_max_back(a, w.rows, w.columns, 0, x, y, dy, dx);
            }
    }
}

static int pool_threads(const tdf_pool *a)
{
    double windows = (double)(a->N * a->Ho * a->Wo) * (double)(a->kh * a->kw);
    double image = (double)(a->N * a->H * a->W);
    return span_threads(4.0 * (windows > image ? windows : image) * (double)a->C, a->threads);
}

void TDF_NAME(pool_forward)(const tdf_pool *a)
{
    span_run(forward_body, a, a->N * a->Ho, 1, pool_threads(a));
}
void TDF_NAME(pool_backward)(const tdf_pool *a) { span_run(backward_body, a, a->N, 1, pool_threads(a)); }
