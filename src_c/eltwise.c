/* eltwise.c - activations over (M, N) rows, as a layer of their own; and the sums of the rows. */
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
