/* rnn.c - the kernels of the recurrent layers: each calls that of the cell; and two layers at once. */
#include "rnn_common.h"

#define CASE_PACK(KIND, file, ...) case TDF_##KIND: TDF_NAME(file##_pack)(a); break;
#define CASE_FORWARD(KIND, file, ...) case TDF_##KIND: TDF_NAME(file##_forward)(a); break;
#define CASE_BACKWARD(KIND, file, ...) case TDF_##KIND: TDF_NAME(file##_backward)(a); break;

void TDF_NAME(rnn_pack)(const tdf_rnn *a)
{
    switch (a->cell) { TDF_CELL_TABLE(CASE_PACK) }
}

void TDF_NAME(rnn_forward)(const tdf_rnn *a)
{
    switch (a->cell) { TDF_CELL_TABLE(CASE_FORWARD) }
}

void TDF_NAME(rnn_backward)(const tdf_rnn *a)
{
    switch (a->cell) { TDF_CELL_TABLE(CASE_BACKWARD) }
}

/* ------------------------------------------------------------------ pairs */

/* Whether two threads do better with a layer each than with both layers one after the other: they wait for
 * each other once, and each finds one layer's weights and tape in its cache. More threads than two would
 * share the rows, but for one row, unless they share its units. */
static int one_each(const tdf_rnn_pair *p)
{
    const tdf_rnn *a = &p->one;
    double step = 2.0 * rnn_gates(a) * a->B * a->H * (a->I + a->H);
    if (span_threads(2 * step * a->T, a->threads) < 2) return 0;
    return a->threads == 2 || (a->B == 1 && step < a->threads * SPLIT_UNITS);
}

/* The layers lo..hi of a pair, each by one thread. */
INLINE void one_of_pair(const tdf_rnn_pair *p, ptrdiff_t lo, ptrdiff_t hi, void (*kernel)(const tdf_rnn *a))
{
    for (ptrdiff_t i = lo; i < hi; i++) {
        tdf_rnn a = i ? p->other : p->one;
        a.threads = 1;
        kernel(&a);
    }
}

static void forward_one(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    (void)part;
    one_of_pair(args, lo, hi, TDF_NAME(rnn_forward));
}

static void backward_one(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    (void)part;
    one_of_pair(args, lo, hi, TDF_NAME(rnn_backward));
}

void TDF_NAME(rnn_pair_forward)(const tdf_rnn_pair *p)
{
    if (one_each(p)) span_run(forward_one, p, 2, 1, 2);
    else {
        TDF_NAME(rnn_forward)(&p->one);
        TDF_NAME(rnn_forward)(&p->other);
    }
}

void TDF_NAME(rnn_pair_backward)(const tdf_rnn_pair *p)
{
    if (one_each(p)) span_run(backward_one, p, 2, 1, 2);
    else {
        TDF_NAME(rnn_backward)(&p->one);
        TDF_NAME(rnn_backward)(&p->other);
    }
}
