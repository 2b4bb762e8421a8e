/* span.h - a static split of independent work over threads: OpenMP, or serial without it.
 *
 * Every part writes its own outputs, and no sum crosses a part, so results do not depend on the
 * number of parts.
 */
#ifndef TDF_SPAN_H
#define TDF_SPAN_H

#ifdef _OPENMP
#include <omp.h>
#endif

#include "vec.h"

/* Operations worth the waking of one more thread (some 10 microseconds of work). */
#ifndef SPAN_GRAIN
#define SPAN_GRAIN 600000.0
#endif

/* How many threads this much arithmetic deserves, at most max. Memory-bound work counts 16 a value. */
static inline __attribute__((unused)) int span_threads(double operations, int max)
{
    double n = 1 + operations / SPAN_GRAIN;
    return n < max ? (int)n : max;
}

/* Part i of n items in whole blocks; the first parts get the larger shares. */
static inline __attribute__((unused)) void span_part(
    ptrdiff_t n, ptrdiff_t block, int parts, int i, ptrdiff_t *lo, ptrdiff_t *hi)
{
    ptrdiff_t blocks = (n + block - 1) / block, each = blocks / parts, extra = blocks % parts;
    ptrdiff_t first = i * each + (i < extra ? i : extra), last = first + each + (i < extra);
    *lo = first * block < n ? first * block : n;
    *hi = last * block < n ? last * block : n;
}

/* Where every part of a span_run waits for the others. Each must call it equally often. */
static inline __attribute__((unused)) void span_wait(void)
{
#ifdef _OPENMP
#pragma omp barrier
#endif
}

typedef void (*span_body)(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part);

/* body(args, lo, hi, part) for disjoint ranges that make up 0..n, cut at multiples of block. */
static inline __attribute__((unused)) void span_run(
    span_body body, const void *args, ptrdiff_t n, ptrdiff_t block, int threads)
{
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        {
            ptrdiff_t lo, hi;
            int part = omp_get_thread_num();
            unsigned long mode = v_enter_mode();
            span_part(n, block, omp_get_num_threads(), part, &lo, &hi);
            if (lo < hi) body(args, lo, hi, part);
            v_leave_mode(mode);
        }
        return;
    }
#endif
    (void)threads;
    (void)block;
    unsigned long mode = v_enter_mode();
    if (n > 0) body(args, 0, n, 0);
    v_leave_mode(mode);
}

/* The same for items of unlike work, the largest first: each thread takes the next block when it is free. */
static inline __attribute__((unused)) void span_deal(
    span_body body, const void *args, ptrdiff_t n, ptrdiff_t block, int threads)
{
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        {
            unsigned long mode = v_enter_mode();
#pragma omp for schedule(dynamic, 1)
            for (ptrdiff_t lo = 0; lo < n; lo += block)
                body(args, lo, lo + block < n ? lo + block : n, omp_get_thread_num());
            v_leave_mode(mode);
        }
        return;
    }
#endif
    span_run(body, args, n, block, threads);
}

#endif
