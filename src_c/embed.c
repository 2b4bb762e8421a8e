/* embed.c - rows of a table by number, and their gradients back to the table. */
#include "span.h"

static void gather_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_embed *a = args;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m++)
        memcpy(a->y + m * a->D, a->table + a->ids[m] * a->D, (size_t)a->D * sizeof(real));
}

/* y[m] = table[ids[m]]; does nothing but report the first id outside of 0..V-1, if there is one. */
void TDF_NAME(embed_forward)(const tdf_embed *a)
{
    *a->bad = -1;
    for (ptrdiff_t m = 0; m < a->M; m++)
        if (a->ids[m] < 0 || a->ids[m] >= a->V) {
            *a->bad = m;
            return;
        }
    span_run(gather_part, a, a->M, 1, span_threads(16.0 * (double)a->M * (double)a->D, a->threads));
}

static void clear_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_embed *a = args;
    (void)part;
    memset(a->dtable + lo, 0, (size_t)(hi - lo) * sizeof(real));
}

/* Columns lo..hi of all rows: each sum runs over m in its order, whatever the threads. */
static void scatter_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_embed *a = args;
    (void)part;
    for (ptrdiff_t m = 0; m < a->M; m++) {
        real *to = a->dtable + a->ids[m] * a->D;
        const real *from = a->dy + m * a->D;
        for (ptrdiff_t d = lo; d < hi; d += VL)
            v_put(to + d, v_add(v_get(to + d, hi - d), v_get(from + d, hi - d)), hi - d);
    }
}

/* dtable[v] = sum of dy[m] where ids[m] == v */
void TDF_NAME(embed_backward)(const tdf_embed *a)
{
    span_run(clear_part, a, a->V * a->D, 64, span_threads(8.0 * (double)a->V * (double)a->D, a->threads));
    span_run(scatter_part, a, a->D, PANEL, span_threads(16.0 * (double)a->M * (double)a->D, a->threads));
}
