/* mask.c - rows that hold nothing but a given value: found, and set to 0. */
#include "span.h"

static void forward_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_masking *a = args;
    real value = (real)a->value;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m++) {
        const real *x = a->x + m * a->N;
        int differs = 0;        /* NaN differs from everything */
        for (ptrdiff_t j = 0; j < a->N; j++) differs |= x[j] != value;
        a->mask[m] = (uint8_t)differs;
        if (differs) memcpy(a->y + m * a->N, x, (size_t)a->N * sizeof(real));
        else memset(a->y + m * a->N, 0, (size_t)a->N * sizeof(real));
    }
}

/* dx = dy where y was x, else 0; in place */
static void backward_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_masking *a = args;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m++)
        if (!a->mask[m]) memset(a->y + m * a->N, 0, (size_t)a->N * sizeof(real));
}

static void run(span_body body, const tdf_masking *a)
{
    span_run(body, a, a->M, 1, span_threads(16.0 * (double)a->M * (double)a->N, a->threads));
}

void TDF_NAME(masking_forward)(const tdf_masking *a) { run(forward_part, a); }
void TDF_NAME(masking_backward)(const tdf_masking *a) { run(backward_part, a); }
