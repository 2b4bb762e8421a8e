/* pool.c - the largest or the mean value of windows of a volume, channel by channel, and back.
 *
 * What lies outside the volume takes no part: it is no maximum, and no mean counts it. A step that the
 * mask leaves out takes no part in a mean either. A window's pixels are taken plane by plane, row by row. An
 * image is a volume of one plane.
 */
#include "span.h"

/* The part of the volume that a window covers: `first` pixel, planes, rows and columns. */
typedef struct {
    ptrdiff_t first, planes, rows, columns;
} pool_window;

/* Where window i of n begins and ends on an axis of `size`. */
typedef struct {
    ptrdiff_t begin, end;
} pool_reach;

INLINE pool_reach reach(int adaptive, ptrdiff_t i, ptrdiff_t n, ptrdiff_t size, ptrdiff_t k, ptrdiff_t stride,
                        ptrdiff_t before)
{
    if (adaptive) return (pool_reach){i * size / n, ((i + 1) * size + n - 1) / n};
    ptrdiff_t begin = i * stride - before, end = begin + k;
    return (pool_reach){begin < 0 ? 0 : begin, end > size ? size : end};
}

/* The planes and rows of the windows of output row i of plane h, over all columns. */
static pool_window row_of_windows(const tdf_pool *a, ptrdiff_t h, ptrdiff_t i)
{
    pool_reach t = reach(a->adaptive, h, a->Do, a->D, a->kd, a->sd, a->front);
    pool_reach u = reach(a->adaptive, i, a->Ho, a->H, a->kh, a->sh, a->top);
    return (pool_window){(t.begin * a->H + u.begin) * a->W, t.end - t.begin, u.end - u.begin, a->W};
}

/* Window j of such a row. */
INLINE pool_window window(const tdf_pool *a, pool_window row, ptrdiff_t j)
{
    pool_reach v = reach(a->adaptive, j, a->Wo, a->W, a->kw, a->sw, a->left);
    row.first += v.begin;
    row.columns = v.end - v.begin;
    return row;
}

/* Where row u of plane t begins from the window's first pixel on. */
INLINE ptrdiff_t row_at(const tdf_pool *a, ptrdiff_t t, ptrdiff_t u) { return (t * a->H + u) * a->W; }

/* How many pixels of the window count; `mask` is the volume's. */
static ptrdiff_t count(const tdf_pool *a, const uint8_t *mask, const pool_window *w)
{
    if (!mask) return w->planes * w->rows * w->columns;
    ptrdiff_t total = 0;
    for (ptrdiff_t t = 0; t < w->planes; t++)
        for (ptrdiff_t u = 0; u < w->rows; u++)
            for (ptrdiff_t v = 0; v < w->columns; v++) total += mask[w->first + row_at(a, t, u) + v] != 0;
    return total;
}

/* The larger one; NaN where either is. */
INLINE vf larger(vf x, vf m) { return v_select(v_eq(m, m), v_max(m, x), m); }

/* x is the window's first pixel; planes, rows and columns are constants where this is expanded for them. */
INLINE void window_max(const tdf_pool *a, ptrdiff_t planes, ptrdiff_t rows, ptrdiff_t columns, const real *x,
                       real *y)
{
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf m = v_get(x + c, left);
        for (ptrdiff_t t = 0; t < planes; t++)
            for (ptrdiff_t u = 0; u < rows; u++) {
                const real *row = x + row_at(a, t, u) * a->C + c;
                for (ptrdiff_t v = t == 0 && u == 0; v < columns; v++)
                    m = larger(v_get(row + v * a->C, left), m);
            }
        v_put(y + c, m, left);
    }
}

INLINE void window_mean(const tdf_pool *a, ptrdiff_t planes, const pool_window *w, const uint8_t *mask,
                        const real *x, real *y)
{
    ptrdiff_t total = count(a, mask, w);
    vf divisor = v_set1((real)(total ? total : 1));
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf sum = v_zero();
        for (ptrdiff_t t = 0; t < planes; t++)
            for (ptrdiff_t u = 0; u < w->rows; u++) {
                ptrdiff_t row = row_at(a, t, u);
                for (ptrdiff_t at = row; at < row + w->columns; at++)
                    if (!mask || mask[w->first + at]) sum = v_add(sum, v_get(x + at * a->C + c, left));
            }
        v_put(y + c, v_div(sum, divisor), left);
    }
}

/* Rows lo..hi of the outputs of all volumes. */
static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_pool *a = args;
    (void)part;
    for (ptrdiff_t row = lo; row < hi; row++) {
        ptrdiff_t plane = row / a->Ho, i = row % a->Ho, n = plane / a->Do, pixels = a->D * a->H * a->W;
        const real *image = a->x + n * pixels * a->C;
        const uint8_t *mask = a->mask ? a->mask + n * pixels : NULL;
        real *y = a->y + row * a->Wo * a->C;
        pool_window windows = row_of_windows(a, plane - n * a->Do, i);
        for (ptrdiff_t j = 0; j < a->Wo; j++, y += a->C) {
            pool_window w = window(a, windows, j);
            const real *x = image + w.first * a->C;
            if (a->mean && w.planes == 1) window_mean(a, 1, &w, mask, x, y);
            else if (a->mean) window_mean(a, w.planes, &w, mask, x, y);
            else if (w.planes == 1 && w.rows == 2 && w.columns == 2) window_max(a, 1, 2, 2, x, y);
            else if (w.planes == 1) window_max(a, 1, w.rows, w.columns, x, y);
            else window_max(a, w.planes, w.rows, w.columns, x, y);
        }
    }
}

