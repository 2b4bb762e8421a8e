/* pool.c - the largest or the mean value of windows of an image, channel by channel, and back.
 *
 * What lies outside the image takes no part: it is no maximum, and no mean counts it. A step that the
 * mask leaves out takes no part in a mean either.
 */
#include "span.h"

/* The part of the image that a window covers. */
typedef struct {
    ptrdiff_t i0, i1, j0, j1;   /* rows and columns */
} pool_window;

static pool_window window(const tdf_pool *a, ptrdiff_t i, ptrdiff_t j)
{
    ptrdiff_t top = i * a->sh - a->top, left = j * a->sw - a->left;
    pool_window w = {top < 0 ? 0 : top, top + a->kh, left < 0 ? 0 : left, left + a->kw};
    if (w.i1 > a->H) w.i1 = a->H;
    if (w.j1 > a->W) w.j1 = a->W;
    return w;
}

/* How many pixels of the window count; n is the image. */
static ptrdiff_t count(const tdf_pool *a, ptrdiff_t n, const pool_window *w)
{
    ptrdiff_t total = 0;
    if (!a->mask) return (w->i1 - w->i0) * (w->j1 - w->j0);
    for (ptrdiff_t i = w->i0; i < w->i1; i++)
        for (ptrdiff_t j = w->j0; j < w->j1; j++) total += a->mask[(n * a->H + i) * a->W + j] != 0;
    return total;
}

INLINE int counts(const tdf_pool *a, ptrdiff_t n, ptrdiff_t i, ptrdiff_t j)
{
    return !a->mask || a->mask[(n * a->H + i) * a->W + j];
}

/* The larger one; NaN where either is. */
INLINE vf larger(vf x, vf m) { return v_select(v_eq(m, m), v_max(m, x), m); }

INLINE void window_max(const tdf_pool *a, ptrdiff_t n, const pool_window *w, real *y)
{
    const real *x = a->x + n * a->H * a->W * a->C;
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf m = v_set1(-INFINITY);
        for (ptrdiff_t i = w->i0; i < w->i1; i++)
            for (ptrdiff_t j = w->j0; j < w->j1; j++) m = larger(v_get(x + (i * a->W + j) * a->C + c, left), m);
        v_put(y + c, m, left);
    }
}

INLINE void window_mean(const tdf_pool *a, ptrdiff_t n, const pool_window *w, real *y)
{
    const real *x = a->x + n * a->H * a->W * a->C;
    ptrdiff_t total = count(a, n, w);
    vf divisor = v_set1((real)(total ? total : 1));
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf sum = v_zero();
        for (ptrdiff_t i = w->i0; i < w->i1; i++)
            for (ptrdiff_t j = w->j0; j < w->j1; j++)
                if (counts(a, n, i, j)) sum = v_add(sum, v_get(x + (i * a->W + j) * a->C + c, left));
        v_put(y + c, v_div(sum, divisor), left);
    }
}

/* Rows lo..hi of the outputs of all images. */
static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_pool *a = args;
    (void)part;
    for (ptrdiff_t row = lo; row < hi; row++)
        for (ptrdiff_t j = 0; j < a->Wo; j++) {
            ptrdiff_t n = row / a->Ho;
            pool_window w = window(a, row % a->Ho, j);
            real *y = a->y + (row * a->Wo + j) * a->C;
            if (a->mean) window_mean(a, n, &w, y);
            else window_max(a, n, &w, y);
        }
}

/* dx of the first maximum += dy: what is left of dy is 0 once it has been given away. */
INLINE void window_max_back(const tdf_pool *a, ptrdiff_t n, const pool_window *w, const real *y, const real *dy)
{
    ptrdiff_t image = n * a->H * a->W * a->C;
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf top = v_get(y + c, left), give = v_get(dy + c, left);
        for (ptrdiff_t i = w->i0; i < w->i1; i++)
            for (ptrdiff_t j = w->j0; j < w->j1; j++) {
                ptrdiff_t at = image + (i * a->W + j) * a->C + c;
                vm first = v_eq(v_get(a->x + at, left), top);
                v_put(a->dx + at, v_add(v_get(a->dx + at, left), v_select(first, give, v_zero())), left);
                give = v_select(first, v_zero(), give);
            }
    }
}

INLINE void window_mean_back(const tdf_pool *a, ptrdiff_t n, const pool_window *w, const real *dy)
{
    ptrdiff_t image = n * a->H * a->W * a->C, total = count(a, n, w);
    vf divisor = v_set1((real)(total ? total : 1));
    for (ptrdiff_t c = 0; c < a->C; c += VL) {
        ptrdiff_t left = a->C - c;
        vf share = v_div(v_get(dy + c, left), divisor);
        for (ptrdiff_t i = w->i0; i < w->i1; i++)
            for (ptrdiff_t j = w->j0; j < w->j1; j++) {
                real *at = a->dx + image + (i * a->W + j) * a->C + c;
                if (counts(a, n, i, j)) v_put(at, v_add(v_get(at, left), share), left);
            }
    }
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_pool *a = args;
    ptrdiff_t size = a->H * a->W * a->C;
    (void)part;
    for (ptrdiff_t n = lo; n < hi; n++) {
        memset(a->dx + n * size, 0, (size_t)size * sizeof(real));
        for (ptrdiff_t i = 0; i < a->Ho; i++)
            for (ptrdiff_t j = 0; j < a->Wo; j++) {
                pool_window w = window(a, i, j);
                ptrdiff_t at = ((n * a->Ho + i) * a->Wo + j) * a->C;
                if (a->mean) window_mean_back(a, n, &w, a->dy + at);
                else window_max_back(a, n, &w, a->y + at, a->dy + at);
            }
    }
}

static int pool_threads(const tdf_pool *a)
{
    double windows = (double)(a->N * a->Ho * a->Wo) * (double)(a->kh * a->kw), image = (double)(a->N * a->H * a->W);
    return span_threads(4.0 * (windows > image ? windows : image) * (double)a->C, a->threads);
}

void TDF_NAME(pool_forward)(const tdf_pool *a) { span_run(forward_body, a, a->N * a->Ho, 1, pool_threads(a)); }
void TDF_NAME(pool_backward)(const tdf_pool *a) { span_run(backward_body, a, a->N, 1, pool_threads(a)); }
