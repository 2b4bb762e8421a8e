/* eltwise.c - activations over (M, N) rows, as a layer of their own; sums of rows, and rows put together. */
#include "act.h"
#include "span.h"

/* Some 30 operations an element are the cost of tanh; the cheap ones wait for memory as long. */
#define OPERATIONS 30.0

/* Elementwise kinds take the rows as one long row, cut anywhere; row kinds are cut between rows. */
static void forward_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_act *a = args;
    (void)part;
    if (!tdf_act_is_row(a->act)) act_forward(a->act, hi - lo, a->x + lo, a->y + lo);
    else act_forward_rows(a->act, hi - lo, a->N, a->x + lo * a->N, a->y + lo * a->N);
}

static void backward_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_act *a = args;
    (void)part;
    ptrdiff_t at = lo * a->N;
    const real *x = tdf_act_needs_input(a->act) ? a->x + lo : NULL;
    if (!tdf_act_is_row(a->act)) act_backward(a->act, hi - lo, x, a->y + lo, a->dy + lo, a->dx + lo);
    else act_backward_rows(a->act, hi - lo, a->N, NULL, a->y + at, a->dy + at, a->dx + at);
}

static void run(span_body body, const tdf_act *a)
{
    int threads = span_threads(OPERATIONS * (double)a->M * (double)a->N, a->threads);
    if (tdf_act_is_row(a->act)) span_run(body, a, a->N ? a->M : 0, 1, threads);
    else span_run(body, a, a->M * a->N, 64, threads);
}

void TDF_NAME(act_forward)(const tdf_act *a) { run(forward_part, a); }
void TDF_NAME(act_backward)(const tdf_act *a) { run(backward_part, a); }

/* The sums of each part lo..hi, of every fourth row, added up. */
static void sums_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_sums *a = args;
    (void)part;
    for (ptrdiff_t q = lo; q < hi; q++) {
        ptrdiff_t end = (q + 1) * a->M / SUMS_PARTS, step = a->N;
        for (ptrdiff_t j = 0; j < a->N; j += VL) {
            ptrdiff_t left = a->N - j, i = q * a->M / SUMS_PARTS;
            vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
            for (; i + 4 <= end; i += 4)
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) sum[r] = v_add(sum[r], v_get(a->x + (i + r) * step + j, left));
            for (; i < end; i++) sum[0] = v_add(sum[0], v_get(a->x + i * step + j, left));
            v_put(a->scratch + q * a->N + j, v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])), left);
        }
    }
}

void TDF_NAME(column_sums)(const tdf_sums *a)
{
    span_run(sums_part, a, SUMS_PARTS, 1, span_threads((double)a->M * (double)a->N, a->threads));
    unsigned long mode = v_enter_mode();
    memcpy(a->sums, a->scratch, (size_t)a->N * sizeof(real));
    for (ptrdiff_t q = 1; q < SUMS_PARTS; q++)
        for (ptrdiff_t j = 0; j < a->N; j++) a->sums[j] += a->scratch[q * a->N + j];
    v_leave_mode(mode);
}

INLINE void blend_row(int rule, ptrdiff_t n, const real *x, real *y)
{
    ptrdiff_t j = 0;
    for (; j + VL <= n; j += VL) {
        vf v = v_load(x + j);
        if (rule == TDF_BLEND_ADD) v = v_add(v_load(y + j), v);
        if (rule == TDF_BLEND_MULTIPLY) v = v_mul(v_load(y + j), v);
        v_store(y + j, v);
    }
    for (; j < n; j++)
        y[j] = rule == TDF_BLEND_ADD ? y[j] + x[j] : rule == TDF_BLEND_MULTIPLY ? y[j] * x[j] : x[j];
}

INLINE void blend_rows(int rule, const tdf_blend *a, ptrdiff_t lo, ptrdiff_t hi)
{
    for (ptrdiff_t row = lo; row < hi; row++) {
        ptrdiff_t p = row / a->Q, q = row % a->Q;
        blend_row(rule, a->N, a->x + p * a->x_outer + q * a->x_inner, a->y + p * a->y_outer + q * a->y_inner);
    }
}

static void blend_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_blend *a = args;
    (void)part;
    if (a->rule == TDF_BLEND_COPY) blend_rows(TDF_BLEND_COPY, a, lo, hi);
    else if (a->rule == TDF_BLEND_ADD) blend_rows(TDF_BLEND_ADD, a, lo, hi);
    else blend_rows(TDF_BLEND_MULTIPLY, a, lo, hi);
}

/* A single row, cut anywhere. */
static void blend_within(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    tdf_blend piece = *(const tdf_blend *)args;
    piece.N = hi - lo;
    piece.x += lo;
    piece.y += lo;
    blend_part(&piece, 0, 1, part);
}

void TDF_NAME(blend)(const tdf_blend *a)
{
    ptrdiff_t rows = a->P * a->Q;
    int threads = span_threads(4.0 * (double)rows * (double)a->N, a->threads);
    if (rows == 1) span_run(blend_within, a, a->N, 64, threads);
    else span_run(blend_part, a, rows, 1, threads);
}