/* dx of the first maximum += dy, or = dy where no window overlaps another; what is left of dy is 0 once it
 * has been given away. */
INLINE void window_max_back(const tdf_pool *a, ptrdiff_t planes, ptrdiff_t rows, ptrdiff_t columns,
                            int overlap, const real *x, const real *y, const real *dy, real *dx)
{
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf top = v_get(y + c, left), give = v_get(dy + c, left);
        for (ptrdiff_t t = 0; t < planes; t++)
            for (ptrdiff_t u = 0; u < rows; u++)
                for (ptrdiff_t v = 0, at = row_at(a, t, u) * a->C + c; v < columns; v++, at += a->C) {
                    vm first = v_eq(v_get(x + at, left), top);
                    vf d = v_select(first, give, v_zero());
                    v_put(dx + at, overlap ? v_add(v_get(dx + at, left), d) : d, left);
                    give = v_select(first, v_zero(), give);
                }
    }
}

INLINE void window_mean_back(const tdf_pool *a, ptrdiff_t planes, const pool_window *w, const uint8_t *mask,
                             const real *dy, real *dx)
{
    ptrdiff_t total = count(a, mask, w);
    vf divisor = v_set1((real)(total ? total : 1));
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf share = v_div(v_get(dy + c, left), divisor);
        for (ptrdiff_t t = 0; t < planes; t++)
            for (ptrdiff_t u = 0; u < w->rows; u++) {
                ptrdiff_t row = row_at(a, t, u);
                for (ptrdiff_t at = row; at < row + w->columns; at++) {
                    real *to = dx + at * a->C + c;
                    if (!mask || mask[w->first + at]) v_put(to, v_add(v_get(to, left), share), left);
                }
            }
    }
}

/* Undoes row i of plane h of the output of volume n. */
static void row_back(const tdf_pool *a, ptrdiff_t n, ptrdiff_t h, ptrdiff_t i, int overlap)
{
    pool_window windows = row_of_windows(a, h, i);
    ptrdiff_t pixels = a->D * a->H * a->W, at = ((n * a->Do + h) * a->Ho + i) * a->Wo * a->C;
    const uint8_t *mask = a->mask ? a->mask + n * pixels : NULL;
    for (ptrdiff_t j = 0; j < a->Wo; j++, at += a->C) {
        pool_window w = window(a, windows, j);
        ptrdiff_t from = (n * pixels + w.first) * a->C;
        const real *x = a->x + from, *y = a->y + at, *dy = a->dy + at;
        real *dx = a->dx + from;
        if (a->mean && w.planes == 1) window_mean_back(a, 1, &w, mask, dy, dx);
        else if (a->mean) window_mean_back(a, w.planes, &w, mask, dy, dx);
        else if (overlap && w.planes == 1) window_max_back(a, 1, w.rows, w.columns, 1, x, y, dy, dx);
        else if (overlap) window_max_back(a, w.planes, w.rows, w.columns, 1, x, y, dy, dx);
        else if (w.planes == 1 && w.rows == 2 && w.columns == 2) window_max_back(a, 1, 2, 2, 0, x, y, dy, dx);
        else window_max_back(a, w.planes, w.rows, w.columns, 0, x, y, dy, dx);
    }
}

/* Whether windows of k, n of them, leave nothing out of an axis of `size`. */
static int covers(ptrdiff_t n, ptrdiff_t size, ptrdiff_t k, ptrdiff_t stride, ptrdiff_t before)
{
    return stride <= k && n * stride - before >= size;
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_pool *a = args;
    ptrdiff_t size = a->D * a->H * a->W * a->C;
    int overlap = a->adaptive || a->sd < a->kd || a->sh < a->kh || a->sw < a->kw;
    int covered = covers(a->Do, a->D, a->kd, a->sd, a->front) && covers(a->Ho, a->H, a->kh, a->sh, a->top) &&
                  covers(a->Wo, a->W, a->kw, a->sw, a->left);
    (void)part;
    for (ptrdiff_t n = lo; n < hi; n++) {
        if (a->mean || overlap || !covered) memset(a->dx + n * size, 0, (size_t)size * sizeof(real));
        for (ptrdiff_t h = 0; h < a->Do; h++)
            for (ptrdiff_t i = 0; i < a->Ho; i++) row_back(a, n, h, i, overlap);
    }
}

static int pool_threads(const tdf_pool *a)
{
    double windows = (double)(a->N * a->Do * a->Ho * a->Wo) * (double)(a->kd * a->kh * a->kw);
    double volume = (double)(a->N * a->D * a->H * a->W);
    return span_threads(4.0 * (windows > volume ? windows : volume) * (double)a->C, a->threads);
}

void TDF_NAME(pool_forward)(const tdf_pool *a)
{
    span_run(forward_body, a, a->N * a->Do * a->Ho, 1, pool_threads(a));
}
void TDF_NAME(pool_backward)(const tdf_pool *a) { span_run(backward_body, a, a->N, 1, pool_threads(a)); }
