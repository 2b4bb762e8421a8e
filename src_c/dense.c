/* dense.c - y = act(x kernel + bias) over all rows, and back.
 *
 * The rows are those of every sample and every time step at once, so a time-distributed Dense is one
 * product. The activation runs on rows that are still in the cache.
 */
#include "act.h"
#include "gemm.h"
#include "span.h"

#define DENSE_ROWS 96           /* rows between product and activation; a multiple of the tile's */

static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_dense *d = args;
    (void)part;
    TDF_NAME(gemm_pack)(d->K, d->N, d->kernel, d->N, 1, d->packed, lo, hi);
}

void TDF_NAME(dense_pack)(const tdf_dense *d)
{
    span_run(pack_body, d, d->N, GEMM_PANEL, span_threads(8.0 * d->K * d->N, d->threads));
}

static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_dense *d = args;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m += DENSE_ROWS) {
        ptrdiff_t rows = hi - m < DENSE_ROWS ? hi - m : DENSE_ROWS;
        real *z = (d->z ? d->z : d->y) + m * d->N, *y = d->y + m * d->N;
        gemm_nn_args g = {.M = rows, .K = d->K, .N = d->N, .a = d->x + m * d->K, .ar = d->K,
                          .b = d->packed, .bias = d->bias, .c = z, .cr = d->N};
        TDF_NAME(gemm_nn)(&g);
        act_forward_rows(d->act, rows, d->N, z, y);
    }
}

void TDF_NAME(dense_forward)(const tdf_dense *d)
{
    double work = 2.0 * d->M * d->N * (d->K + 8);
    span_run(forward_body, d, d->M, 6, span_threads(work, d->threads));
}

/* dz = dy f'(z) for rows lo..hi; then dx = dz kernel^T for the same rows. */
static void backward_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_dense *d = args;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m += DENSE_ROWS) {
        ptrdiff_t rows = hi - m < DENSE_ROWS ? hi - m : DENSE_ROWS, at = m * d->N;
        const real *z = d->z ? d->z + at : NULL;
        act_backward_rows(d->act, rows, d->N, z, d->y + at, d->dy + at, d->dz + at);
        if (!d->dx) continue;
        gemm_nn_args g = {.M = rows, .K = d->N, .N = d->K, .a = d->dz + at, .ar = d->N,
                          .b = d->scratch, .c = d->dx + m * d->K, .cr = d->K};
        TDF_NAME(gemm_nn)(&g);
    }
}

static void pack_dense_transpose(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_dense *d = args;
    (void)part;
    TDF_NAME(gemm_pack)(d->N, d->K, d->kernel, 1, d->N, d->scratch, lo, hi);
}

/* dkernel = x^T dz and dbias = column sums of dz, split over the longer side of the kernel. */
static void backward_weights(const tdf_dense *d, int by_columns, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    real *scratch = d->scratch + gemm_pack_size(d->N, d->K) + part * gemm_tn_scratch(d->K);
    gemm_tn_args g = {.K = d->M, .m0 = by_columns ? 0 : lo, .m1 = by_columns ? d->K : hi,
                      .n0 = by_columns ? lo : 0, .n1 = by_columns ? hi : d->N,
                      .a = d->x, .ak = d->K, .b = d->dz, .bk = d->N, .c = d->dkernel, .cr = d->N,
                      .sum = by_columns || lo == 0 ? d->dbias : NULL, .scratch = scratch};
    TDF_NAME(gemm_tn)(&g);
}

static void backward_by_columns(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    backward_weights(args, 1, lo, hi, part);
}

static void backward_by_rows(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    backward_weights(args, 0, lo, hi, part);
}

void TDF_NAME(dense_backward)(const tdf_dense *d)
{
    double work = 2.0 * d->M * d->N * d->K;
    int pack_threads = span_threads(8.0 * d->K * d->N, d->threads);
    if (d->dx) span_run(pack_dense_transpose, d, d->K, GEMM_PANEL, pack_threads);
    span_run(backward_rows, d, d->M, 6, span_threads((d->dx ? work : 0) + 16.0 * d->M * d->N, d->threads));
    int threads = span_threads(work, d->threads);
    if (d->N >= 32 * threads) span_run(backward_by_columns, d, d->N, d->N >= 64 * threads ? 64 : 16, threads);
    else span_run(backward_by_rows, d, d->K, 6, threads);
}
