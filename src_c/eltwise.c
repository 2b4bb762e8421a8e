/* eltwise.c - activations over (M, N) rows, as a layer of their own. */
#include "act.h"
#include "span.h"

/* Some 30 operations an element are the cost of tanh; the cheap ones wait for memory as long. */
#define OPERATIONS 30.0

/* Elementwise kinds take the rows as one long row, cut anywhere; row kinds are cut between rows. */
static void forward_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_act *a = args;
    (void)part;
    if (!act_is_row(a->act)) act_forward(a->act, hi - lo, a->x + lo, a->y + lo);
    else
        for (ptrdiff_t r = lo; r < hi; r++) act_forward(a->act, a->N, a->x + r * a->N, a->y + r * a->N);
}

static void backward_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_act *a = args;
    (void)part;
    if (!act_is_row(a->act)) {
        const real *x = tdf_act_needs_input(a->act) ? a->x + lo : NULL;
        act_backward(a->act, hi - lo, x, a->y + lo, a->dy + lo, a->dx + lo);
        return;
    }
    for (ptrdiff_t at = lo * a->N; at < hi * a->N; at += a->N)
        act_backward(a->act, a->N, NULL, a->y + at, a->dy + at, a->dx + at);
}

static void run(span_body body, const tdf_act *a)
{
    int threads = span_threads(OPERATIONS * (double)a->M * (double)a->N, a->threads);
    if (act_is_row(a->act)) span_run(body, a, a->N ? a->M : 0, 1, threads);
    else span_run(body, a, a->M * a->N, 64, threads);
}

void TDF_NAME(act_forward)(const tdf_act *a) { run(forward_part, a); }
void TDF_NAME(act_backward)(const tdf_act *a) { run(backward_part, a); }
